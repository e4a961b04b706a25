"""Lesions: what became of the error with blocks deleted or moved (Veit et al. 2016).

The figures take several nets, so that the degradation experiment can show a plain net
beside a residual one; the page of one study shows one net.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from resnet_viz.core.experiments.lesions import LesionStudy
from resnet_viz.core.units import count, scientific
from resnet_viz.reporting.experiments.figure import Axis, Figure, Hue, Key, Panel, Rule, Series
from resnet_viz.reporting.experiments.page import (
    ExperimentView,
    Fact,
    Section,
    Table,
    mean,
    pct,
    provenance_rows,
    ranged,
)

SOURCE = "Veit et al. 2016 (arXiv:1605.06431)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesioned:
    """One net, from one or several seeds, with the lesions of each."""

    name: str
    hue: Hue
    thick: bool = False
    studies: tuple[LesionStudy, ...]

    @property
    def error(self) -> float:
        """Of the whole net, mean over seeds."""
        return mean(study.error for study in self.studies)

    @property
    def chance(self) -> float:
        """Error of guessing."""
        return 1 - 1 / max(1, self.studies[0].classes)

    def single(self) -> list[tuple[int, str, list[float]]]:
        """Number of each block that was deleted alone, its path, its errors by seed."""
        found: dict[str, list[float]] = {}
        for lesion in (x for study in self.studies for x in study.single):
            found.setdefault(lesion.blocks[0], []).append(lesion.error)
        order = {path: i for i, path in enumerate(self.studies[0].blocks, start=1)}
        return [(order[path], path, errors) for path, errors in found.items() if path in order]


def lesion_figures(nets: Sequence[Lesioned]) -> tuple[Figure, ...]:
    """Error by deleted block; by number of deleted blocks and by Kendall's tau."""
    figures = [_single(nets), _several(nets)]
    return tuple(f for f in figures if f is not None)


def _single(nets: Sequence[Lesioned]) -> Figure | None:
    panels = [_single_panel(net) for net in nets if net.single()]
    if not panels:
        return None
    several = any(len(net.studies) > 1 for net in nets)
    hues: list[Hue] = [*dict.fromkeys(net.hue for net in nets if net.single())]
    names = _KIND if len(hues) > 1 else {}
    keys = [Key(name=names.get(h, "block"), hue=h, line=False, dots=True) for h in hues]
    if any(s.hue == "changing" for panel in panels for s in panel.series):
        name = "block that changes resolution or channels"
        keys.append(Key(name=name, hue="changing", line=False, dots=True))
    return Figure(
        key="deleted",
        title="Error after deleting one block",
        caption="Each marker: the test error with that block alone replaced by its shortcut (in a "
        "plain net by the identity). Stems begin at the error of the whole net."
        + (" Mean over seeds; whiskers from the least to the largest." if several else ""),
        panels=tuple(panels),
        legend=tuple(keys),
        columns=min(2, len(panels)),
        height=0.6 if len(panels) > 1 else 0.36,
        main=True,
    )


_KIND: dict[Hue, str] = {"plain": "block of the plain net", "residual": "block of the residual net"}


def _single_panel(net: Lesioned) -> Panel:
    changing = set(net.studies[0].changing)
    rows = net.single()
    series = []
    groups: tuple[tuple[Hue, list[tuple[int, str, list[float]]]], ...] = (
        (net.hue, [r for r in rows if r[1] not in changing]),
        ("changing", [r for r in rows if r[1] in changing]),
    )
    for hue, those in groups:
        if those:
            series.append(
                Series(
                    name=f"{net.name}: " + ("changing blocks" if hue == "changing" else "blocks"),
                    hue=hue,
                    points=tuple((i, 100 * mean(errors)) for i, _, errors in those),
                    spread=tuple(
                        (i, 100 * min(errors), 100 * max(errors))
                        for i, _, errors in those
                        if len(errors) > 1
                    ),
                    line=False,
                    dots=True,
                    thick=net.thick,
                    stems=100 * net.error,
                )
            )
    return Panel(
        title=net.name,
        x=Axis(label="deleted block, from the input", whole=True),
        y=Axis(label="test error, %", low=0.0, high=105.0),
        series=tuple(series),
        rules=(
            Rule(at=100 * net.chance, label="chance"),
            Rule(at=100 * net.error, label="whole net"),
        ),
    )


def _several(nets: Sequence[Lesioned]) -> Figure | None:
    """More than one block: how many are gone, and how far they were moved."""
    y = Axis(label="test error, %", low=0.0, high=105.0)
    chance = (Rule(at=100 * nets[0].chance, label="chance"),) if nets else ()
    gone = [s for net in nets if len((s := _by_number(net)).points) > 2]
    moved = [s for net in nets if (s := _by_tau(net)).points]
    panels, told = [], []
    if gone:
        told.append(
            "Deleted: mean over random choices of blocks, band from the least to the largest."
        )
        x = Axis(label="blocks deleted", low=0.0, whole=True)
        panels.append(Panel(title="Deleted", x=x, y=y, series=tuple(gone), rules=chance))
    if moved:
        told.append(
            "Moved: one random permutation of blocks of equal shape within their stages for each "
            "marker; τ = 1 is the order as trained."
        )
        x = Axis(label="Kendall's τ, new order against old", high=1.01)
        panels.append(Panel(title="Moved", x=x, y=y, series=tuple(moved), rules=chance))
    if not panels:
        return None
    return Figure(
        key="several",
        title="Error with several blocks deleted or moved",
        caption=f"{' '.join(told)} {SOURCE} report that error rises smoothly in both.",
        panels=tuple(panels),
        legend=tuple(Key(name=s.name, hue=s.hue, dots=True, thick=s.thick) for s in gone or moved),
        shared="none",
        height=0.6,
        main=True,
    )


