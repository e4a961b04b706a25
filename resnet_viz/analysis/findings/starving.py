"""Skips and branches that hardly get any of the gradient at their fork."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.errors import listed
from resnet_viz.core.finding import Finding
from resnet_viz.core.gradient_flow import GradientFlow, ParameterGradient
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.message import Message, join, say
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Skip, Structure
from resnet_viz.core.units import count, percent, scientific


@dataclass(frozen=True, slots=True)
class Split:
    """Norms of what comes back to a fork over the shortcut and over the branch."""

    skip: Skip
    over_skip: float
    over_branch: float
    share: float


def splits(structure: Structure, flow: GradientFlow) -> Iterator[Split]:
    """One per residual skip whose fork could be measured, in order."""
    edges = {(s.src, s.dst): s for s in flow.shares}
    by_fork: dict[OpId, list[OpId]] = {}
    for src, dst in edges:
        by_fork.setdefault(src, []).append(dst)
    for skip in structure.skips:
        # A gate's share is small by design, and a dense join is one of many.
        if skip.kind in ("gate", "concat"):
            continue
        ends, branch = {*skip.shortcut, skip.join}, set(skip.branch)
        back = by_fork.get(skip.fork, [])
        over = [edges[skip.fork, dst] for dst in back if dst in ends]
        through = [edges[skip.fork, dst] for dst in back if dst in branch]
        if over and through:
            yield Split(
                skip,
                math.hypot(*(s.norm_ratio for s in over)),
                math.hypot(*(s.norm_ratio for s in through)),
                sum(s.share for s in over),
            )


def starved_branches(
    structure: Structure, flow: GradientFlow, thresholds: Thresholds
) -> list[Split]:
    """Residual skips whose branch hardly sends back anything."""
    return [
        split
        for split in splits(structure, flow)
        if split.over_branch <= thresholds.branch_to_skip * split.over_skip
    ]


def find_starved_skips(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """Residual skips that hardly carry gradient, beside branches that carry it."""
    flow = flow_in(measurements)
    starved = [
        split
        for split in (splits(structure, flow) if flow else ())
        if split.over_skip < _least(split.skip, thresholds) * split.over_branch
    ]
    if not starved:
        return ()
    worst = min(starved, key=lambda s: s.over_skip / s.over_branch)
    return (
        Finding(
            severity="warning",
            what=say("skip starved"),
            where=tuple(s.skip.join for s in starved),
            evidence=say(
                "{skips}; the worst is {worst}: its shortcut carries {share} of the fork's "
                "gradient, {ratio} of the branch's norm",
                skips=count(len(starved), "skip"),
                worst=worst.skip.id,
                share=percent(worst.share),
                ratio=scientific(worst.over_skip / worst.over_branch),
            ),
            threshold=say(
                "gradient norm over the shortcut below {ratio} of the branch's, {energy} of its "
                "energy; below a tenth of that for a projection, as few blocks have one",
                ratio=f"{thresholds.skip_to_branch:g}",
                energy=percent(thresholds.skip_to_branch**2),
            ),
            source=say(
                "He et al. 2016, eq. 8: a shortcut that scales by λ passes λ^L over L blocks, so "
                "it has to be an identity; at initialisation De & Smith 2020 expect it to carry "
                "half of the energy or more. The thresholds are ours"
            ),
            remedy=say("make the shortcut an identity, or normalise or scale down the branch"),
        ),
    )


def _least(skip: Skip, thresholds: Thresholds) -> float:
    # Strided pooling and a default initialisation cost MaxViT's projections a factor of 20,
    # but at four blocks of twelve, so that nothing compounds.
    return thresholds.skip_to_branch * (0.1 if skip.kind == "projection" else 1.0)


def find_starved_branches(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """Residual branches that send nothing back and of which nothing gets a gradient.

    One that starts at zero and whose scale gets a gradient is no finding: it wakes up.
    """
    flow = flow_in(measurements)
    starved = starved_branches(structure, flow, thresholds) if flow else []
    asleep = [s for s in starved if flow and not awakes(graph, s.skip, flow)]
    if not flow or not asleep:
        return ()
    worst = min(asleep, key=lambda s: s.over_branch)
    lost = _lost(graph, asleep, flow)
    shut = [p.name for p in lost if p.weight_l2 == 0 and p.stats is None]
    evidence: Message = say(
        "{branches}; {worst}: the branch sends back {part} of the fork's gradient norm, and none "
        "of its parameters gets a gradient",
        branches=count(len(asleep), "branch", "branches"),
        worst=worst.skip.id,
        part=scientific(worst.over_branch),
    )
    if shut:
        evidence = join("; ", [evidence, zero_and_frozen(shut)])
    return (
        Finding(
            severity="warning",
            what=say("branch starved"),
            where=tuple(s.skip.join for s in asleep),
            evidence=evidence,
            threshold=say(
                "gradient norm over the branch at most {ratio} of the shortcut's",
                ratio=f"{thresholds.branch_to_skip:g}",
            ),
            source=say(
                "ours: LayerScale at 1e-6 (ConvNeXt, Liu et al. 2022), which trains, gives 4e-8; "
                "the threshold stands two orders of magnitude below"
            ),
            remedy=say("look for a scale that is zero and frozen, or for dead activations"),
            explains=tuple(p.name for p in lost),
        ),
    )


def zero_and_frozen(names: Sequence[str]) -> Message:
    """That these parameters are zero and stay so."""
    if len(names) == 1:
        return say("{name} is zero and frozen", name=names[0])
    return say("{names} are zero and frozen", names=listed(names, 3))


def awakes(graph: ModelGraph, skip: Skip, flow: GradientFlow) -> bool:
    """Whether some parameter of the skip's branch gets a gradient."""
    names = {name for op in skip.branch for name in graph[op].parameters}
    rows = (p.stats for p in flow.parameters if p.name in names)
    return any(stats is not None and not stats.vanished for stats in rows)


def _lost(
    graph: ModelGraph, starved: Sequence[Split], flow: GradientFlow
) -> list[ParameterGradient]:
    """Parameters of the branches that are zero without a gradient, or get one of zeros."""
    names = {name for s in starved for op in s.skip.branch for name in graph[op].parameters}
    return [
        p for p in flow.parameters if p.name in names and (p.stats is not None or p.weight_l2 == 0)
    ]
