"""``Layout``: where rows, columns and channels lie in a tensor, and the map it makes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor

from resnet_viz.core.errors import UserError
from resnet_viz.core.units import shape as shape_text
from resnet_viz.measuring.layers.axes import Axes, Factor

Kind = Literal["channels first", "channels last", "tokens", "windows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a tensor of a batch holds a map of each sample.

    Attributes:
        kind: ``channels first`` (N, C, H, W), ``channels last`` (N, H, W, C), ``tokens``
            (N, T, C) or (N, C, T), or ``windows`` (places in several axes).
        grid: (H, W).
        front: Tokens before the places, such as a class token and registers.
        behind: Tokens after them.
        axis: The axis of the tokens, where there are any; else 0.
        split: Shape of one sample with rows and columns taken apart.
        order: Axes of ``split`` as channels, then parts of rows, then of columns.
    """

    kind: Kind
    grid: tuple[int, int]
    front: int = 0
    behind: int = 0
    axis: int = 0
    split: tuple[int, ...] = ()
    order: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """For people: ``tokens, 14 × 14 behind 1 more``."""
        places = f"{self.kind}, {shape_text(self.grid)}"
        more = [
            f"{count} {'token' if count == 1 else 'tokens'} {where}"
            for count, where in ((self.front, "in front"), (self.behind, "behind"))
            if count
        ]
        return ", ".join([places, *more])

    def to_map(self, tensor: Tensor) -> Tensor:
        """The same values as a map; a view where that is possible, and differentiable.

        Args:
            tensor: ``(k · N, …)``: the layer's output, or anything of its shape.

        Returns:
            ``(k · N, C, H, W)`` without the tokens that are no places.

        Raises:
            UserError: If there are not as many tokens as in the trace.
        """
        if self.kind == "channels first" and self.order == (0, 1, 2):
            return tensor
        if self.kind == "channels last" and self.order == (2, 0, 1):
            return tensor.movedim(3, 1)
        if self.axis:
            places = tensor.shape[self.axis] - self.front - self.behind
            tensor = tensor.narrow(self.axis, self.front, max(places, 0))
        if tensor[0].numel() != math.prod(self.split):
            raise UserError(
                f"a layer gives {shape_text(tuple(tensor.shape))}, which is no "
                f"{shape_text(self.grid)} places as in the trace: trace with inputs of this size"
            )
        apart = tensor.reshape(-1, *self.split)
        return apart.permute(0, *(i + 1 for i in self.order)).reshape(len(tensor), -1, *self.grid)


def layout_of(axes: Axes, batch: int) -> Layout | None:
    """How a tensor holds maps of its samples; ``None`` where it does not, or not surely.

    Args:
        axes: What its axes stand for.
        batch: How many samples went in.
    """
    if len(axes) < 3 or axes[0].spatial or axes[0].size != batch:
        return None
    others = [i for i, axis in enumerate(axes) if i and not axis.spatial]
    # A single window, or a gap that was put in, is no channel.
    channels = [i for i in others if axes[i].size > 1] or others[-1:]
    extra = [i for i, axis in enumerate(axes) if axis.front or axis.behind]
    if len(channels) != 1 or any(a.size == 0 for a in axes):
        return None
    if extra and sum(axis.spatial for axis in axes) > 1:
        return None  # beside rows or columns, not beside places
    parts: list[tuple[Factor, int]] = []
    split: list[int] = []
    for axis in axes[1:]:
        factors = axis.factors if axis.spatial else (Factor("", axis.size),)
        parts += [(f, len(split) + k) for k, f in enumerate(factors)]
        split += [f.size for f in factors]
    rows, columns = ([(f, at) for f, at in parts if f.role == role] for role in "hw")
    height, width = _extent(rows), _extent(columns)
    if height * width <= 1:
        return None
    order = (
        *(at for f, at in parts if not f.role),
        *(at for _, at in sorted(rows, key=_outer_first)),
        *(at for _, at in sorted(columns, key=_outer_first)),
    )
    return Layout(
        kind=_kind(axes, channels[0]),
        grid=(height, width),
        front=axes[extra[0]].front if extra else 0,
        behind=axes[extra[0]].behind if extra else 0,
        axis=extra[0] if extra else 0,
        split=tuple(split),
        order=order,
    )


def _kind(axes: Axes, channels: int) -> Kind:
    if len(axes) == 3:
        return "tokens"
    if len(axes) == 4 and all(len(a.factors) == 1 for a in axes[1:]):
        if channels == 1:
            return "channels first"
        if channels == 3:
            return "channels last"
    return "windows"


def _outer_first(part: tuple[Factor, int]) -> int:
    return -part[0].stride


def _extent(parts: list[tuple[Factor, int]]) -> int:
    """All places of a direction, if these parts run over each once, in their place; else 0."""
    ordered = [f for f, _ in sorted(parts, key=_outer_first)]
    if not ordered or not ordered[0].outermost or ordered[-1].stride != 1:
        return 0
    chained = all(a.stride == b.size * b.stride for a, b in pairwise(ordered))
    return ordered[0].extent if chained and not any(f.shift for f in ordered) else 0
