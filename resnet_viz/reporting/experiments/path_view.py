"""Gradient by path length: how many ways there are, and over which the gradient comes back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnet_viz.core.message import Message, say, say_n, sentences
from resnet_viz.core.paths import PathGradients
from resnet_viz.core.terms import word
from resnet_viz.core.units import count, percent, scientific
from resnet_viz.reporting.experiments.chain_figures import power
from resnet_viz.reporting.experiments.figure import Axis, Band, Figure, Panel, Rule, Series
from resnet_viz.reporting.experiments.page import ExperimentView, Fact, Section, Table

CONTESTED = say(
    "That a residual net is an ensemble of its short paths is one reading of "
    "such numbers (Veit et al. 2016, arXiv:1605.06431) and a contested one: "
    "the paths share their weights and are trained together, and where the "
    "gradient comes back says little of what each path computes."
)
_UNITS = {"block": say("residual branches"), "layer": say("weighted layers")}


def path_view(value: PathGradients, title: str) -> ExperimentView:
    """The page of one measurement."""
    section = path_section(value)
    return ExperimentView(
        title=title or say("{model}: gradient by path length", model=value.model),
        verdict=_verdict(value),
        tone="",
        lead=say(
            "The gradient at {at}, split by how many {unit} the paths pass that it "
            "came back over. Exact: the pieces of one graded backward sum to it.",
            at=value.at,
            unit=_UNITS[value.lengths.unit],
        ),
        facts=_facts(value),
        seen=(),
        sections=(section,),
        caveats=(CONTESTED,),
        provenance=(
            (say("Loss"), value.loss),
            (say("Mode"), word(value.mode)),
            (say("Batch"), f"{value.batch_size:,}"),
            (say("Data"), value.data),
            (say("Measured on"), value.device),
            (say("Seconds"), f"{value.seconds:.3g}"),
        ),
    )


def path_section(value: PathGradients) -> Section:
    """Figures, words and the table, for any page."""
    # A net without a fork has one length only: two dots tell less than a sentence.
    several = sum(n > 0 for n in value.lengths.counts) > 1
    figures = [_bells(value), _norms(value)] if several else []
    return Section(
        key="paths",
        title=say("Path lengths"),
        lead=say(
            "Every fork adds ways through the net. Thin: how many of all paths have "
            "which length. Thick: how much of the gradient comes back over them (Veit "
            "et al. 2016, arXiv:1605.06431, here exact and not sampled)."
        ),
        said=path_words(value),
        figures=tuple(f for f in figures if f is not None),
        tables=(_table(value),),
    )


def path_words(value: PathGradients) -> tuple[str, ...]:
    """What the numbers say."""
    lengths, (low, high) = value.lengths, value.central_range
    unit = _UNITS[lengths.unit]
    if not lengths.total or not value.norm or not math.isfinite(value.mean_length):
        return (
            say(
                "There are {total} paths, and no gradient came back over them.",
                total=huge(lengths.total),
            ),
        )
    exact = say(
        "The pieces sum to the gradient itself, up to {residual} of its norm.",
        residual=scientific(value.residual),
    )
    if lengths.total == 1:
        return (
            say("There is one path, of {longest} {unit}.", longest=lengths.longest, unit=unit),
            exact,
        )
    held = lengths.fraction(low, high)
    said = [
        say(
            "A path passes {mean} ± {sd} {unit} (mean and standard deviation of "
            "{total} paths). The gradient comes back over paths of {mean_length} on "
            "average, {compared}: 95 % of it over those of {low} to {high}, which "
            "are {held} of all paths.",
            mean=_one(lengths.mean),
            sd=_one(lengths.sd),
            unit=unit,
            total=huge(lengths.total),
            mean_length=_one(value.mean_length),
            compared=_beside(value.mean_length, lengths.mean),
            low=low,
            high=high,
            held=_few(held),
        ),
        exact,
    ]
    if math.isfinite(value.sampled_mean_length):
        said.append(
            say(
                "Weighted with the norms of single paths, as Veit et al. do, the mean of "
                "the {lengths} that were drawn is {sampled_mean_length}: that estimate "
                "lets nothing cancel.",
                lengths=count(len(value.sampled), "length"),
                sampled_mean_length=_one(value.sampled_mean_length),
            )
        )
    return tuple(said)


def _beside(mine: float, all_of: float) -> Message:
    """Which of two lengths is longer, by the digits that are printed of them."""
    apart = round(round(mine, 1) - round(all_of, 1), 1)
    if not apart:
        return say("as long as a path is on average")
    if apart > 0:
        return say("{n} longer than a path is on average", n=f"{apart:.1f}")
    return say("{n} shorter than a path is on average", n=f"{-apart:.1f}")


def huge(number: int) -> str:
    """Any whole number in short: ``18,014`` or ``1.8·10¹⁶``."""
    if number < 10**6:
        return f"{number:,}"
    exponent = math.log10(number)
    whole = math.floor(exponent)
    return f"{10 ** (exponent - whole):.2g}·10{_raised(whole)}"


def _raised(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _verdict(value: PathGradients) -> Message:
    low, high = value.central_range
    if not math.isfinite(value.mean_length):
        return say("No gradient came back")
    if value.lengths.total == 1:
        return say(
            "There is one path, of {longest} {unit}",
            longest=value.lengths.longest,
            unit=_UNITS[value.lengths.unit],
        )
    return say(
        "The gradient comes back over paths of {low} to {high} {unit}, "
        "{mean_length} on average; a path has {mean}",
        low=low,
        high=high,
        unit=_UNITS[value.lengths.unit],
        mean_length=_one(value.mean_length),
        mean=_one(value.lengths.mean),
    )


def _facts(value: PathGradients) -> tuple[Fact, ...]:
    low, high = value.central_range
    lengths = value.lengths
    return (
        Fact(
            label=say("Paths"),
            value=huge(lengths.total),
            detail=say(
                "{shortest} to {longest} {unit} long",
                shortest=lengths.shortest,
                longest=lengths.longest,
                unit=_UNITS[lengths.unit],
            ),
        ),
        Fact(label=say("Mean length"), value=_one(lengths.mean), detail=f"± {_one(lengths.sd)}"),
        Fact(
            label=say("Weighted by gradient"),
            value=_one(value.mean_length),
            detail=say("95 % of it: {low} to {high}", low=low, high=high),
        ),
        Fact(
            label=say("Sum of the pieces"),
            value=scientific(value.residual),
            detail=say("off the gradient itself"),
        ),
    )


def _bells(value: PathGradients) -> Figure:
    total = value.lengths.total
    unit = _UNITS[value.lengths.unit]
    low, high = value.central_range
    shares = tuple((k, n / total) for k, n in enumerate(value.lengths.counts)) if total else ()
    # Room above for the name of the tinted range.
    heights = (*(part for _, part in shares), *value.masses)
    top = max((part for part in heights if math.isfinite(part)), default=0.0)
    rules = [
        Rule(at=mean, label=label, across="upright")
        for mean, label in (
            (value.mean_length, say("gradient {n}", n=_one(value.mean_length))),
            (value.lengths.mean, say("paths {n}", n=_one(value.lengths.mean))),
        )
        if math.isfinite(mean)
    ]
    panel = Panel(
        title="",
        x=Axis(label=say("{unit} on the path", unit=unit), whole=True),
        y=Axis(label=say("part of all"), low=0.0, high=top * 1.16 if top > 0 else None),
        series=(
            Series(name=say("paths of this length, of all paths"), hue="theory", points=shares),
            Series(
                name=say("gradient over them, ‖g_k‖ of the sum of all"),
                hue="residual",
                points=tuple(enumerate(value.masses)),
                dots=len(value.masses) <= 80,
                thick=True,
                stems=0.0 if len(value.masses) <= 160 else None,
            ),
        ),
        rules=tuple(rules),
        bands=(Band(low=low - 0.5, high=high + 0.5, name=say("95 % of the gradient")),),
    )
    return Figure(
        key="lengths",
        title=say("Number of paths and gradient by path length"),
        caption=say(
            "Upright: the means. Tinted: the central 95 % of the gradient at {at}. "
            "Both curves have area 1.",
            at=value.at,
        ),
        panels=(panel,),
        height=0.36,
        main=True,
    )


def _norms(value: PathGradients) -> Figure | None:
    unit = _UNITS[value.lengths.unit]
    x = Axis(label=say("{unit} on the path", unit=unit), whole=True)
    exact = _above_zero(value.norms)
    one = _above_zero(value.per_path)
    if not exact:
        return None
    all_of = [Series(name=say("exact"), hue="residual", points=exact, thick=True)]
    each = [Series(name=say("exact"), hue="residual", points=one, thick=True)]
    drawn = [s for s in value.sampled if s.mean_norm > 0]
    if drawn:
        all_of += [
            Series(
                name=say("Veit’s estimate: mean norm × number of paths"),
                hue="plain",
                line=False,
                dots=True,
                points=tuple((s.length, s.mass) for s in drawn),
                spread=tuple(
                    (s.length, *_around(s.mass, s.mass * s.norm_error / s.mean_norm)) for s in drawn
                ),
            ),
            Series(
                name=say("norm of the mean vector × number of paths"),
                hue="momentum",
                line=False,
                dots=True,
                points=tuple((s.length, s.vector_norm) for s in drawn),
                spread=tuple((s.length, *_around(s.vector_norm, s.vector_error)) for s in drawn),
            ),
        ]
        each.append(
            Series(
                name=say("Veit’s estimate: mean norm × number of paths"),
                hue="plain",
                line=False,
                dots=True,
                points=tuple((s.length, s.mean_norm) for s in drawn),
                spread=tuple((s.length, *_around(s.mean_norm, s.norm_error)) for s in drawn),
            )
        )
    sampled = (
        say(
            "Dots: random paths, one backward each, with one standard error. A mean "
            "of norms is more than the norm of the sum: the paths of one length partly "
            "cancel."
        )
        if drawn
        else ""
    )
    return Figure(
        key="norms",
        title=say("The gradient that comes back over paths of one length"),
        caption=sentences(
            say(
                "Left: over all of them, ‖g_k‖. Right: divided by how many there are. A straight "
                "line on this axis is one factor per block."
            ),
            sampled,
        ),
        panels=(
            Panel(
                title=say("All paths of a length"),
                x=x,
                y=Axis(label="‖g_k‖", log=True),
                series=tuple(all_of),
            ),
            Panel(
                title=say("One path"),
                x=x,
                y=Axis(label=say("‖g_k‖ / number"), log=True),
                series=tuple(each),
            ),
        ),
        shared="none",
        height=0.6,
    )


def _table(value: PathGradients) -> Table:
    sampled = {s.length: s for s in value.sampled}
    total = value.lengths.total
    rows = []
    for k, (ways, norm, mass, share, each) in enumerate(
        zip(
            value.lengths.counts,
            value.norms,
            value.masses,
            value.shares,
            value.per_path,
            strict=True,
        )
    ):
        row = [
            str(k),
            huge(ways),
            _few(ways / total) if total else "–",
            scientific(norm),
            _few(mass),
            percent(share),
            scientific(each),
        ]
        if sampled:
            s = sampled.get(k)
            row.append(
                say_n("{mass} ({n} draw)", "{mass} ({n} draws)", s.draws, mass=scientific(s.mass))
                if s
                else "–"
            )
        rows.append(tuple(row))
    head = [
        say("Length"),
        say("Paths"),
        say("Of all"),
        "‖g_k‖",
        say("Of the gradient"),
        "⟨g_k, g⟩/⟨g, g⟩",
        say("Per path"),
    ]
    return Table(
        title=say("Every length"),
        head=tuple(head + ([say("Sampled mass")] if sampled else [])),
        rows=tuple(rows),
        words=0,
        tall=True,
    )


def _around(middle: float, error: float) -> tuple[float, float]:
    # On a log axis an error as large as the value reaches down without end.
    return max(middle - error, middle * 0.05), middle + error


def _above_zero(values: Sequence[float]) -> tuple[tuple[float, float], ...]:
    return tuple((k, v) for k, v in enumerate(values) if v > 0 and math.isfinite(v))


def _one(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else scientific(value)


def _few(part: float) -> str:
    """A percentage, in powers of ten where it rounds to nothing."""
    if not math.isfinite(part):
        return scientific(part)
    return percent(part) if part >= 5e-4 or part == 0 else f"{power(100 * part)} %"
