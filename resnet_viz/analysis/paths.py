"""How long the paths from input to output are: exact counts for any traced graph.

A path here is one of the derivative: the chain rule sums over these, not over values. So it
takes only edges a gradient can flow over (``flow_graph``), and starts at every activation
that is computed from none: each floating input, the embedding of token ids. It ends at the
last floating output. ``x + x`` is two paths, ``x * f(x)`` as well, and what is only read for
its shape is none.

In units of layers a path is a sequence of calls. In units of blocks it is a sequence of
choices: at every residual join that it meets, the shortcut or the branch. Ways that differ
only between two joins (the heads of an Inception block, a gate, query and key) are one path
there, because that is what Veit et al. 2016 count: 2^n for n blocks, however a branch is
written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from resnet_viz.analysis.flow_graph import FlowGraph, carries, flow_of
from resnet_viz.analysis.skips import skips_in
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.paths import PathLengths, Unit
from resnet_viz.core.structure import Skip, Structure

# They read the second operand for its shape or dtype.
_READS_FIRST_ONLY = frozenset({"view_as", "reshape_as", "expand_as", "type_as"})


class Side(NamedTuple):
    """An operand of a residual join: where it comes from, and what it adds to the length."""

    operand: int
    length: int


def path_lengths(
    graph: ModelGraph, structure: Structure | None = None, unit: Unit = "block"
) -> PathLengths:
    """How many paths have which length, as exact integers (Veit et al. 2016, section 3).

    With a weight w(v) for every op, P_v(t) = t^{w(v)} Σ_u P_u(t) over the occurrences of
    its operands u; the counts are the coefficients at the output. Cost: edges × length.

    Args:
        graph: What ran.
        structure: Its skips, where they are known already; only blocks need them.
        unit: ``layer`` counts convolutions and matrix products with weights, those inside
            gates and on projection shortcuts included. ``block`` counts residual branches
            (see ``residual_sides``); a net without any has one path of length 0.
    """
    flow = flow_of(graph)
    end = _end(flow)
    if end is None:
        return PathLengths(unit=unit, counts=())
    if unit == "layer":
        return PathLengths(unit=unit, counts=tuple(_by_layer(flow, end)))
    skips = skips_in(flow) if structure is None else structure.skips
    return PathLengths(unit=unit, counts=tuple(_by_block(flow, skips, end)))


def residual_sides(flow: FlowGraph, skips: Iterable[Skip]) -> dict[int, tuple[Side, ...]]:
    """The joins whose branches a path counts, in order, with their operands.

    Residual sums (identity, projection, scaled) and concatenations (of dense blocks and of
    U-Nets), nested ones too; gates multiply and are no way past a branch. The operand on
    the shortcut adds 0 to the length, every other operand 1.
    """
    found: dict[int, tuple[Side, ...]] = {}
    for skip in skips:
        if skip.kind == "gate":
            continue
        join, past = flow.graph.position(skip.join), {skip.fork, *skip.shortcut}
        sides = [Side(p, int(flow.nodes[p].id not in past)) for p in _operands(flow, join)]
        if len({side.length for side in sides}) == 2:
            found[join] = tuple(sides)
    return dict(sorted(found.items()))


def add_shifted(total: list[int], counts: Sequence[int], shift: int) -> None:
    """Adds t^shift · counts(t) to ``total`` in place; index is degree."""
    total.extend([0] * (len(counts) + shift - len(total)))
    for k, count in enumerate(counts, shift):
        total[k] += count


def choices(
    stops: Iterable[int],
    sides: Mapping[int, Sequence[Side]],
    near: Mapping[int, Iterable[int]],
) -> dict[int, list[int]]:
    """For every stop the number of ways on from it, by length.

    Args:
        stops: Joins and starts of paths, what lies nearer to the start first.
        sides: What a path may choose at a join; a stop without any is a start.
        near: For every operand the stops that follow it without another one between.
    """
    counts: dict[int, list[int]] = {}
    for stop in stops:
        total: list[int] = [] if stop in sides else [1]
        for side in sides.get(stop, ()):
            for following in near[side.operand]:
                add_shifted(total, counts[following], side.length)
        counts[stop] = total
    return counts


def _end(flow: FlowGraph) -> int | None:
    ends = [flow.graph.position(output.src) for output in flow.graph.outputs]
    return max((end for end in ends if flow.active[end]), default=None)


def _operands(flow: FlowGraph, node: int) -> Iterator[int]:
    """Active operands, each as often as it occurs."""
    preds = set(flow.preds[node])
    op = flow.nodes[node]
    for edge in flow.graph.edges_in(op.id):
        source = flow.graph.position(edge.src)
        if source in preds and carries(flow.graph, edge):
            yield source
            if op.kind in _READS_FIRST_ONLY:
                return


def _by_layer(flow: FlowGraph, end: int) -> list[int]:
    counts: list[list[int]] = []
    for node in range(end + 1):
        if not flow.active[node]:
            counts.append([])
            continue
        weight = int(flow.is_weighted(node))
        operands = list(_operands(flow, node))
        if len(operands) == 1 and not weight:
            counts.append(counts[operands[0]])  # shared: nobody writes into it
            continue
        total = [] if operands else [0] * weight + [1]
        for operand in operands:
            add_shifted(total, counts[operand], weight)
        counts.append(total)
    return counts[end]


def _by_block(flow: FlowGraph, skips: Iterable[Skip], end: int) -> list[int]:
    sides = residual_sides(flow, skips)
    near: list[frozenset[int]] = []
    for node in range(end + 1):
        behind = {near[operand] for operand in _operands(flow, node)}
        if flow.active[node] and (node in sides or not behind):
            near.append(frozenset((node,)))
        else:
            near.append(next(iter(behind)) if len(behind) == 1 else frozenset().union(*behind))
    stops = [node for node in range(end + 1) if near[node] == {node}]
    counts = choices(stops, sides, dict(enumerate(near)))
    total: list[int] = []
    for stop in near[end]:
        add_shifted(total, counts[stop], 0)
    return total
