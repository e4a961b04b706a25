"""``OnePerCall``: a model in which every activation call is a module of its own.

Captum hooks modules, and models call one ``nn.ReLU`` twice, write in place, or call
``F.relu``, which no hook sees. Instead of taking a model apart (``torch.fx`` follows few), its
forward runs under a ``TorchFunctionMode`` that hands the k-th activation call to the k-th
module of a list. The model itself is neither changed nor copied: its own modules are just not
registered here, so captum finds the list and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from resnet_viz.core.errors import NotApplicableError
from resnet_viz.measuring.attributions.rewriting.kinds import (
    MAX_POOLS,
    Rules,
    Window,
    shell,
)
from resnet_viz.tracing.functions import kind_of, writes
from resnet_viz.tracing.opened import eager, scripts_opened
from resnet_viz.tracing.walk import Function


class OnePerCall(nn.Module):
    """The model with one module per activation call.

    Attributes:
        original: The model, as it came; no child of this one.
        rules: Which calls get a module.
        calls: One module per call whose gradient flows, in the order of the forward.
        kinds: Kinds of all routed calls of one forward, in order.
        hidden: Whether one of them ran where autograd records nothing.
    """

    def __init__(self, original: nn.Module, rules: Rules) -> None:
        super().__init__()
        self.__dict__["original"] = original
        self.rules = rules
        self.calls = nn.ModuleDict()
        self.kinds: tuple[str, ...] | None = None
        self.hidden = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the original returns.

        Raises:
            NotApplicableError: If it makes other calls than the first time.
        """
        routing = _Routing(self)
        with routing, as_written():
            result = self.__dict__["original"](*args, **kwargs)
        routing.finish()
        return result

    def get_submodule(self, target: str) -> nn.Module:
        """The module of the original at this path."""
        found: nn.Module = self.__dict__["original"].get_submodule(target)
        return found


@contextmanager
def as_written() -> Iterator[None]:
    """Within it compiled and scripted code runs as the Python it was made from."""
    with eager(), scripts_opened():
        yield


class _Routing(TorchFunctionMode):
    """Counts the calls of one forward and hands each to its module."""

    def __init__(self, model: OnePerCall) -> None:
        super().__init__()
        self._model = model
        self._seen: list[str] = []
        self._recording = torch.is_grad_enabled()

    def __torch_function__(
        self,
        func: Function,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        kind = kind_of(func)
        if kind not in self._model.rules.kinds:
            return func(*args, **kwargs)
        if not args and "input" in kwargs:
            args = (kwargs.pop("input"),)
        place = self._count(kind)
        if not _differentiates(args, kwargs):
            return func(*args, **kwargs)
        tensor, rest = args[0], args[1:]
        if kind in MAX_POOLS:
            return self._pooled(place, func, kind, tensor, rest, kwargs)
        module = self._module(place, kind, rest, kwargs)
        module.__dict__["forward"] = lambda x: func(x, *rest, **kwargs)
        # Captum hooks the tensor that goes in and would bend the gradient of all who read it;
        # a fresh one is read by this call alone. ``[...]`` keeps the strides, by which kernels
        # are chosen; ``view_as`` does not.
        if not (writes(func) or kwargs.get("inplace")):
            return module(tensor[...])
        # Some go on with the tensor that was written into, and not with what is returned.
        return tensor.copy_(module(tensor.clone()))

    def finish(self) -> None:
        """Keeps the kinds of the first forward; refuses one that stopped short of them."""
        if self._model.kinds is None:
            self._model.kinds = tuple(self._seen)
        elif len(self._seen) != len(self._model.kinds):
            raise _differs(len(self._seen), self._model.kinds)

    def _count(self, kind: str) -> int:
        place, kinds = len(self._seen), self._model.kinds
        if kinds is not None and (place >= len(kinds) or kinds[place] != kind):
            raise _differs(place, kinds)
        self._seen.append(kind)
        self._model.hidden |= self._recording and not torch.is_grad_enabled()
        return place

    def _pooled(
        self,
        place: int,
        func: Function,
        kind: str,
        tensor: Tensor,
        rest: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        window = Window.of(kind, rest, kwargs)
        if tensor.ndim != len(window.kernel) + 2 or kwargs.get("return_indices"):
            return func(tensor, *rest, **kwargs)
        if self._model.rules.apart and window.overlaps:
            return self._module(place, kind, (window.kernel,), {})(window.apart(tensor))
        return self._module(place, kind, rest, kwargs)(tensor[...])

    def _module(
        self, place: int, kind: str, rest: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> nn.Module:
        name = str(place)
        calls = self._model.calls
        if name not in calls:
            if self._model.kinds is not None:
                raise _differs(place, self._model.kinds)
            calls[name] = shell(kind, rest, kwargs)
        return calls[name]


def _differentiates(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a gradient flows through the first argument, and through no other."""
    if not args or not torch.is_grad_enabled() or kwargs.get("out") is not None:
        return False
    first, *others = (isinstance(a, Tensor) and a.requires_grad for a in (*args, *kwargs.values()))
    return first and not any(others)


def _differs(place: int, kinds: tuple[str, ...]) -> NotApplicableError:
    return NotApplicableError(
        f"the model makes other calls from one forward to the next (activation {place + 1} of "
        f"{len(kinds)}), so no module can be kept for each: use a method without hooks, such as "
        "integrated_gradients"
    )
