"""A figure as plain values: what is plotted against what, before any pixel.

Views make these from measured values, ``plot`` draws them; tests build them by hand.
Numbers here are data: they may be zero, infinite or NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Cell = float | None

Hue = Literal[
    "plain", "residual", "theory", "sgd", "momentum", "adam", "changing", "bound", "muted"
]
"""Colour and marker of a series; ``plain`` and ``residual`` mean the same everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis of a panel.

    Attributes:
        label: Title, with the unit.
        log: Logarithmic; zero and below lie under its lower edge.
        low: Lower end; found from the data where ``None``.
        high: Upper end, likewise.
        whole: Whether only whole numbers get a tick.
    """

    label: str
    log: bool = False
    low: float | None = None
    high: float | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points that belong together.

    Attributes:
        name: What it is, in full: read aloud and shown when pointed at.
        hue: Colour and marker.
        points: ``(x, y)``, by rising ``x``.
        spread: ``(x, low, high)``: a band behind a line, whiskers around dots.
        line: Whether the points are joined.
        dots: Whether each point gets a marker.
        stems: Height from which each point gets a stem; ``None`` for none.
        dashed: Training, in the figures of He et al. 2015; closed forms elsewhere.
        thick: The deep net, likewise.
        label: Written at the end of the line; empty for none.
        names: What each point is, shown when its marker is pointed at; empty for none.
        ops: Which op each point is about, so that a page lights up both; empty for none.
    """

    name: str
    hue: Hue
    points: tuple[tuple[float, float], ...]
    spread: tuple[tuple[float, float, float], ...] = ()
    line: bool = True
    dots: bool = False
    stems: float | None = None
    dashed: bool = False
    thick: bool = False
    label: str = ""
    names: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A straight line through a panel: chance, a closed form, a change of learning rate.

    Attributes:
        at: Where, on the axis it crosses.
        label: Written beside it.
        across: Whether it lies level (at a ``y``) or stands (at an ``x``).
    """

    at: float
    label: str
    across: Literal["level", "upright"] = "level"


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A range of ``x`` with a name: a stage of the net.

    Attributes:
        low: Where it begins.
        high: Where it ends.
        name: Written at its top.
        tinted: Whether it has a ground of its own; of neighbours every second one.
    """

    low: float
    high: float
    name: str
    tinted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A name beside a point, left out where there is no room for it.

    Attributes:
        x: Of the point.
        y: Of the point.
        text: Its name.
        stem: Where its stem begins; ``None`` without one.
    """

    x: float
    y: float
    text: str
    stem: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """A heat map: one colour per cell.

    Attributes:
        rows: Names, from top to bottom.
        starts: Where each column begins on the x axis, rising; the last number is the end.
        values: Per row its cells; ``None`` for nothing there, NaN and infinity for broken.
        unit: What the colour means.
        log: Whether colours are on a log scale.
        note: What was taken together; empty for nothing.
    """

    rows: tuple[str, ...]
    starts: tuple[float, ...]
    values: tuple[tuple[Cell, ...], ...]
    unit: str
    log: bool = True
    note: str = ""

    @property
    def ends(self) -> tuple[float, float]:
        """Least and largest value that has a colour."""
        known = [
            v
            for row in self.values
            for v in row
            if v is not None and math.isfinite(v) and (v > 0 or not self.log)
        ]
        return (min(known), max(known)) if known else (1.0, 1.0)

    @property
    def kinds(self) -> frozenset[str]:
        """Which cells without a colour there are: ``nothing``, ``zero``, ``broken``."""
        return frozenset(kind for row in self.values for v in row if (kind := self.kind(v)))

    def kind(self, value: Cell) -> str:
        """``nothing``, ``zero`` (which a log scale cannot hold), ``broken``; empty for a colour."""
        if value is None:
            return "nothing"
        if not math.isfinite(value):
            return "broken"
        return "zero" if self.log and value <= 0 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One pair of axes with what is in it.

    Attributes:
        title: Above it.
        x: Across.
        y: Upwards; of a heat map the rows are named instead.
        series: What is plotted.
        rules: Straight lines through it.
        bands: Ranges of ``x`` with a name.
        heat: A heat map under it all.
        notes: Names beside points, those that matter most first.
    """

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    rules: tuple[Rule, ...] = ()
    bands: tuple[Band, ...] = ()
    heat: Heat | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One entry of a legend."""

    name: str
    hue: Hue
    line: bool = True
    dots: bool = False
    dashed: bool = False
    thick: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Panels side by side, with one legend.

    Attributes:
        key: Short name, as ``focus`` takes it and ids are made of.
        title: What it shows.
        caption: What is drawn how, and from what.
        panels: In reading order.
        columns: Of them in a row, where there is room.
        narrow: Of them in a row on a telephone.
        legend: Entries; made from the series where empty.
        shared: Which panels have the same scales, so that heights compare: ``all``, those of
            one row of ``columns`` (their ``x`` is that of all), or ``none``.
        height: Of a panel, as a fraction of its width.
        main: Whether pictures (SVG, PNG) show it when none is asked for.
    """

    key: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    columns: int = 2
    narrow: int = 1
    legend: tuple[Key, ...] = ()
    shared: Literal["all", "rows", "none"] = "all"
    height: float = 0.62
    main: bool = False

    @property
    def keys(self) -> tuple[Key, ...]:
        """The legend: given, or one entry for each kind of series."""
        if self.legend:
            return self.legend
        found: dict[tuple[str, Hue, bool, bool], Key] = {}
        for s in (s for panel in self.panels for s in panel.series):
            # Of the same thing, dots in one panel and a line in another are one entry.
            key = (s.name, s.hue, s.dashed, s.thick)
            before = found.get(key)
            found[key] = Key(
                name=s.name,
                hue=s.hue,
                line=s.line or (before is not None and before.line),
                dots=s.dots or (before is not None and before.dots),
                dashed=s.dashed,
                thick=s.thick,
            )
        return tuple(found.values())
