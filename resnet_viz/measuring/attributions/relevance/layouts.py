"""Where the rows of a batch are in what a call gives.

Mostly in front. But attention puts tokens there, heads and windows are merged with the
batch, and a recurrent layer may want time first. Two runs tell: one with twice the rows
of the other. The axis that doubled holds them, and values say in which order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from resnet_viz.core.graph import OpId
from resnet_viz.measuring.autograd_graph import NodeMap
from resnet_viz.tracing.functions import kind_of
from resnet_viz.tracing.walk import Function, Walk

_SAME = 1e-3
"""Values that differ by less than this part of the largest are the same row again."""


class Key(NamedTuple):
    """An output of a call, or what an operand contributes to a join."""

    op: OpId
    slot: int
    is_operand: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the rows are.

    Attributes:
        axis: Along which axis.
        inner: Whether they follow each other within something else (heads) there, and not
            that within each row.
        order: The axes as they lie in memory, rows first, where these are not as numbered
            (channels last): elements are then taken in this order, without a copy.
    """

    axis: int = 0
    inner: bool = False
    order: tuple[int, ...] = ()

    def rows_first(self, value: Tensor, rows: int) -> Tensor:
        """The value as ``(rows, elements)``."""
        if self.order:
            value = value.permute(self.order)
        elif self.inner:
            before, after = value.shape[: self.axis], value.shape[self.axis + 1 :]
            value = value.reshape(*before, -1, rows, *after).movedim(self.axis + 1, 0)
        elif self.axis:
            value = value.movedim(self.axis, 0)
        return value.reshape(rows, -1)

    def as_it_was(self, value: Tensor, shape: torch.Size, rows: int) -> Tensor:
        """The inverse of ``rows_first``."""
        if self.order:
            back = [self.order.index(i) for i in range(len(shape))]
            return value.reshape([shape[i] for i in self.order]).permute(back)
        if not self.inner:
            moved = (shape[self.axis], *shape[: self.axis], *shape[self.axis + 1 :])
            return value.reshape(moved).movedim(0, self.axis)
        before, after = shape[: self.axis], shape[self.axis + 1 :]
        parts = value.reshape(rows, *before, shape[self.axis] // rows, *after)
        return parts.movedim(0, self.axis + 1).flatten(self.axis, self.axis + 1)

    def lying_as(self, value: Tensor) -> Layout:
        """The same, with elements in the order in which they lie in memory."""
        if self.axis or self.inner or self.order or value.ndim < 3 or value.is_contiguous():
            return self
        strides = value.stride()
        rest = sorted(range(1, value.ndim), key=lambda i: -strides[i])
        return Layout(order=(0, *rest))


WHOLE = Layout()
"""Of a value that is one row."""


class Looked:
    """Looks at what calls give; with another look at half the rows it finds them.

    Attributes:
        shapes: Of every output.
        layouts: Where the rows are, as far as that can be told.
        statistics: Norms that ran on the statistics of their batch.
    """

    def __init__(self, rows: int, once: Looked | None = None) -> None:
        """Has seen nothing yet.

        Args:
            rows: Of the first look.
            once: The first look, of the rows that come last in the second.
        """
        self._rows = rows
        self._once = once
        self._values: dict[Key, Tensor] = {}
        self.shapes: dict[Key, torch.Size] = {}
        self.layouts: dict[Key, Layout] = {}
        self.statistics: set[OpId] = set()

    def entering(self, op: OpId, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Nothing to see before a call."""

    def called(
        self,
        op: OpId,
        _walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
    ) -> None:
        """Looks at what the call gave."""
        if kind_of(func) == "batch_norm" and kwargs.get("training", args[5:6] == (True,)):
            self.statistics.add(op)
        for slot, value in enumerate(outputs):
            key = Key(op, slot)
            self.shapes[key] = value.shape
            if self._once is None:
                # Where one row is in front another will be: values say no more.
                if value.shape[:1] != (self._rows,):
                    self._values[key] = value.clone()
            elif (layout := self._layout(key, value)) is not None:
                self.layouts[key] = layout

    def ended(self, nodes: NodeMap) -> None:
        """Nothing is waited for."""

    def _layout(self, key: Key, twice: Tensor) -> Layout | None:
        once, rows = self._once, self._rows
        shape = once.shapes.get(key) if once is not None else None
        if once is None or shape is None or len(shape) != twice.ndim:
            return None
        apart = [i for i, size in enumerate(shape) if size != twice.shape[i]]
        if len(apart) != 1:
            return None
        (axis,) = apart
        if shape[axis] % rows or twice.shape[axis] != 2 * shape[axis]:
            return None
        value = once._values.get(key)
        if shape[axis] == rows or value is None:
            return Layout(axis=axis)
        for layout in (Layout(axis=axis), Layout(axis=axis, inner=True)):
            mine = layout.rows_first(value, rows)
            last = layout.rows_first(twice, 2 * rows)[rows:]
            atol = _SAME * float(value.abs().amax())
            if torch.allclose(mine, last, rtol=_SAME, atol=atol, equal_nan=True):
                return layout
        return None
