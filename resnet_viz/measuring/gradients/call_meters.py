"""The gradient at each call's first output, measured as it passes by.

Hooks sit on autograd's nodes, never on modules: ``register_full_backward_hook``
raises on in-place ReLU, and a module that is called twice has two gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from resnet_viz.core.gradient_flow import CallGradient
from resnet_viz.measuring.autograd_graph import Place, Produced
from resnet_viz.measuring.gradients.statistics import Detail, measure, read


class CallMeters:
    """Measures each autograd value once, also where several calls return it."""

    def __init__(self, produced: list[Produced], detail: Detail) -> None:
        self._detail = detail
        self._first: dict[str, Produced] = {}
        for item in produced:
            self._first.setdefault(item.op, item)
        self._tables: dict[Place, list[Tensor]] = {}

    def hooks(self) -> Iterator[Any]:
        """Places the hooks; each is a handle to remove."""
        for place in {item.place for item in self._first.values()}:
            yield place.node.register_prehook(self._measure(place))

    def _measure(self, place: Place) -> Callable[[Any], None]:
        def hook(grad_outputs: Any) -> None:
            gradient = grad_outputs[place.slot]
            if gradient is not None and gradient.numel():
                self._tables[place] = measure(gradient, self._detail)

        return hook

    @property
    def numbers(self) -> list[Tensor]:
        """What to transfer, in the order ``read`` wants it."""
        return [n for table in self._tables.values() for n in table]

    def read(self, numbers: Iterator[float]) -> tuple[CallGradient, ...]:
        """Statistics per call, in forward order."""
        numel = {item.place: item.numel for item in self._first.values()}
        stats = {place: read(numbers, numel[place], self._detail) for place in self._tables}
        return tuple(
            CallGradient(op=item.op, stats=stats[item.place])
            for item in self._first.values()
            if item.place in stats
        )
