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
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.report import Missing, RenderOptions, Report
from resnet_viz.core.structure import SKIP_KINDS
from resnet_viz.core.units import count, si
from resnet_viz.reporting.attributions.section import attribution_view
from resnet_viz.reporting.charts import flow_chart, share_chart
from resnet_viz.reporting.cost_wording import macs_text
from resnet_viz.reporting.diagram import diagram
from resnet_viz.reporting.explain import meaning
from resnet_viz.reporting.legend import legend
from resnet_viz.reporting.raised import banner
from resnet_viz.reporting.tables import Facts, cost_rows, group_rows, layer_rows, more_columns
from resnet_viz.reporting.wording import proof_text

Json: TypeAlias = dict[str, Any]

_VERDICTS = ("non-finite", "exploding", "vanishing")
_RULE_WORDS = {"depth slope": "depth slope (vanishing or exploding gradient)"}


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
    page: Json = {
        "title": options.title or report.graph.name,
        "theme": options.theme,
        "collapse": options.collapse,
        "diagram_only": options.diagram_only,
        "raised": banner(report.graph),
        "header": _header(facts),
        "diagram": _compact(drawing),
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
        for paths, text, _, width in legend(drawing)
        if not any("swatch" in css for css, _ in paths)
    ]


def _header(facts: Facts) -> Json:
    graph, structure = facts.graph, facts.structure
    kinds = Counter(skip.kind for skip in structure.skips)
    titles = Counter(block.title for block in structure.blocks)
    uncounted = len(graph.uncounted)
    kpis = [
        _kpi("Parameters", si(graph.total_params), _trainable(facts)),
        _kpi(
            "MACs",
            macs_text(graph.total_macs, uncounted),
            _macs_detail(graph, uncounted),
        ),
        _kpi("Weighted layers", f"{len(facts.weighted):,}", count(len(graph.ops), "operation")),
        _kpi(
            "Blocks",
            f"{len(structure.blocks):,}",
            _kinds(titles),
        ),
        _kpi(
            "Skip paths",
            f"{len(structure.skips):,}",
            _kinds(Counter({k: kinds[k] for k in SKIP_KINDS if kinds[k]})),
        ),
        _verdict(facts),
    ]
    return {"name": graph.name, "kpis": kpis, "model": facts.report.provenance.model}


def _macs_detail(graph: ModelGraph, uncounted: int) -> str:
    if graph.failure is not None:
        return "until forward raised"
    if uncounted:
        return f"{count(uncounted, 'op')} without a formula"
    return f"{si(graph.total_flops)} FLOPs: 2 per MAC"


def _kinds(counts: Counter[Any]) -> str:
    if len(counts) == 1:
        return f"all {next(iter(counts))}"
    return ", ".join(f"{n} {kind}" for kind, n in counts.most_common(4)) or "none found"


def _kpi(label: str, value: str, detail: str, tone: str = "") -> Json:
    return {"label": label, "value": value, "detail": detail, "tone": tone}


def _trainable(facts: Facts) -> str:
    total, trainable = facts.graph.total_params, facts.graph.trainable_params
    return "all trainable" if total == trainable else f"{si(trainable)} trainable"


def _verdict(facts: Facts) -> Json:
    flow = facts.flow
    if flow is None:
        return _kpi("Gradient flow", "–", "not measured")
    slope = facts.slope
    detail = f"×{slope.factor:.3f} per layer backward" if slope else f"{flow.mode} mode"
    for finding in facts.report.findings:
        if any(word in finding.what.lower() for word in _VERDICTS):
            word = next(w for w in _VERDICTS if w in finding.what.lower())
            return _kpi("Gradient flow", word, detail, finding.severity)
    told = [f for f in facts.report.findings if f.severity != "note"]
    if told:
        return _kpi("Gradient flow", told[0].what, detail, told[0].severity)
    if slope is None:
        return _kpi("Gradient flow", "no finding", _no_slope(facts))
    return _kpi("Gradient flow", "within limits", detail, "good")


def _no_slope(facts: Facts) -> str:
    reached = sum(
        (s := facts.weight_gradient(op)) is not None and s.l2 > 0 for op in facts.weighted
    )
    if reached < len(facts.weighted) / 2:
        return f"{reached} of {len(facts.weighted)} weighted layers got any"
    return "too few layers to fit a slope"


def _findings(facts: Facts) -> Json:
    items = [_finding(facts, finding) for finding in facts.report.findings]
    flow = facts.flow
    rules = [_RULE_WORDS.get(name, name) for name in RULES] if flow is not None else []
    none = (
        "No rule fired on this run. That speaks of this batch and this initialisation only."
        if flow is not None
        else "No rule fired. Gradients were not measured, so nothing is said about them."
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
        ("Model", p.model),
        ("Weights", p.weights),
        ("Input", p.input),
        ("Traced", f"{how.mode} run" + (f": {how.why}" if how.why else "")),
        ("Proof", proof_text(report)),
        ("Measured on", p.device),
        ("Seed", "" if p.seed is None else str(p.seed)),
        ("Command", p.command),
        ("Made with", p.tool),
        ("Libraries", ", ".join(p.libraries)),
        ("Created", p.created),
    ]
    return {
        "rows": [(label, text) for label, text in rows if text],
        "warnings": list(report.graph.warnings),
    }


def _missing(report: Report) -> dict[str, str]:
    """Why a section is not there, by its name; every absent measurement has a line."""
    default = (
        Missing(section="gradient flow", reason="Gradient flow was not measured for this report."),
        Missing(section="attributions", reason="No attributions were computed for this report."),
    )
    reasons: dict[str, str] = {m.section: m.reason for m in (*default, *report.missing)}
    present = {
        "gradient flow": report.gradient_flow is not None,
        "path gradients": report.path_gradients is not None,
        "signal propagation": report.signal_propagation is not None,
        "attributions": report.attributions is not None,
    }
    gone = {section: reason for section, reason in reasons.items() if not present[section]}
    if not report.structure.skips:
        where = "what ran before forward raised" if report.graph.failure else "this network"
        gone["skips"] = f"No skip paths were found in {where}."
    return gone


def _compact(value: Any) -> Any:
    """The same value with six digits per number; JSON has no NaN and no infinity."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        short = float(f"{value:.6g}")
        return int(short) if short.is_integer() else short
    if isinstance(value, dict):
        return {key: _compact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_compact(item) for item in value]
    return value
