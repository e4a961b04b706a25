"""The diagram of a report as plain JSON: boxes, their plans, glyphs and marks.

Everything that both the page and the static picture need is decided here; what is
left to them is arithmetic (``layout``) and painting.
"""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import Any

from resnet_viz.core import units
from resnet_viz.core.collector import uncollected
from resnet_viz.core.errors import UserError, listed
from resnet_viz.core.graph import Op
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.structure import Skip
from resnet_viz.reporting.colouring.painting import paint, skip_facts
from resnet_viz.reporting.colouring.palette import GRADIENT_STEPS
from resnet_viz.reporting.colouring.quantities import Colouring, colouring_of, stream_of
from resnet_viz.reporting.drawing.contents import entries
from resnet_viz.reporting.drawing.edge_texts import new_shapes, shapes_of, spacing, widened
from resnet_viz.reporting.drawing.extents import Extents
from resnet_viz.reporting.drawing.formulas import formula_of
from resnet_viz.reporting.drawing.glyphs import joints
from resnet_viz.reporting.drawing.groups import BoxMaker
from resnet_viz.reporting.drawing.kind_words import named
from resnet_viz.reporting.drawing.labels import block_family
from resnet_viz.reporting.drawing.nodes import mark_join, node_of, output_of
from resnet_viz.reporting.drawing.opening import opened
from resnet_viz.reporting.drawing.river import OUTPUT, River, skip_fact
from resnet_viz.reporting.folding.boxes import fold_table, spans, stands_for
from resnet_viz.reporting.folding.fold import Folded, fold
from resnet_viz.reporting.layout.coordinates import METRICS
from resnet_viz.reporting.layout.grouping import Grouping, group_ops
from resnet_viz.reporting.layout.lifting import Lifted, lift
from resnet_viz.reporting.layout.plan import plan_box
from resnet_viz.reporting.raised import KIND, stop_node

_MANY = 400  # nodes; a model without blocks is drawn whole up to here
_FEW, _LARGE = 4, 24  # ops; a module without blocks stays open up to here,
# and up to the first of them where it stands among blocks


def diagram(report: Report, options: RenderOptions) -> dict[str, Any]:
    """The diagram as JSON-able values; ids of nodes are ``OpId`` texts.

    Returns:
        ``name``; ``focus``; ``direction``; ``nodes``; ``groups`` (each after the one around it);
        ``edges`` (``[src, dst]`` as indices of nodes, with ``{skip, skip_kind, share}``
        where it is one); ``skips``; ``blocks``; ``stages``; ``plans`` (of the drawing,
        then of each group); ``open`` (per collapse mode, which groups are open);
        ``metrics``; ``gradient`` (range of the colours; only where measured); ``folds``
        (``[first op, ops of a copy, copies]`` of each repeat drawn once, in ops of the
        whole graph; only where there are any); ``colouring`` (what the colours mean, their
        ends and signs; only where they are not by kind); ``look`` (whether formulas and
        shapes are written; ``other`` of a node or a box is its size and face if formulas were
        written the other way, ``spacing`` the distances that each of the two needs);
        ``joints`` (the sign of a join, by kind of skip); ``kinds`` (of skips and blocks, in
        words).

    Raises:
        UserError: If ``options.focus`` is no module that ran, or the report lacks what
            ``options.color_by`` needs.
    """
    return drawn(fold(report, options), options)


