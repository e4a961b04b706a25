"""``ExperimentView``: a result as texts, figures and tables, the same for every format.

Each number is formatted once, here; page, picture and terminal only place it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from resnet_viz.core.comparison import Comparison
from resnet_viz.core.display import Savable
from resnet_viz.core.errors import UserError
from resnet_viz.core.experiments.common import Check
from resnet_viz.core.experiments.degradation import Degradation
from resnet_viz.core.experiments.depth import DepthStudy
from resnet_viz.core.experiments.identity import IdentityMapping
from resnet_viz.core.experiments.lesions import LesionStudy
from resnet_viz.core.finding import Finding
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.history import History
from resnet_viz.core.message import join, say
from resnet_viz.core.op_times import OpTimes
from resnet_viz.core.paths import PathGradients
from resnet_viz.core.propagation import SignalPropagation
from resnet_viz.core.report import Provenance, RenderOptions
from resnet_viz.core.units import percent, scientific
from resnet_viz.reporting.experiments.figure import Figure

if TYPE_CHECKING:
    from resnet_viz.reporting.side_by_side.picture import Picture

FEW = 12
"""Rows of a long table, and checks that hold, which are shown before the rest is folded."""

Tone = Literal["", "good", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One number in large letters, with what it is and what it says."""

    label: str
    value: str
    detail: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of texts.

    Attributes:
        title: What the rows are.
        head: Names of the columns.
        rows: Their cells.
        words: How many columns from the left are words; the rest are numbers.
        note: What a reader needs to know to read it.
        tall: Whether a page folds it, and a terminal cuts it.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    note: str = ""
    tall: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cards:
    """Findings one below the other, each with what it takes to doubt it.

    Attributes:
        title: Of whom they speak; empty for the whole page.
        findings: Worst first.
        when: Per finding when it held, where there is a time; otherwise empty.
        none: What is said where there is no finding.
    """

    title: str
    findings: tuple[Finding, ...]
    when: tuple[str, ...] = ()
    none: str = say("No rule fired.")

    @property
    def facts(self) -> tuple[tuple[Finding, tuple[tuple[str, str], ...]], ...]:
        """Each finding with its labels and texts."""
        times = self.when or ("",) * len(self.findings)
        return tuple(
            (
                found,
                tuple(
                    (label, text)
                    for label, text in (
                        (say("When"), when),
                        (say("Rule"), found.threshold),
                        (say("What to try"), found.remedy),
                        (say("Source"), found.source),
                    )
                    if text
                ),
            )
            for found, when in zip(self.findings, times, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page: what it shows, in this order; ``pairs`` are two models drawn."""

    key: str
    title: str
    lead: str = ""
    pairs: Picture | None = None
    said: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    cards: tuple[Cards, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentView:
    """A result, ready to be shown.

    Attributes:
        title: Of the page.
        verdict: What came out, in a few words.
        tone: Whether that is what theory or the paper says.
        lead: What was done, in a sentence.
        facts: The numbers that matter most.
        seen: What was seen, computed from the numbers; one paragraph each.
        sections: Figures and tables.
        checks: Measured beside expected.
        caveats: What this does not prove.
        provenance: What it takes to run it again: labels and texts.
    """

    title: str
    verdict: str
    tone: Tone
    lead: str
    facts: tuple[Fact, ...]
    seen: tuple[str, ...]
    sections: tuple[Section, ...]
    checks: tuple[Check, ...] = ()
    caveats: tuple[str, ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All figures, in reading order."""
        return tuple(figure for section in self.sections for figure in section.figures)

    @property
    def pairs(self) -> Picture | None:
        """Two models side by side, where that is what it is about."""
        return next((s.pairs for s in self.sections if s.pairs is not None), None)

    def pictured(self, focus: str) -> tuple[Figure, ...]:
        """The figures that a picture shows: the main ones, or the one asked for.

        None where ``pairs`` are shown instead.

        Raises:
            UserError: If no figure has this key.
        """
        if self.pairs and focus in ("", self.pairs.key):
            return ()
        if not focus:
            return tuple(f for f in self.figures if f.main) or self.figures[:1]
        found = tuple(f for f in self.figures if focus in (f.key, "all"))
        if not found:
            shown = (*((self.pairs,) if self.pairs else ()), *self.figures)
            keys = " ".join(f.key for f in shown)
            raise UserError(f"no figure {focus!r}; this result has: {keys} (or all)")
        return found

    @property
    def line(self) -> str:
        """All of it in one line."""
        return join(": ", (self.title, self.verdict))


_MAKERS: dict[type, str] = {
    Degradation: "degradation_view:degradation_view",
    IdentityMapping: "identity_view:identity_view",
    DepthStudy: "depth_view:depth_view",
    LesionStudy: "lesion_view:lesion_view",
    GradientFlow: "flow_view:flow_view",
    PathGradients: "path_view:path_view",
    SignalPropagation: "propagation_view:propagation_view",
    OpTimes: "times_view:times_view",
    History: "history_view:history_view",
    Comparison: "comparison_view:comparison_view",
}


def view_of(value: Savable, options: RenderOptions) -> ExperimentView:
    """The view of any experiment's result; ``options.title`` names it.

    Raises:
        TypeError: For any other value.
    """
    if type(value) not in _MAKERS:
        known = ", ".join(kind.__name__ for kind in _MAKERS)
        raise TypeError(f"expected a Report or one of {known}, not {type(value).__name__}")
    module, _, name = _MAKERS[type(value)].partition(":")
    make: Callable[..., ExperimentView] = getattr(
        import_module(f"resnet_viz.reporting.experiments.{module}"), name
    )
    return make(value, options.title)


def provenance_rows(p: Provenance, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """Labels and texts of what is known; ``more`` comes first."""
    rows = [
        *more,
        (say("Input"), p.input),
        (say("Measured on"), p.device),
        (say("Seed"), "" if p.seed is None else str(p.seed)),
        (say("Command"), p.command),
        (say("Made with"), p.tool),
        (say("Libraries"), ", ".join(p.libraries)),
        (say("Created"), p.created),
    ]
    return tuple((label, text) for label, text in rows if text)


def check_table(checks: Sequence[Check]) -> Table:
    """The checks as rows; the verdict is a word and a sign, not a colour alone."""
    return Table(
        title="",
        head=(
            say("Measured quantity"),
            say("Verdict"),
            say("Measured"),
            say("Expected"),
            say("Allowed"),
            say("Source"),
        ),
        rows=tuple(
            (
                c.what,
                say("✓ holds") if c.holds else say("✗ does not hold"),
                scientific(c.measured),
                "–" if c.expected is None else scientific(c.expected),
                c.allowed,
                c.source,
            )
            for c in checks
        ),
        words=6,
    )


def first_checks(checks: Sequence[Check]) -> tuple[list[Check], list[Check]]:
    """What is told at once, and the rest: all that fails comes first, whatever its place."""
    ordered = sorted(checks, key=lambda check: check.holds)
    failed = sum(not check.holds for check in checks)
    shown = max(failed, FEW)
    return ordered[:shown], ordered[shown:]


def checks_fact(checks: Sequence[Check]) -> Fact:
    """How many of the checks hold."""
    held = sum(c.holds for c in checks)
    if not checks:
        return Fact(label=say("Checks"), value="–", detail=say("none made"))
    failed = next((c.what for c in checks if not c.holds), "")
    return Fact(
        label=say("Checks"),
        value=say("{n} of {all} hold", n=held, all=len(checks)),
        detail=say("not: {check}", check=failed)
        if failed
        else say("against theory and the papers"),
        tone="warning" if failed else "good",
    )


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean; NaN of nothing and where any value is NaN."""
    found = list(values)
    return sum(found) / len(found) if found else math.nan


def log_mean(values: Iterable[float]) -> float:
    """Geometric mean, for quantities shown on a log scale; 0 where any value is 0."""
    found = list(values)
    if not found or any(v < 0 or math.isnan(v) for v in found):
        return math.nan
    if 0.0 in found:
        return 0.0
    power = mean(math.log(v) for v in found)
    return math.exp(power) if power < 709 else math.inf


def ranged(values: Sequence[float], write: Callable[[float], str] = scientific) -> str:
    """``1.23 (1.1–1.4)``: mean and, where there are several, the least and the largest."""
    if not values:
        return "–"
    if len(values) == 1:
        return write(values[0])
    low, high = (write(v).removesuffix(" %") for v in (min(values), max(values)))
    return f"{write(mean(values))} ({low}–{high})"


def pct(fraction: float) -> str:
    """``0.4321`` -> ``43.2 %``; what is no number stays a word."""
    return percent(fraction) if math.isfinite(fraction) else scientific(fraction)
