"""The report's two charts as numbers: gradient per layer, gradient share per skip.

A chart here is its bars in data units; how wide a pixel is, the page decides.
"""

from __future__ import annotations

from statistics import median
from typing import Any, TypeAlias

from resnet_viz.core.gradient_flow import EdgeShare, GradientStats
from resnet_viz.core.message import Message, say, say_n
from resnet_viz.core.structure import Skip
from resnet_viz.core.terms import word
from resnet_viz.core.units import count, percent, scientific
from resnet_viz.reporting.drawing.labels import CLASS_NAMES, op_class, op_label
from resnet_viz.reporting.experiments.flow_tables import how_measured, received
from resnet_viz.reporting.page.tables import Facts, stage_tints, weights_of

Bar: TypeAlias = dict[str, Any]

SERIES: tuple[tuple[str, str, str, str], ...] = (
    ("w_l2", "weights", "L2 norm", "‖∂L/∂W‖₂"),
    ("w_rms", "weights", "RMS", say("RMS of ∂L/∂W")),
    ("a_l2", "activations", "L2 norm", "‖∂L/∂y‖₂"),
    ("a_rms", "activations", "RMS", say("RMS of ∂L/∂y")),
)
"""Key, what the gradient is of, how it is measured, and its axis title."""


def flow_chart(facts: Facts, drawing: dict[str, Any]) -> dict[str, Any] | None:
    """Gradient of every weighted layer in forward order; ``None`` if not measured.

    Weights: the gradient of the loss for the layer's weight matrices or kernels,
    taken as one tensor. Activations: the gradient that arrives at its output.
    Values are texts with three significant digits, empty where there is none.
    """
    flow = facts.flow
    if flow is None:
        return None
    layers = facts.weighted
    weights = [facts.weight_gradient(op) for op in layers]
    calls = [facts.call_gradient(op) for op in layers]
    kinds = [op_class(facts.graph, op, on_shortcut=op.id in facts.shortcut_ops) for op in layers]
    reasons = {
        i: next((facts.reasons[n] for n in weights_of(facts.graph, op) if n in facts.reasons), "")
        for i, op in enumerate(layers)
    }
    tints = stage_tints(facts, drawing)
    ratios, ratio_axis = _ratios(facts)
    return {
        "measured": how_measured(flow),
        "received": received(flow),
        "notes": list(flow.notes),
        "ops": [op.id for op in layers],
        "names": [facts.name(op.id) for op in layers],
        "whats": [op_label(facts.graph, op) for op in layers],
        "kinds": kinds,
        "legend": [(k, CLASS_NAMES[k]) for k in CLASS_NAMES if k in kinds],
        "series": {
            "w_l2": [_text(s, "l2") for s in weights],
            "w_rms": [_text(s, "rms") for s in weights],
            "a_l2": [_text(s, "l2") for s in calls],
            "a_rms": [_text(s, "rms") for s in calls],
            "ratio": ratios,
        },
        "spread": {
            key: found
            for key, stats in (("w_l2", weights), ("a_l2", calls))
            if any(found := [_spread(s) for s in stats])
        },
        "axes": [
            {"key": k, "of": of, "by": by, "title": title}
            for k, of, by, title in (*SERIES, *ratio_axis)
        ],
        "reasons": {str(i): reason for i, reason in reasons.items() if reason},
        "bands": [
            {"name": facts.structure.stages[s].name if s >= 0 else "", "from": a, "to": b,
             "stage": tints[s] if s >= 0 else -1}
            for s, a, b in _runs([facts.stage_of.get(op.id, -1) for op in layers])
        ],
        "reading": slope_sentence(facts),
    }  # fmt: skip


def _ratios(facts: Facts) -> tuple[list[str], tuple[tuple[str, str, str, str], ...]]:
    """One step of the optimizer over the weight; without one, the gradient over the weight."""
    steps = [facts.step_ratio(op) for op in facts.weighted]
    title: str = say("‖Δw‖ ∕ ‖w‖ of one step")
    if all(step is None for step in steps):
        steps = [facts.update_ratio(op) for op in facts.weighted]
        title = "‖∂L/∂W‖ ∕ ‖W‖"
    # Of a ratio there is but one measure, whichever is chosen for the others.
    axes = tuple(("ratio", "ratio", by, title) for by in ("L2 norm", "RMS"))
    return ["" if r is None else scientific(r) for r in steps], axes


def _spread(stats: GradientStats | None) -> str:
    spread = stats.spread if stats is not None else None
    return "" if spread is None else scientific(spread)


def slope_sentence(facts: Facts) -> str:
    """How the gradient changes over the depth, in words; empty where no slope was fitted."""
    slope = facts.slope
    if slope is None:
        return ""
    factor, span = slope.factor, slope.span
    grows = factor >= 1
    if not grows:
        factor, span = 1 / factor, 1 / span
    found = {
        "end": facts.name(slope.ops[-1]),
        "start": facts.name(slope.ops[0]),
        "factor": f"{factor:.3f}",
        "span": scientific(span),
        "layers": count(slope.depths[-1] - slope.depths[0], "layer"),
    }
    if grows:
        return say(
            "Measured where all of the gradient passes, from {end} back to {start}, the norm grows "
            "by a factor of {factor} per layer: {span} over {layers}.",
            **found,
        )
    return say(
        "Measured where all of the gradient passes, from {end} back to {start}, the norm shrinks "
        "by a factor of {factor} per layer: {span} over {layers}.",
        **found,
    )