@uncollected()
def drawn(folded: Folded, options: RenderOptions) -> dict[str, Any]:
    """Like ``diagram`` where the report is folded already."""
    report = folded.report
    graph, structure, flow = report.graph, report.structure, report.gradient_flow
    context, ops = _chosen(report, options.focus)
    shown = [*context, *ops]
    position = {str(op.id): i for i, op in enumerate(shown)}
    ends = [o for o in graph.outputs if o.src in position and not options.focus]
    failure = None if options.focus else graph.failure
    stop = failure if failure is not None and not failure.op else None
    modules = [""] * len(context) + [op.module for op in ops] + [""] * len(ends)
    modules += [stop.module] if stop else []
    pairs = {
        (position[e.src], position[e.dst]): None
        for e in graph.edges
        if e.src in position and position.get(e.dst, -1) >= len(context)
    }
    pairs |= {(position[o.src], len(shown) + k): None for k, o in enumerate(ends)}
    if stop:
        # Not a tensor's way but the order of things: it came after the last that ran.
        before = range(len(shown) - 1, len(shown)) if ops else range(len(shown))
        pairs |= {(i, len(shown)): None for i in before}
    grouping = group_ops(
        modules,
        position,
        structure,
        spans(folded, position),
        edges=pairs,
        inputs=len(context),
    )
    groups = grouping.groups
    home = [-1] * len(modules)
    for i, box in enumerate(groups):
        for item in box.items:
            if item >= 0:
                home[item] = i
    lifted = lift(groups, grouping.root, home, list(pairs), structure.skips, position)
    own, inside = entries(
        graph, structure.blocks, structure.skips, grouping, home, lifted.mark, position
    )
    extents = Extents(report)
    nodes = [node_of(report, op, i < len(context), extents) for i, op in enumerate(shown)]
    nodes += [output_of(k, report, o.name, o.src) for k, o in enumerate(ends)]
    nodes += [stop_node(stop)] if stop else []
    for node, around in zip(nodes, home, strict=True):
        node["group"] = around
        node |= stands_for(folded, node)
    colouring = colouring_of(folded.whole, options)
    carried = stream_of(report, colouring)
    for i, block in enumerate(structure.blocks):
        if i not in grouping.carrier and block.skip.join in position:
            nodes[position[block.skip.join]]["block"] = i
    for skip in structure.skips:
        if skip.join in position and nodes[position[skip.join]]["kind"] != KIND:
            mark_join(nodes[position[skip.join]], report, skip, options.formulas)
    shapes = shapes_of(report, lifted, nodes)
    plans = _plans(grouping, lifted, _carried(lifted, carried, nodes), shapes)
    skips = [_skip(folded, k, carried, colouring) for k in range(len(structure.skips))]
    rooms = spacing(plans, skips, options.direction)
    look = {"formulas": int(options.formulas), "shapes": int(options.edge_shapes)}
    data: dict[str, Any] = {
        "name": options.title or " · ".join(filter(None, (graph.name, options.focus))),
        "focus": options.focus,
        "direction": options.direction,
        "nodes": nodes,
        "skips": skips,
        "blocks": [_block(folded, i, grouping) for i in range(len(structure.blocks))],
        "stages": [
            {"name": s.name, "resolution": units.shape(s.resolution), "blocks": s.blocks}
            for s in structure.stages
        ],
        "edges": _edges(folded, list(pairs), position, carried),
        "plans": plans,
        "open": opened(groups, _open(grouping, nodes), folded, options),
        "metrics": widened(METRICS, rooms, look),
        "spacing": rooms,
        "look": look,
        "joints": joints(6.5),
        "kinds": {
            str(kind): named(kind)
            for kind in (*(s.kind for s in structure.skips), *(b.title for b in structure.blocks))
        },
    } | ({"river": 1} if carried else {})
    maker = BoxMaker(folded, grouping, own, inside, nodes, data["skips"], extents, options.formulas)
    data["groups"] = maker.boxes()
    if folded.repeats:
        data["folds"] = fold_table(folded)
    if colouring is not None:
        paint(data, folded.whole, colouring)
    if flow is not None:
        _colour(data, position)
    return data


def gradient_step(value: float, low: float, high: float) -> int:
    """Colour step of a gradient norm on a log scale from ``low`` to ``high``."""
    if not (value > 0 and math.isfinite(value)):
        return 0
    span = math.log10(high / low) if high > low else 0.0
    place = math.log10(value / low) / span if span else 0.5
    return min(GRADIENT_STEPS - 1, max(0, int(place * GRADIENT_STEPS)))


