"""``view``: a report as plain JSON, section by section, every number already text.

Renderers only place what is in here, so tests compare views and few compare
bytes. What cannot be shown is in here too, with its reason.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, TypeAlias

from resnet_viz.analysis.diagnose import RULES
from resnet_viz.core.finding import Finding
from resnet_viz.core.graph import How, ModelGraph
from resnet_viz.core.message import Message, join, say
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.structure import SKIP_KINDS
from resnet_viz.core.terms import word
from resnet_viz.core.units import count, si
from resnet_viz.reporting.attributions.section import attribution_view
from resnet_viz.reporting.colouring.quantities import NAMES
from resnet_viz.reporting.colouring.scale_bar import scale_view
from resnet_viz.reporting.colouring.switch import colourings
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.drawing.kind_words import named
from resnet_viz.reporting.drawing.legend import legend
from resnet_viz.reporting.explain import meaning
from resnet_viz.reporting.page.charts import flow_chart, share_chart
from resnet_viz.reporting.page.cost_wording import macs_text
from resnet_viz.reporting.page.tables import Facts, cost_rows, group_rows, layer_rows, more_columns
from resnet_viz.reporting.raised import banner
from resnet_viz.reporting.wording import proof_text

Json: TypeAlias = dict[str, Any]

_AS_IS = frozenset((str, int, bool, type(None)))

_VERDICTS = ("non-finite", "exploding", "vanishing")
_RULE_WORDS = {
    "exceptions in forward": say("exceptions in forward"),
    "NaN and infinity": say("NaN and infinity"),
    "detached parameters": say("detached parameters"),
    "mode of normalisation": say("mode of normalisation"),
    "dead units": say("dead units"),
    "saturated units": say("saturated units"),
    "starved skips": say("starved skips"),
    "starved branches": say("starved branches"),
    "depth slope": say("depth slope (vanishing or exploding gradient)"),
    "parameters without gradient": say("parameters without gradient"),
    "zero gradients": say("zero gradients"),
    "parameters without optimizer": say("parameters without optimizer"),
    "size of updates": say("size of updates"),
}


def view(report: Report, options: RenderOptions) -> Json:
    """Everything a renderer shows, as JSON-able values.

    Args:
        report: What to show.
        options: ``diagram_only`` leaves the measured sections and notes out.

    Returns:
        ``title``, ``theme`` and one key per section: ``raised``, ``header``, ``findings``,
        ``diagram``, ``flow``, ``skips``, ``attributions``, ``costs``, ``layers``,
        ``groups``, ``meaning``, ``provenance``, ``missing``. A section that does
        not apply is ``None`` and has a line in ``missing``.
    """
    facts = Facts(report)
    drawing = diagram(report, options)
    layers = layer_rows(facts)
    switch = colourings(report, drawing)
    page: Json = {
        "title": options.title or report.graph.name,
        "theme": options.theme,
        "collapse": options.collapse,
        "diagram_only": options.diagram_only,
        "raised": banner(report.graph),
        "header": _header(facts),
        "diagram": _compact(drawing),
        "colourings": switch,
        "color_by": options.color_by,
        "colour_names": [("kind", NAMES["kind"]), *((c["by"], c["name"]) for c in switch)],
        "scale": scale_view(drawing["colouring"]) if "colouring" in drawing else None,
        "legend": _legend(drawing),
        "layers": layers,
        "measured_columns": more_columns(layers),
        "groups": group_rows(facts, drawing),
        "costs": cost_rows(facts, drawing),
        "findings": None,
        "flow": None,
        "skips": None,
        "attributions": None,
        "meaning": [],
        "provenance": _provenance(report),
        "missing": {},
    }
    if not options.diagram_only:
        page |= {
            "findings": _findings(facts),
            "flow": flow_chart(facts, drawing),
            "skips": share_chart(facts),
            "attributions": attribution_view(report.attributions, report.provenance, report),
            "meaning": meaning(facts),
            "missing": _missing(report),
        }
    return page


def _legend(drawing: Json) -> list[Json]:
    """What the diagram's marks mean; ops are left out, for they are written upon."""
    return [
        {"paths": paths, "text": text, "width": width}
        for paths, text, _, width in legend(drawing, switches=True)
        if not any("swatch" in css for css, _ in paths)
    ]


def _header(facts: Facts) -> Json:
    graph, structure = facts.graph, facts.structure
    kinds = Counter(skip.kind for skip in structure.skips)
    titles = Counter(block.title for block in structure.blocks)
    uncounted = len(graph.uncounted)
    kpis = [
        _kpi(say("Parameters"), si(graph.total_params), _trainable(facts)),
        _kpi(
            say("MACs"),
            macs_text(graph.total_macs, uncounted),
            _macs_detail(graph, uncounted),
        ),
        _kpi(
            say("Weighted layers"), f"{len(facts.weighted):,}", count(len(graph.ops), "operation")
        ),
        _kpi(
            say("Blocks"),
            f"{len(structure.blocks):,}",
            _kinds(titles),
        ),
        _kpi(
            say("Skip paths"),
            f"{len(structure.skips):,}",
            _kinds(Counter({k: kinds[k] for k in SKIP_KINDS if kinds[k]})),
        ),
        _verdict(facts),
    ]
    return {"name": graph.name, "kpis": kpis, "model": facts.report.provenance.model}