def share_chart(facts: Facts) -> dict[str, Any] | None:
    """Every skip with the shares at its fork; ``None`` where the network has no skip.

    Bars of one row start at zero: positive shares stack to the right, negative ones
    to the left. All rows use one scale, in percent of the drawn width.
    """
    skips = facts.structure.skips
    if not skips:
        return None
    parts = {skip.id: _parts(facts, skip) for skip in skips}
    sums = [[_sum(edges) for _, edges in row] for row in parts.values()]
    reach = [sum(s for s in row if s > 0) for row in sums]
    dive = [sum(s for s in row if s < 0) for row in sums]
    low, high = min([0.0, *dive]), max([1.0, *reach])
    why = {n.fork: n.reason for n in facts.flow.not_separable} if facts.flow else {}
    rows = [
        {
            "fork": skip.fork,
            "join": skip.join,
            "fork_name": facts.name(skip.fork),
            "join_name": facts.name(skip.join),
            "block": facts.block_at[skip.id].module if skip.id in facts.block_at else "",
            "block_kind": facts.block_at[skip.id].title if skip.id in facts.block_at else "",
            "kind": skip.kind,
            "branch_ops": len(skip.branch),
            "share": _sum_text(parts[skip.id], "shortcut"),
            "branch": _sum_text(parts[skip.id], "branch"),
            "bars": _stack(parts[skip.id], low, high),
            "reason": why.get(skip.fork, "" if parts[skip.id] else _unmeasured(facts)),
        }
        for skip in skips
    ]
    return {
        "rows": rows,
        "zero": _place(0.0, low, high),
        "one": _place(1.0, low, high),
        "low": percent(low),
        "high": percent(high),
        "measured": any(row["bars"] for row in rows),
        "additive": any(skip.kind in ("identity", "projection", "scaled") for skip in skips),
        "why": next((row["reason"] for row in rows if row["reason"]), _unmeasured(facts)),
        "reading": _share_sentence(facts),
    }


def _share_sentence(facts: Facts) -> str:
    if facts.flow is None:
        return ""
    shares = [s for skip in facts.structure.skips if (s := facts.flow.share_of(skip)) is not None]
    if not shares:
        return ""
    return say_n(
        "Over {n} skip the shortcut carries {low} to {high} of the gradient at its fork "
        "(median {median}).",
        "Over {n} skips the shortcut carries {low} to {high} of the gradient at its fork "
        "(median {median}).",
        len(shares),
        low=percent(min(shares)),
        high=percent(max(shares)),
        median=percent(median(shares)),
    )


def _parts(facts: Facts, skip: Skip) -> list[tuple[str, list[EdgeShare]]]:
    """The edges of the skip's fork, by the way they belong to; empty ways left out."""
    if facts.flow is None:
        return []
    shortcut, branch = {*skip.shortcut, skip.join}, set(skip.branch)
    parts: dict[str, list[EdgeShare]] = {"shortcut": [], "branch": [], "elsewhere": []}
    for edge in facts.shares_at.get(skip.fork, ()):
        role = (
            "shortcut" if edge.dst in shortcut else "branch" if edge.dst in branch else "elsewhere"
        )
        parts[role].append(edge)
    return [(role, edges) for role, edges in parts.items() if edges]


def _stack(parts: list[tuple[str, list[EdgeShare]]], low: float, high: float) -> list[Bar]:
    bars, right, left = [], 0.0, 0.0
    for role, edges in parts:
        share = _sum(edges)
        if share >= 0:
            start, right = right, right + share
            end = right
        else:
            end, left = left, left + share
            start = left
        x = _place(start, low, high)
        told = {"role": word(role), "share": percent(share)}
        if len(edges) == 1:
            ratio, cosine = scientific(edges[0].norm_ratio), scientific(edges[0].cosine)
            text = say(
                "{role}: {share}, ‖gₑ‖/‖g‖ {ratio}, cosine {cosine}",
                **told,
                ratio=ratio,
                cosine=cosine,
            )
        else:
            text = say("{role}: {share} over {n} edges", **told, n=len(edges))
        bars.append({"role": role, "x": x, "w": round(_place(end, low, high) - x, 2), "text": text})
    return bars


def _sum(edges: list[EdgeShare]) -> float:
    return sum(edge.share for edge in edges)


def _sum_text(parts: list[tuple[str, list[EdgeShare]]], role: str) -> str:
    return next((percent(_sum(edges)) for r, edges in parts if r == role), "–")


def _unmeasured(facts: Facts) -> Message:
    if facts.flow:
        return say("no gradient reached this fork")
    return say("gradient flow was not measured")


def _place(value: float, low: float, high: float) -> float:
    return round(100 * (value - low) / (high - low), 2)


def _text(stats: GradientStats | None, name: str) -> str:
    return "" if stats is None else scientific(float(getattr(stats, name)))


def _runs(keys: list[int]) -> list[tuple[int, int, int]]:
    runs: list[tuple[int, int, int]] = []
    for i, key in enumerate(keys):
        if runs and runs[-1][0] == key:
            runs[-1] = (key, runs[-1][1], i + 1)
        else:
            runs.append((key, i, i + 1))
    return runs