def _chosen(report: Report, focus: str) -> tuple[list[Op], list[Op]]:
    """The ops to draw around, and the ops to draw."""
    graph = report.graph
    if not focus:
        return list(graph.inputs), list(graph.ops)
    inside = [op for op in graph.ops if f"{op.module}.".startswith(f"{focus}.")]
    if not inside:
        known = [m.path for m in graph.modules if m.path]
        near = get_close_matches(focus, known, n=3, cutoff=0.4) or known
        raise UserError(f"no module {focus!r} ran; focus on one of: {listed(near)}")
    ids = {op.id for op in inside}
    sources = {e.src for op in inside for e in graph.edges_in(op.id)} - ids
    return [op for op in graph.nodes() if op.id in sources], inside


def _skip(
    folded: Folded, index: int, carried: River | None, colouring: Colouring | None
) -> dict[str, Any]:
    skip = folded.skips[index][0]
    out: dict[str, Any] = {
        "id": skip.id,
        "fork": str(skip.fork),
        "join": str(skip.join),
        "kind": skip.kind,
        "width": 2.4,
    }
    formula = formula_of(folded.report.graph, skip)
    out["formula"] = [formula.shortcut, formula.branch]
    if colouring is not None and colouring.stream is not None:
        times = len(folded.skips[index])
        return out | skip_facts(skip, colouring) | ({"times": times} if times > 1 else {})
    if shares := [share for share in folded.shares(index) if math.isfinite(share)]:
        share = sum(shares) / len(shares)
        out["share"] = share
    if len(folded.skips[index]) > 1:
        out["times"] = len(folded.skips[index])
        out |= {"shares": [min(shares), max(shares)]} if shares else {}
    return out | (skip_fact(carried, skip, out.get("share")) if carried else {})


def _block(folded: Folded, index: int, grouping: Grouping) -> dict[str, Any]:
    block = folded.report.structure.blocks[index]
    times = folded.times(block.skip.join)
    return {
        "kind": block.title,
        "family": block_family(block.kind),
        "module": block.module,
        "join": str(block.skip.join),
        "squeeze": block.squeeze,
        "group": grouping.carrier.get(index, -1),
    } | ({"times": times} if times > 1 else {})


def _edges(
    folded: Folded,
    pairs: list[tuple[int, int]],
    position: dict[str, int],
    carried: River | None,
) -> list[list[Any]]:
    marks: dict[tuple[int, int], Skip] = {}
    report = folded.report
    for skip, (first, *_) in zip(report.structure.skips, folded.skips, strict=True):
        way = [position.get(op, -1) for op in (skip.fork, *skip.shortcut, skip.join)]
        for i, a in enumerate(way):
            for b in way[i + 1 :]:
                marks.setdefault((a, b), first)
    flow = report.gradient_flow
    shares = {(str(s.src), str(s.dst)): s.share for s in flow.shares} if flow else {}
    names = {i: op for op, i in position.items()}
    out: list[list[Any]] = []
    for pair in pairs:
        more: dict[str, Any] = {}
        if pair in marks:
            more = {"skip": marks[pair].id, "skip_kind": marks[pair].kind}
        share = shares.get((names.get(pair[0], ""), names.get(pair[1], "")))
        if share is not None and math.isfinite(share):
            more["share"] = share
        ends = names.get(pair[0], ""), names.get(pair[1], "")
        if carried is not None and ends in carried.amounts:
            more["carries"] = carried.amounts[ends]
        out.append([*pair, more] if more else [*pair])
    return out