def _macs_detail(graph: ModelGraph, uncounted: int) -> str:
    if graph.failure is not None:
        return say("until forward raised")
    if uncounted:
        return say("{ops} without a formula", ops=count(uncounted, "op"))
    return say("{n} FLOPs: 2 per MAC", n=si(graph.total_flops))


def _kinds(counts: Counter[Any]) -> str:
    if len(counts) == 1:
        return say("all {kind}", kind=named(next(iter(counts))))
    kinds = [say("{n} {kind}", n=n, kind=named(kind)) for kind, n in counts.most_common(4)]
    return join(", ", kinds) or say("none found")


def _kpi(label: str, value: str, detail: str, tone: str = "") -> Json:
    return {"label": label, "value": value, "detail": detail, "tone": tone}


def _trainable(facts: Facts) -> str:
    total, trainable = facts.graph.total_params, facts.graph.trainable_params
    return say("all trainable") if total == trainable else say("{n} trainable", n=si(trainable))


def _verdict(facts: Facts) -> Json:
    flow = facts.flow
    if flow is None:
        return _kpi(say("Gradient flow"), "–", say("not measured"))
    slope = facts.slope
    detail = say("{mode} mode", mode=word(flow.mode))
    if slope:
        detail = say("×{factor} per layer backward", factor=f"{slope.factor:.3f}")
    for finding in facts.report.findings:
        if any(verdict in finding.what.lower() for verdict in _VERDICTS):
            verdict = next(w for w in _VERDICTS if w in finding.what.lower())
            return _kpi(say("Gradient flow"), word(verdict), detail, finding.severity)
    told = [f for f in facts.report.findings if f.severity != "note"]
    if told:
        return _kpi(say("Gradient flow"), told[0].what, detail, told[0].severity)
    if slope is None:
        return _kpi(say("Gradient flow"), say("no finding"), _no_slope(facts))
    return _kpi(say("Gradient flow"), say("within limits"), detail, "good")


def _no_slope(facts: Facts) -> str:
    reached = sum(
        (s := facts.weight_gradient(op)) is not None and s.l2 > 0 for op in facts.weighted
    )
    if reached < len(facts.weighted) / 2:
        return say("{n} of {all} weighted layers got any", n=reached, all=len(facts.weighted))
    return say("too few layers to fit a slope")


def _findings(facts: Facts) -> Json:
    items = [_finding(facts, finding) for finding in facts.report.findings]
    flow = facts.flow
    rules = [_RULE_WORDS[name] for name in RULES] if flow is not None else []
    none = (
        say("No rule fired on this run. That speaks of this batch and this initialisation only.")
        if flow is not None
        else say("No rule fired. Gradients were not measured, so nothing is said about them.")
    )
    return {"items": items, "none": none, "rules": rules}


def _finding(facts: Facts, finding: Finding) -> Json:
    return {
        "severity": finding.severity,
        "what": finding.what,
        "where": [
            {"name": facts.name(w), "op": w if w in facts.graph else ""} for w in finding.where
        ],
        "evidence": finding.evidence,
        "threshold": finding.threshold,
        "source": finding.source,
        "remedy": finding.remedy,
    }


def _provenance(report: Report) -> Json:
    p, how = report.provenance, report.graph.how
    rows = [
        (say("Model"), p.model),
        (say("Weights"), word(p.weights)),
        (say("Input"), p.input),
        (say("Traced"), _traced(how)),
        (say("Proof"), proof_text(report)),
        (say("Measured on"), p.device),
        (say("Seed"), "" if p.seed is None else str(p.seed)),
        (say("Command"), p.command),
        (say("Made with"), p.tool),
        (say("Libraries"), ", ".join(p.libraries)),
        (say("Created"), p.created),
    ]
    return {
        "rows": [(label, text) for label, text in rows if text],
        "warnings": list(report.graph.warnings),
    }


def _traced(how: How) -> Message:
    modes = {
        "meta": say("meta run"),
        "fake": say("fake run"),
        "real": say("real run"),
    }
    run = modes[how.mode]
    return join(": ", (run, how.why)) if how.why else run


def _missing(report: Report) -> dict[str, str]:
    """Why a section is not there, by its name; every absent measurement has a line."""
    reasons: dict[str, str] = {
        "gradient flow": say("Gradient flow was not measured for this report."),
        "attributions": say("No attributions were computed for this report."),
    }
    reasons |= {m.section: m.reason for m in report.missing}
    present = {
        "gradient flow": report.gradient_flow is not None,
        "path gradients": report.path_gradients is not None,
        "signal propagation": report.signal_propagation is not None,
        "attributions": report.attributions is not None,
        "op times": report.op_times is not None,
    }
    gone = {section: reason for section, reason in reasons.items() if not present[section]}
    if not report.structure.skips:
        gone["skips"] = (
            say("No skip paths were found in what ran before forward raised.")
            if report.graph.failure
            else say("No skip paths were found in this network.")
        )
    return gone


def _compact(value: Any) -> Any:
    """The same value with six digits per number; JSON has no NaN and no infinity."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        short = float(f"{value:.6g}")
        return int(short) if short.is_integer() else short
    # Most of a drawing are texts and whole numbers: they are not worth a call each.
    if isinstance(value, dict):
        return {k: v if type(v) in _AS_IS else _compact(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [v if type(v) in _AS_IS else _compact(v) for v in value]
    return value
