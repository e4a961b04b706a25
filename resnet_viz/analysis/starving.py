"""Skips and branches that hardly get any of the gradient at their fork."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.measurement import Finding, GradientFlow
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
        if split.over_skip < thresholds.skip_to_branch * split.over_branch
    ]
    if not starved:
        return ()
    worst = min(starved, key=lambda s: s.over_skip / s.over_branch)
    return (
        Finding(
            severity="warning",
            what="skip starved",
            where=tuple(s.skip.join for s in starved),
            evidence=(
                f"{count(len(starved), 'skip')}; the worst is {worst.skip.id}: its shortcut "
                f"carries {percent(worst.share)} of the fork's gradient, "
                f"{scientific(worst.over_skip / worst.over_branch)} of the branch's norm"
            ),
            threshold=(
                f"gradient norm over the shortcut below {thresholds.skip_to_branch:g} of the "
                "branch's, 1 % of its energy"
            ),
            source=(
                "He et al. 2016, eq. 5: a shortcut that scales by λ passes λ^L over L blocks, so "
                "it has to be an identity; at initialisation De & Smith 2020 expect it to carry "
                "half of the energy or more. The 1 % is ours"
            ),
            remedy="make the shortcut an identity, or normalise or scale down the branch",
        ),
    )


def find_starved_branches(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """Residual branches whose gradient is lost beside the shortcut's, or zero."""
    flow = flow_in(measurements)
    starved = starved_branches(structure, flow, thresholds) if flow else []
    if not flow or not starved:
        return ()
    dead = [s for s in starved if not _awakes(graph, s.skip, flow)]
    waking = [s for s in starved if s not in dead]
    groups = ((dead, True), (waking, False))
    return tuple(_starved_branch(g, thresholds, asleep=asleep) for g, asleep in groups if g)


def _awakes(graph: ModelGraph, skip: Skip, flow: GradientFlow) -> bool:
    names = [name for op in skip.branch for name in graph[op].parameters]
    return any((stats := flow.get(name)) is not None and stats.l2 > 0 for name in names)


def _starved_branch(group: list[Split], thresholds: Thresholds, *, asleep: bool) -> Finding:
    worst = min(group, key=lambda s: s.over_branch)
    return Finding(
        severity="warning" if asleep else "note",
        what="branch starved",
        where=tuple(s.skip.join for s in group),
        evidence=(
            f"{count(len(group), 'branch', 'branches')}; {worst.skip.id}: the branch sends back "
            f"{scientific(worst.over_branch)} of the fork's gradient norm, and "
            + (
                "none of its parameters gets a gradient"
                if asleep
                else "some of its parameters do get a gradient, so that it can wake up"
            )
        ),
        threshold=(
            f"gradient norm over the branch at most {thresholds.branch_to_skip:g} of the shortcut's"
        ),
        source=(
            "ours: LayerScale at 1e-6 (ConvNeXt, Liu et al. 2022), which trains, gives 4e-8; "
            "the threshold stands two orders of magnitude below"
        ),
        remedy=(
            "look for dead activations or a scale that is zero and frozen"
            if asleep
            else "nothing at initialisation, if the last scale starts at zero (Goyal et al. 2017; "
            "Fixup, SkipInit, ReZero); after training the block can be removed"
        ),
    )