def _carried(
    lifted: Lifted, carried: River | None, nodes: list[dict[str, Any]]
) -> dict[int, list[Any]]:
    """Per piece of an edge (by its ``id``) what it carries and whether it is a branch."""
    if carried is None:
        return {}
    through: dict[int, list[tuple[str, str]]] = {}
    for (src, dst), way in lifted.ways.items():
        pair = nodes[src]["id"], OUTPUT if nodes[dst]["kind"] == "io" else nodes[dst]["id"]
        if pair[1] == OUTPUT and pair not in carried.amounts:
            continue
        for piece in way:
            through.setdefault(id(piece), []).append(pair)
    found = {piece: carried.piece(pairs) for piece, pairs in through.items()}
    return {piece: list(told) for piece, told in found.items() if told is not None}


def _plans(
    grouping: Grouping, lifted: Lifted, carried: dict[int, list[Any]], shapes: dict[int, str]
) -> list[dict[str, Any]]:
    groups = grouping.groups
    plans = []
    for items, edges in zip([grouping.root, *(g.items for g in groups)], lifted.local, strict=True):
        weights = [
            1.0 if x >= 0 else 1 + 0.5 * math.log2(groups[-1 - x].high - groups[-1 - x].low)
            for x in items
        ]
        boxes = {i for i, x in enumerate(items) if x < 0}

        def breakable(i: int, boxes: set[int] = boxes) -> bool:
            """Before boxes; before ops only where there are no boxes to break at."""
            return not boxes or i in boxes or (i - 1 in boxes)

        plan = plan_box(weights, edges, boxes=boxes, breakable=breakable)
        plans.append(
            {
                "items": items,
                "order": plan.order,
                "col": plan.col,
                "after": plan.after,
                "bars": plan.bars,
                "edges": [
                    [
                        *(e.s, e.t, e.way, e.lane, e.skips, e.part, int(e.plain)),
                        *carried.get(id(e), ()),
                    ]
                    for e in plan.edges
                ],
                "shapes": new_shapes(plan.edges, shapes),
                "cuts": plan.cuts,
                "breaks": plan.breaks,
                "ports": plan.ports,
            }
        )
    return plans


def _open(grouping: Grouping, nodes: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Per collapse mode, a 1 for each group that is open; what raised is never hidden."""
    groups = grouping.groups
    raised = [i for i, node in enumerate(nodes) if node["kind"] == KIND]
    must = [int(any(g.low <= i < g.high for i in raised)) for g in groups]
    holds = [False] * len(groups)
    for i in range(len(groups) - 1, -1, -1):
        holds[i] = holds[i] or groups[i].block >= 0
        if groups[i].parent >= 0 and holds[i]:
            holds[groups[i].parent] = True
    beside = {g.parent for g, full in zip(groups, holds, strict=True) if full}
    blocks = []
    for i, group in enumerate(groups):
        size = group.high - group.low
        # What stands among blocks is shown at their level: a block without a skip.
        like_block = group.parent in beside and not holds[i] and size > _FEW
        whole = not any(holds) and len(nodes) <= _MANY
        small = size <= _LARGE and not like_block
        is_open = group.block < 0 and (holds[i] or small or whole)
        blocks.append(int(is_open or must[i]))
    return {"blocks": blocks, "all": must, "none": [1] * len(groups)}


def _colour(data: dict[str, Any], position: dict[str, int]) -> None:
    """Gradient colours: of each op, and of a closed box the one of its last op."""
    norms = [v for n in data["nodes"] for v in (n.get("l2", 0), *n.get("spread", ()))]
    found = [v for v in norms if v > 0 and math.isfinite(v)]
    if not found:
        return
    low, high = min(found), max(found)
    data["gradient"] = {"low": low, "high": high}
    for node in data["nodes"]:
        if "l2" in node:
            node["g"] = gradient_step(node["l2"], low, high)
    for group in data["groups"]:
        steps = [n["g"] for n in data["nodes"][group["low"] : group["high"]] if "g" in n]
        if steps:
            group["g"] = steps[-1]
