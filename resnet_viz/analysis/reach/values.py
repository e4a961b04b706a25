"""How a tensor depends on an image, and which places of an operand an op is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from resnet_viz.core.graph import ModelGraph, Op

Span: TypeAlias = tuple[int, int]
Reach: TypeAlias = Callable[[int, int], Span]
"""From the first and last place of an output to those of the operand it is made from."""
Reads: TypeAlias = "tuple[Reach, Reach] | None"
"""By rows and by columns; ``None`` where every place is made from all of them."""
Role = Literal["", "h", "w", "hw", "all"]
"""What an axis runs over: rows, columns, places row by row, or features of places; ``""``
is anything but places."""

EVERYTHING: Span = (0, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """How a tensor depends on the image.

    Attributes:
        roles: Of its axes; none is spatial where it depends on the image as a whole.
        grid: Rows and columns, while its axes run over them.
        merged: Length of the axis of places within one of role ``all``, where it lies there
            beside axes of no places only.
        whole: Whether each of its places depends on places everywhere.
        known: Whether all this is so; else nothing is.
    """

    roles: tuple[Role, ...] = ()
    grid: tuple[int, int] | None = None
    merged: int = 0
    whole: bool = False
    known: bool = True

    @property
    def spatial(self) -> bool:
        """Whether some axes run over places."""
        return any(self.roles)


UNKNOWN = Value(known=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """An operand that depends on the image."""

    slot: int
    value: Value
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an op makes of its operands.

    Attributes:
        value: Its output.
        reads: By ``in_slot``; an operand that is missing is read place for place, if it has
            places.
        uneven: Whether its places do not all read alike.
    """

    value: Value
    reads: Mapping[int, Reads] = field(default_factory=dict)
    uneven: bool = False


def same(low: int, high: int) -> Span:
    """Place for place."""
    return low, high


Rule: TypeAlias = Callable[[ModelGraph, Op, Sequence[Operand]], Step]


def unknown() -> Step:
    """What is not understood."""
    return Step(value=UNKNOWN)


def window(kernel: int, stride: int, padding: int, dilation: int) -> Reach:
    """``kernel`` places, ``dilation`` apart, from ``place · stride − padding`` on."""

    def reach(low: int, high: int) -> Span:
        return low * stride - padding, high * stride - padding + dilation * (kernel - 1)

    return reach


def whole_of(axes: int) -> Value:
    """A tensor of so many axes that depends on the image as a whole."""
    roles: tuple[Role, ...] = ("",)
    return Value(roles=roles * axes, whole=True)
