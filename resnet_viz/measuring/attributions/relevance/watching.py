"""Runs a question's model where its calls are seen under the ids of the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from resnet_viz.core.graph import OpId
from resnet_viz.measuring.autograd_graph import NodeMap
from resnet_viz.tracing.walk import Function, Walk


class Seeing(Protocol):
    """Looks at the calls of one forward."""

    def entering(self, op: OpId, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The call ``op`` is about to run: it may write into what it reads."""

    def called(
        self,
        op: OpId,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
    ) -> None:
        """It has returned."""

    def ended(self, nodes: NodeMap) -> None:
        """The forward is over; what a custom ``Function`` gave has its node now."""


class Watched(nn.Module):
    """A model that tells somebody about each of its calls.

    What is done around it, to its inputs and with its outputs, is not seen: ids count the
    model's own calls.
    """

    def __init__(self, model: nn.Module) -> None:
        """Watches nobody's run yet.

        Args:
            model: Which; it gets no hooks.
        """
        super().__init__()
        self._run: tuple[Callable[..., Any], nn.Module] = (model.__call__, model)
        self.seeing: Seeing | None = None

    def get_submodule(self, target: str) -> nn.Module:
        """The model's own."""
        return self._run[1].get_submodule(target)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model returns."""
        run, model = self._run
        seeing = self.seeing
        if seeing is None:
            return run(*args, **kwargs)
        nodes = NodeMap(model, (seeing,))
        walk = Walk(model, nodes)

        def before(func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seeing.entering(walk.present_id(func), args, kwargs)

        nodes.before = before
        with walk.watching():
            result = run(*args, **kwargs)
        nodes.settle()
        seeing.ended(nodes)
        return result
