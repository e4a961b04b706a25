"""Deleting residual blocks while the model runs: their join answers with the shortcut alone.

Keyed by call and not by module, so it works on any model whose skips were found: the
branch still runs, what it gives is thrown away, and whatever follows the join follows.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resnet_viz.core.graph import OpId, make_op_id
from resnet_viz.core.structure import Skip
from resnet_viz.tracing.calls import CallObserver
from resnet_viz.tracing.functions import kind_of, writes
from resnet_viz.tracing.walk import Function, Walk

State = dict[int, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Join:
    """Where a skip ends, as one run showed it.

    Attributes:
        shortcut: Which of its two operands comes over the shortcut.
        changing: Whether its output has another shape than its fork.
    """

    shortcut: int
    changing: bool


class JoinSurvey(CallObserver):
    """Watches one forward and tells the operands of joins apart.

    Attributes:
        joins: What was found, by id of the join.
        unclear: Joins that ran, and of which no operand or both come from the branch.
    """

    def __init__(self, state: State, skips: Iterable[Skip], inputs: Iterable[Tensor]) -> None:
        """Starts empty.

        Args:
            state: See ``state_names``.
            skips: Those whose joins are looked at.
            inputs: The tensors given to ``forward`` (or others of their shapes), in its order.
        """
        super().__init__(state)
        self._skips = {skip.join: skip for skip in skips}
        self._made: dict[int, tuple[weakref.ref[Tensor], OpId]] = {}
        self._shapes: dict[OpId, torch.Size] = {}
        for number, tensor in enumerate(inputs):
            self._shapes[make_op_id("", "input", number)] = tensor.shape
        self.joins: dict[OpId, Join] = {}
        self.unclear: list[OpId] = []

    def record(
        self,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
        written: list[Tensor],
    ) -> None:
        """Looks at the operands of a join, and remembers who made the outputs."""
        op = walk.next_id(func)
        skip = self._skips.get(op)
        if skip is not None:
            self._join(skip, _operands(args, kwargs), outputs[0].shape)
        for tensor in reversed(outputs):
            self._made_by(tensor, op)

    def passed_on(self, source: Tensor, result: Tensor) -> None:
        """Both come from the same op."""
        maker = self._maker(source)
        if maker is not None:
            self._made_by(result, maker)

    def _join(self, skip: Skip, operands: list[Any], shape: torch.Size) -> None:
        branch = set(skip.branch)
        makers = [self._maker(o) if isinstance(o, Tensor) else None for o in operands]
        inside = [maker in branch for maker in makers]
        if len(operands) != 2 or inside[0] == inside[1]:
            self.unclear.append(skip.join)
            return
        changing = self._shapes.get(skip.fork, shape) != shape
        self.joins[skip.join] = Join(shortcut=inside.index(False), changing=changing)

    def _made_by(self, tensor: Tensor, op: OpId) -> None:
        # Weak: holding every activation would cost the memory of a training step.
        self._made[id(tensor)] = weakref.ref(tensor), op
        self._shapes[op] = tensor.shape

    def _maker(self, tensor: Tensor) -> OpId | None:
        found = self._made.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None


class Bypass(CallObserver):
    """Answers the joins of deleted blocks with their shortcut; all else runs as it is.

    Attributes:
        walk: The walk that is running.
    """

    walk: Walk

    def __init__(self, state: State, joins: Mapping[OpId, Join]) -> None:
        super().__init__(state)
        self._joins = joins
        self._deleted: frozenset[OpId] = frozenset()

    @contextmanager
    def deleting(self, joins: Iterable[OpId]) -> Iterator[None]:
        """Within it these joins answer with their shortcut."""
        self._deleted = frozenset(joins)
        try:
            yield
        finally:
            self._deleted = frozenset()

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's result, or the shortcut."""
        if self._deleted and kind_of(func) == "add":
            op = self.walk.present_id(func)
            if op in self._deleted:
                return _shortcut_of(func, args, kwargs, self._joins[op].shortcut)
        return func(*args, **kwargs)

    def record(
        self,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
        written: list[Tensor],
    ) -> None:
        """Counts the call."""
        walk.next_id(func)


def _operands(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    named = (kwargs[name] for name in ("input", "self", "other") if name in kwargs)
    return [*args, *named][:2]


def _shortcut_of(
    func: Function, args: tuple[Any, ...], kwargs: dict[str, Any], position: int
) -> Tensor:
    """What the sum is when its other operand is zero, of the sum's shape and dtype."""
    operands = _operands(args, kwargs)
    kept: Tensor = operands[position]
    alpha = kwargs.get("alpha", 1)
    value = kept * alpha if position == 1 and alpha != 1 else kept
    target: Tensor | None = operands[0] if writes(func) else kwargs.get("out")
    if target is not None:
        # Somebody may go on with the target and not with what the call returns.
        return target if target is value else target.copy_(value)
    shape = torch.broadcast_shapes(*(o.shape for o in operands))  # type: ignore[no-untyped-call]
    # A copy: what follows may write in place, and the fork may still be read.
    return value.expand(shape).to(torch.result_type(*operands), copy=True)
