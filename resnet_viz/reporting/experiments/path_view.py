"""Gradient by path length: how many ways there are, and over which the gradient comes back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnet_viz.core.paths import PathGradients
from resnet_viz.core.units import count, percent, scientific
from resnet_viz.reporting.experiments.chain_figures import power
from resnet_viz.reporting.experiments.figure import Axis, Band, Figure, Panel, Rule, Series
from resnet_viz.reporting.experiments.page import ExperimentView, Fact, Section, Table

CONTESTED = (
    "That a residual net is an ensemble of its short paths is one reading of such numbers (Veit "
    "et al. 2016, arXiv:1605.06431) and a contested one: the paths share their weights and are "
    "trained together, and where the gradient comes back says little of what each path computes."
)
_UNITS = {"block": "residual branches", "layer": "weighted layers"}


def path_view(value: PathGradients, title: str) -> ExperimentView:
    """The page of one measurement."""
    section = path_section(value)
    return ExperimentView(
        title=title or f"{value.model}: gradient by path length",
        verdict=_verdict(value),
        tone="",
        lead=f"The gradient at {value.at}, split by how many {_UNITS[value.lengths.unit]} the "
        "paths pass that it came back over. Exact: the pieces of one graded backward sum to it.",
        facts=_facts(value),
        seen=(),
        sections=(section,),
        caveats=(CONTESTED,),
        provenance=(
            ("Loss", value.loss),
            ("Mode", value.mode),
            ("Batch", f"{value.batch_size:,}"),
            ("Data", value.data),
            ("Measured on", value.device),
            ("Seconds", f"{value.seconds:.3g}"),
        ),
    )


def path_section(value: PathGradients) -> Section:
    """Figures, words and the table, for any page."""
    # A net without a fork has one length only: two dots tell less than a sentence.
    several = sum(n > 0 for n in value.lengths.counts) > 1
    figures = [_bells(value), _norms(value)] if several else []
    return Section(
        key="paths",
        title="Path lengths",
        lead="Every fork adds ways through the net. Thin: how many of all paths have which "
        "length. Thick: how much of the gradient comes back over them (Veit et al. 2016, "
        "arXiv:1605.06431, here exact and not sampled).",
        said=path_words(value),
        figures=tuple(f for f in figures if f is not None),
        tables=(_table(value),),
    )


def path_words(value: PathGradients) -> tuple[str, ...]:
    """What the numbers say."""
    lengths, (low, high) = value.lengths, value.central_range
    unit = _UNITS[lengths.unit]
    if not lengths.total or not value.norm or not math.isfinite(value.mean_length):
        return (f"There are {huge(lengths.total)} paths, and no gradient came back over them.",)
    exact = (
        f"The pieces sum to the gradient itself, up to {scientific(value.residual)} of its norm."
    )
    if lengths.total == 1:
        return (f"There is one path, of {lengths.longest} {unit}.", exact)
    held = lengths.fraction(low, high)
    said = [
        f"A path passes {_one(lengths.mean)} ± {_one(lengths.sd)} {unit} (mean and standard "
        f"deviation of {huge(lengths.total)} paths). The gradient comes back over paths of "
        f"{_one(value.mean_length)} on average, {_beside(value.mean_length, lengths.mean)}: "
        f"95 % of it over those of {low} to {high}, which are {_few(held)} of all paths.",
        exact,
    ]
    if math.isfinite(value.sampled_mean_length):
        said.append(
            f"Weighted with the norms of single paths, as Veit et al. do, the mean of the "
            f"{count(len(value.sampled), 'length')} that were drawn is "
            f"{_one(value.sampled_mean_length)}: that estimate lets nothing cancel."
        )
    return tuple(said)


def _beside(mine: float, all_of: float) -> str:
    """Which of two lengths is longer, by the digits that are printed of them."""
    apart = round(round(mine, 1) - round(all_of, 1), 1)
    if not apart:
        return "as long as a path is on average"
    return f"{abs(apart):.1f} {'longer' if apart > 0 else 'shorter'} than a path is on average"


def huge(number: int) -> str:
    """Any whole number in short: ``18,014`` or ``1.8·10¹⁶``."""
    if number < 10**6:
        return f"{number:,}"
    exponent = math.log10(number)
    whole = math.floor(exponent)
    return f"{10 ** (exponent - whole):.2g}·10{_raised(whole)}"


def _raised(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _verdict(value: PathGradients) -> str:
    low, high = value.central_range
    if not math.isfinite(value.mean_length):
        return "No gradient came back"
    if value.lengths.total == 1:
        return f"There is one path, of {value.lengths.longest} {_UNITS[value.lengths.unit]}"
    return (
        f"The gradient comes back over paths of {low} to {high} {_UNITS[value.lengths.unit]}, "
        f"{_one(value.mean_length)} on average; a path has {_one(value.lengths.mean)}"
    )


def _facts(value: PathGradients) -> tuple[Fact, ...]:
    low, high = value.central_range
    lengths = value.lengths
    return (
        Fact(label="Paths", value=huge(lengths.total),
             detail=f"{lengths.shortest} to {lengths.longest} {_UNITS[lengths.unit]} long"),
        Fact(label="Mean length", value=_one(lengths.mean), detail=f"± {_one(lengths.sd)}"),
        Fact(label="Weighted by gradient", value=_one(value.mean_length),
             detail=f"95 % of it: {low} to {high}"),
        Fact(label="Sum of the pieces", value=scientific(value.residual),
             detail="off the gradient itself"),
    )  # fmt: skip


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
            (value.mean_length, f"gradient {_one(value.mean_length)}"),
            (value.lengths.mean, f"paths {_one(value.lengths.mean)}"),
        )
        if math.isfinite(mean)
    ]
    panel = Panel(
        title="",
        x=Axis(label=f"{unit} on the path", whole=True),
        y=Axis(label="part of all", low=0.0, high=top * 1.16 if top > 0 else None),
        series=(
            Series(name="paths of this length, of all paths", hue="theory", points=shares),
            Series(
                name="gradient over them, ‖g_k‖ of the sum of all",
                hue="residual",
                points=tuple(enumerate(value.masses)),
                dots=len(value.masses) <= 80,
                thick=True,
                stems=0.0 if len(value.masses) <= 160 else None,
            ),
        ),
        rules=tuple(rules),
        bands=(Band(low=low - 0.5, high=high + 0.5, name="95 % of the gradient"),),
    )
    return Figure(
        key="lengths",
        title="Number of paths and gradient by path length",
        caption=f"Upright: the means. Tinted: the central 95 % of the gradient at {value.at}. "
        "Both curves have area 1.",
        panels=(panel,),
        height=0.36,
        main=True,
    )


def _norms(value: PathGradients) -> Figure | None:
    unit = _UNITS[value.lengths.unit]
    x = Axis(label=f"{unit} on the path", whole=True)
    exact = _above_zero(value.norms)
    one = _above_zero(value.per_path)
    if not exact:
        return None
    all_of = [Series(name="exact", hue="residual", points=exact, thick=True)]
    each = [Series(name="exact", hue="residual", points=one, thick=True)]
    drawn = [s for s in value.sampled if s.mean_norm > 0]
    if drawn:
        all_of += [
            Series(
                name="Veit’s estimate: mean norm × number of paths", hue="plain", line=False,
                dots=True, points=tuple((s.length, s.mass) for s in drawn),
                spread=tuple(
                    (s.length, *_around(s.mass, s.mass * s.norm_error / s.mean_norm))
                    for s in drawn
                ),
            ),
            Series(
                name="norm of the mean vector × number of paths", hue="momentum", line=False,
                dots=True, points=tuple((s.length, s.vector_norm) for s in drawn),
                spread=tuple((s.length, *_around(s.vector_norm, s.vector_error)) for s in drawn),
            ),
        ]  # fmt: skip
        each.append(
            Series(
                name="Veit’s estimate: mean norm × number of paths", hue="plain", line=False,
                dots=True, points=tuple((s.length, s.mean_norm) for s in drawn),
                spread=tuple((s.length, *_around(s.mean_norm, s.norm_error)) for s in drawn),
            )
        )  # fmt: skip
    sampled = (
        " Dots: random paths, one backward each, with one standard error. A mean of norms is "
        "more than the norm of the sum: the paths of one length partly cancel."
        if drawn
        else ""
    )
    return Figure(
        key="norms",
        title="The gradient that comes back over paths of one length",
        caption="Left: over all of them, ‖g_k‖. Right: divided by how many there are. A straight "
        f"line on this axis is one factor per block.{sampled}",
        panels=(
            Panel(title="All paths of a length", x=x, y=Axis(label="‖g_k‖", log=True),
                  series=tuple(all_of)),
            Panel(title="One path", x=x, y=Axis(label="‖g_k‖ / number", log=True),
                  series=tuple(each)),
        ),
        shared="none",
        height=0.6,
    )  # fmt: skip


def _table(value: PathGradients) -> Table:
    sampled = {s.length: s for s in value.sampled}
    total = value.lengths.total
    rows = []
    for k, (ways, norm, mass, share, each) in enumerate(
        zip(value.lengths.counts, value.norms, value.masses, value.shares, value.per_path,
            strict=True)
    ):  # fmt: skip
        row = [
            str(k), huge(ways), _few(ways / total) if total else "–", scientific(norm),
            _few(mass), percent(share), scientific(each),
        ]  # fmt: skip
        if sampled:
            s = sampled.get(k)
            row.append(f"{scientific(s.mass)} ({s.draws} draws)" if s else "–")
        rows.append(tuple(row))
    head = ["Length", "Paths", "Of all", "‖g_k‖", "Of the gradient", "⟨g_k, g⟩/⟨g, g⟩", "Per path"]
    return Table(
        title="Every length",
        head=tuple(head + (["Sampled mass"] if sampled else [])),
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
