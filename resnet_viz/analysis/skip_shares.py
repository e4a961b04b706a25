"""How much of the gradient the shortcuts carry: per block, per stage, in the network.

What counts is residual: a skip that ends in an ``add``, be it identity, projection or
scaled. A gate multiplies and a concatenation stacks, so at their forks there is no
branch that learns the difference to a shortcut; their shares stand with their edges.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.graph import OpId
from resnet_viz.core.skip_shares import SkipShare
from resnet_viz.core.structure import Skip, SkipKind, Structure

RESIDUAL: frozenset[SkipKind] = frozenset({"identity", "projection", "scaled"})


class _Measured(NamedTuple):
    skip: Skip
    shortcut: float
    branch: float
    other: float
    energy: float


def skip_shares_of(structure: Structure, flow: GradientFlow) -> tuple[SkipShare, ...]:
    """Rows per block, then per stage, then one of the network; those without a skip left out.

    A skip belongs to the innermost block and to the stage that its join lies in. Left out
    are skips whose shortcut has no measured share. Over several batches shares and norms
    are means.

    Args:
        structure: The skips, blocks and stages.
        flow: What was measured of them.
    """
    found = _measured(structure, flow)
    inside = {op: block.skip.join for op, block in structure.block_of().items()}
    at = {op: stage.name for stage in structure.stages for op in stage.ops}
    blocks: dict[str, list[_Measured]] = {block.skip.join: [] for block in structure.blocks}
    stages: dict[str, list[_Measured]] = {stage.name: [] for stage in structure.stages}
    for row in found:
        join = row.skip.join
        if join in inside:
            blocks[inside[join]].append(row)
        if join in at:
            stages[at[join]].append(row)
    rows = [_summed("block", key, group) for key, group in blocks.items() if group]
    rows += [_summed("stage", key, group) for key, group in stages.items() if group]
    return (*rows, _summed("network", "", found)) if found else ()


def _measured(structure: Structure, flow: GradientFlow) -> list[_Measured]:
    edges: dict[OpId, dict[OpId, float]] = {}
    norms: dict[OpId, float] = {}
    for share in flow.shares:
        edges.setdefault(share.src, {})[share.dst] = share.share
        norms[share.src] = share.fork_l2 or 0.0
    found = []
    for skip in structure.skips:
        ways = edges.get(skip.fork, {})
        shortcut = [s for dst, s in ways.items() if dst == skip.join or dst in skip.shortcut]
        if skip.kind not in RESIDUAL or not shortcut:
            continue
        energy = norms[skip.fork] ** 2
        if not energy > 0:
            continue
        branch = math.fsum(s for dst, s in ways.items() if dst in skip.branch)
        direct = math.fsum(shortcut)
        other = math.fsum(ways.values()) - branch - direct
        found.append(_Measured(skip, direct, branch, other, energy))
    return found


def _summed(
    by: Literal["block", "stage", "network"], key: str, rows: Iterable[_Measured]
) -> SkipShare:
    rows = list(rows)
    energy = math.fsum(row.energy for row in rows)

    def mean(name: str) -> float:
        return math.fsum(getattr(row, name) * (row.energy / energy) for row in rows)

    return SkipShare(
        by=by,
        key=key,
        skips=len(rows),
        shortcut=mean("shortcut"),
        branch=mean("branch"),
        other=mean("other"),
        energy=energy,
    )
