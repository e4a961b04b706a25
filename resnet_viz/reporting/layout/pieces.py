"""Pieces of edges: an edge between two ops is cut at each wall of a box that it passes."""

from __future__ import annotations

from dataclasses import dataclass, field

IN, OUT, LEFT, RIGHT = -1, -2, -3, -4
"""Ends of a piece at a wall: where the main path enters, where it leaves, at a side."""

LINE, FORK, JOIN, LANE = 0, 1, 2, 3
"""Routes: straight down; into a side column; out of one; around the columns."""

PORT = 4
"""Added to the route of what enters an open box through its side."""


@dataclass(slots=True, eq=False)
class LocalEdge:
    """A piece between two items of one box, or between one and a wall.

    Attributes:
        s: Index of the source item, or ``IN``, ``LEFT`` or ``RIGHT``.
        t: Index of the target item, or ``OUT``.
        via: The piece that leads to the wall where this one starts, if its target is
            not the box's main input; which wall that is says its ``port``.
        beside: Whether the target is a box of which this is not the main input.
        port: The wall of the target that it enters by: 0 the top, -1 left, 1 right.
        route: One of the routes.
        lane: For ``LANE``: 1, 2, … to the right, -1, -2, … to the left.
        skips: Skips whose mark is this piece.
        part: A skip that passes here without being marked here; -1 for none.
        plain: Whether anything but skips passes here.
        trunk: Whether it may share one lane with its like (concatenations).
    """

    s: int
    t: int
    via: LocalEdge | None = None
    beside: bool = False
    port: int = 0
    route: int = LINE
    lane: int = 0
    skips: list[int] = field(default_factory=list)
    part: int = -1
    plain: bool = False
    trunk: bool = False

    @property
    def way(self) -> int:
        """Its route, with ``PORT`` added where it enters a box at the side."""
        return self.route + (PORT if self.port else 0)