def _by_number(net: Lesioned) -> Series:
    found: dict[int, list[float]] = {0: [study.error for study in net.studies]}
    for lesion in (x for study in net.studies for x in (*study.single, *study.several)):
        found.setdefault(len(lesion.blocks), []).append(lesion.error)
    return Series(
        name=net.name,
        hue=net.hue,
        thick=net.thick,
        points=tuple((k, 100 * mean(v)) for k, v in sorted(found.items())),
        spread=tuple((k, 100 * min(v), 100 * max(v)) for k, v in sorted(found.items())),
        dots=True,
    )


def _by_tau(net: Lesioned) -> Series:
    moved = [x for study in net.studies for x in study.permuted]
    return Series(
        name=net.name,
        hue=net.hue,
        thick=net.thick,
        points=tuple(sorted((x.tau, 100 * x.error) for x in moved if x.tau is not None)),
        line=False,
        dots=True,
    )


def lesion_words(nets: Sequence[Lesioned]) -> tuple[str, ...]:
    """What was seen, one paragraph for each net with single deletions."""
    return tuple(_words(net) for net in nets if net.single())


def _words(net: Lesioned) -> str:
    changing = set(net.studies[0].changing)
    rows = [(path, mean(errors)) for _, path, errors in net.single()]
    worst_path, worst = max(rows, key=lambda r: r[1])
    usual = [e for path, e in rows if path not in changing]
    close = sum(e <= net.error + 0.05 for _, e in rows)
    at_chance = sum(e >= net.chance - 0.1 for _, e in rows)
    said = (
        f"{net.name} errs on {pct(net.error)} as a whole. With one block deleted the median "
        f"error is {pct(median(e for _, e in rows))} and the largest {pct(worst)} "
        f"({worst_path}, {'a' if worst_path in changing else 'not a'} block that changes shape); "
        f"{close} of {count(len(rows), 'deletion')} cost at most 5 points"
    )
    said += f", {at_chance} end near chance ({pct(net.chance)})." if at_chance else "."
    down = [e for path, e in rows if path in changing]
    if down and usual:
        said += (
            f" Median over the {len(down)} that change shape: {pct(median(down))}; over the "
            f"others: {pct(median(usual))}."
        )
    return said


def lesion_table(nets: Sequence[Lesioned]) -> Table:
    """Every single deletion."""
    return Table(
        title="Each block deleted alone",
        head=("Net", "Block", "Changes shape", "Error", "Rise, points"),
        rows=tuple(
            (
                net.name,
                path,
                "yes" if path in net.studies[0].changing else "",
                ranged(errors, pct),
                f"{100 * (mean(errors) - net.error):+.1f}".replace("-", "−"),
            )
            for net in nets
            for _, path, errors in net.single()
        ),
        words=3,
        tall=True,
    )


def lesion_view(study: LesionStudy, title: str) -> ExperimentView:
    """The page of one study."""
    hue: Hue = "plain" if "plain" in study.model.lower() else "residual"
    net = Lesioned(name=study.model, hue=hue, studies=(study,))
    rows = net.single()
    facts = [
        Fact(
            label="Whole net",
            value=pct(study.error),
            detail=f"error on {count(study.samples, 'sample')}; loss {scientific(study.loss)}",
        ),
        Fact(label="Guessing", value=pct(net.chance), detail=f"{study.classes} classes"),
    ]
    verdict = "No single block was deleted"
    if rows:
        middle = median(mean(errors) for *_, errors in rows)
        worst = max(rows, key=lambda r: mean(r[2]))
        facts += [
            Fact(label="One block less, median", value=pct(middle), detail=f"of {len(rows)}"),
            Fact(label="One block less, worst", value=pct(mean(worst[2])), detail=worst[1]),
        ]
        verdict = (
            f"One block less takes the error from {pct(study.error)} to {pct(middle)} (median), "
            f"{pct(mean(worst[2]))} at worst"
        )
        if study.error > 0.9 * net.chance:
            verdict += "; the whole net is near chance, so lesions say little about it"
    left_out = ("Blocks left out: " + "; ".join(study.left_out) + ".",) if study.left_out else ()
    return ExperimentView(
        title=title or f"Lesions of {study.model}",
        verdict=verdict,
        tone="",
        lead=f"Blocks of {study.model}, trained as given, were deleted or moved at test time, and "
        f"the net was run on {study.data or 'the samples given'} in eval mode. Nothing was trained "
        f"again ({SOURCE}).",
        facts=tuple(facts),
        seen=lesion_words([net]),
        sections=(
            Section(
                key="lesions",
                title="Lesions",
                figures=lesion_figures([net]),
                tables=(lesion_table([net]),) if rows else (),
            ),
        ),
        caveats=(
            *left_out,
            "Batch-norm statistics are those of the whole net: the blocks behind a lesion see "
            "inputs that they were not measured for, which costs accuracy of its own.",
            "That a net survives lesions shows that its blocks do not depend strongly on each "
            "other; that it therefore is an ensemble of its paths is a contested reading, since "
            "the paths share their weights.",
        ),
        provenance=provenance_rows(
            study.provenance,
            ("Net", study.model),
            ("Data", study.data),
            ("Seed of lesions", str(study.seed)),
        ),
    )
