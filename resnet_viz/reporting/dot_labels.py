"""Labels of the DOT report: Graphviz' HTML-like tables, everything escaped.

Tables and not plain text, because a block's waist is drawn here: one bar per
layer, as wide as the layer has channels.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from resnet_viz.core.report import Report
from resnet_viz.core.units import count, scientific, si
from resnet_viz.reporting.cost_wording import macs_text, total_text
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.folded_boxes import in_copies, times_of, title_of
from resnet_viz.reporting.glyphs import Chip
from resnet_viz.reporting.legend import stream_name
from resnet_viz.reporting.palette import COLOUR_STEPS, GRADIENT_STEPS

Colours = dict[str, str]

STYLE_OF = {
    "identity": "solid", "projection": "dashed", "scaled": "dotted", "gate": "dashed",
    "concat": "bold",
}  # fmt: skip
"""Line style per kind of skip, so that no kind is told by colour alone."""

_SAMPLE = {"solid": "━━━━", "dashed": "╍╍╍╍", "dotted": "┅┅┅┅", "bold": "▬▬▬▬"}
_NARROWEST, _WIDEST = 62, 176
_LONGEST = 44
_SEVERITY = {"error": "conv", "warning": "block-fg", "note": "mut"}


def markup(text: str) -> str:
    """The text for an HTML-like label: one line, every character itself."""
    # A bracket at the end of a text keeps Graphviz' parser waiting for ``]]>``: an error.
    return html.escape(xml_safe(" ".join(text.split()) or " ")).replace("]", "&#93;")


def shortened(text: str) -> str:
    """The text with its middle left out where it is too long; the ends tell names apart."""
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2 - 1
    return f"{text[:half]}…{text[-half:]}"


def op_label(fact: dict[str, Any], ink: str) -> str:
    """An op: what it is, where, its shape, its costs and its gradient."""
    lines = [f"<B>{markup(fact['label'])}</B>"]
    if fact["module"]:
        lines.append(_small(shortened(fact["module"])))
    if shape := fact.get("note") or fact.get("shape"):
        lines.append(_small(shape))
    if numbers := numbers_of(fact):
        lines.append(_small(numbers + in_copies(fact)))
    lines += [_small(fact["told"])] if "told" in fact else []
    return f'<<FONT COLOR="{ink}">{"<BR/>".join(lines)}</FONT>>'


def numbers_of(fact: dict[str, Any]) -> str:
    """Parameters, MACs and the L2 norm of the gradient, as far as there are any."""
    parts = []
    if fact.get("params"):
        parts.append(f"{si(fact['params'])} params")
    if fact.get("macs") or fact.get("uncounted"):
        parts.append(f"{macs_text(fact['macs'], fact.get('uncounted', 0))} MACs")
    if "l2" in fact:
        parts.append(f"‖∇‖ {scientific(fact['l2'])}")
    return " · ".join(parts)


def block_label(
    group: dict[str, Any], title: str, entry: int, last: dict[str, Any], colours: Colours, ink: str
) -> str:
    """A closed block: name, a bar per layer as wide as its channels, costs, gradient.

    Args:
        group: The diagram's facts about the block's group.
        title: The kind in words.
        entry: Channels that come in; drawn as a thin bar.
        last: Facts about the join, whose shape and gradient are the block's.
        colours: The palette.
        ink: Colour of the text.
    """
    name = shortened(title_of(group, group["module"] or group["label"]))
    rows = [f"<B>{markup(name)}</B>  {markup(title + times_of(group))}"]
    chips = group.get("chips", [])[:8]
    scale = max([entry, *(chip["c"] for chip in chips)], default=1)
    if chips and entry:
        rows.append(_bar("", entry, scale, colours["edge"], 3))
    for chip in chips:
        face = Chip(chip["k"], chip["c"])
        rows.append(_bar(face.text, chip["c"], scale, colours[face.css], 18, colours["on-op"]))
    if len(group.get("chips", [])) > len(chips):
        rows.append(_small(f"and {len(group['chips']) - len(chips)} more"))
    facts = {key: group[key] for key in ("params", "macs", "uncounted")}
    if numbers := numbers_of(facts):
        rows.append(_small(numbers + in_copies(group)))
    rows.append(_small(" · ".join(filter(None, (last.get("shape"), numbers_of(_gradient(last)))))))
    if "g" in last:
        rows.append(_bar("", 1, 1, colours[f"grad-{last['g']}"], 5))
    rows += [_small(last["told"])] if "told" in last else []
    return _table((f"<TR><TD>{row}</TD></TR>" for row in rows), ink)


def module_label(group: dict[str, Any], ink: str) -> str:
    """A closed module: name, type, how many ops, costs."""
    size = count(group["high"] - group["low"], "op")
    lines = [
        f"<B>{markup(shortened(title_of(group, group['label'])))}</B>",
        _small(f"{group['type_name']}{times_of(group)} · {size}"),
    ]
    if numbers := numbers_of(group):
        lines.append(_small(numbers + in_copies(group)))
    lines += [_small(group["told"])] if "told" in group else []
    return f'<<FONT COLOR="{ink}">{"<BR/>".join(lines)}</FONT>>'


def title_label(report: Report, title: str, colours: Colours) -> str:
    """The head of the drawing: name, totals, how it was measured, what was found."""
    graph, structure = report.graph, report.structure
    kinds = {k: len(structure.skips_of(k)) for k in STYLE_OF}  # type: ignore[arg-type]
    skips = ", ".join(f"{n} {kind}" for kind, n in kinds.items() if n)
    lines = [
        f'<B><FONT POINT-SIZE="22">{markup(title)}</FONT></B>',
        markup(
            f"{si(graph.total_params)} parameters · "
            f"{total_text(graph.total_macs, len(graph.uncounted))} · "
            f"{count(len(graph), 'op')} · {count(len(structure.skips), 'skip path')}"
            f"{f' ({skips})' if skips else ''} · "
            f"{count(len(structure.blocks_of('bottleneck')), 'bottleneck')}"
        ),
    ]
    facts = report.provenance
    about = [
        f"{name} {value}"
        for name, value in (("weights", facts.weights), ("input", facts.input))
        if value
    ]
    if flow := report.gradient_flow:
        about.append(
            f"gradient of {flow.loss.name} ({scientific(flow.loss.value)}), {flow.mode} mode, "
            f"batch {flow.batch_size}"
        )
    lines += [_small(line) for line in textwrap.wrap(" · ".join(about), 110)]
    for finding in report.findings[:6]:
        text = f"{finding.severity}: {finding.what}. {finding.evidence} ({finding.source})"
        colour = colours[_SEVERITY[finding.severity]]
        lines += [
            f'<FONT COLOR="{colour}">{markup(line)}</FONT>' for line in textwrap.wrap(text, 100)
        ]
    if len(report.findings) > 6:
        lines.append(_small(f"and {count(len(report.findings) - 6, 'more finding')}"))
    if not report.findings:
        lines.append(_small("no findings"))
    return "<" + '<BR ALIGN="LEFT"/>'.join(lines) + '<BR ALIGN="LEFT"/> >'


def legend_label(data: dict[str, Any], kinds: Sequence[str], colours: Colours) -> str:
    """How to read the drawing: gradient scale, kinds of skip, marks of blocks."""
    rows = []
    if scale := data.get("gradient"):
        cells = "".join(
            f'<TD BGCOLOR="{colours[f"grad-{i}"]}" WIDTH="22" HEIGHT="12"></TD>'
            for i in range(GRADIENT_STEPS)
        )
        inner = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0"><TR>{cells}</TR></TABLE>'
        ends = f"{scientific(scale['low'])} … {scientific(scale['high'])}, log scale"
        rows += [("‖∇‖", inner), ("", _small(f"L2 of the gradient at the output: {ends}"))]
    if scale := data.get("colouring"):
        cells = "".join(
            f'<TD BGCOLOR="{colours[f"rel-{i}"]}" WIDTH="22" HEIGHT="12"></TD>'
            for i in range(COLOUR_STEPS)
        )
        inner = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0"><TR>{cells}</TR></TABLE>'
        ends = f"{scientific(scale['low'])} … {scientific(scale['high'])}, log scale"
        rows += [("", inner), ("", _small(f"{scale['of']}: {ends}"))]
    for kind in kinds:
        sample = _SAMPLE[STYLE_OF[kind]]
        rows.append(
            (
                f'<FONT COLOR="{colours[f"skip-{kind}"]}">{sample}</FONT>',
                markup(f"{kind} skip ({STYLE_OF[kind]})"),
            )
        )
    if "river" in data:
        whole = f"all of {stream_name(data)}"
        for name, words in (("trunk", whole), ("branch", "what a branch carries")):
            rows.append((f'<FONT COLOR="{colours[name]}">▬▬</FONT>', markup(words)))
    if kinds and data.get("gradient"):
        rows.append(("", _small("width: share of the fork's gradient that came back over it")))
    families: dict[str, dict[str, None]] = {}
    for block in data["blocks"]:
        families.setdefault(block["family"], {})[block["kind"]] = None
    for family, titles in families.items():
        swatch = f'<FONT COLOR="{colours[f"{family}-line"]}">▉▉</FONT>'
        rows.append((swatch, markup(", ".join(titles))))
    if families:
        rows.append(("", _small("closed blocks: bars as wide as the layers have channels")))
    lines = (f'<TR><TD>{a}</TD><TD ALIGN="LEFT">{b}</TD></TR>' for a, b in rows)
    return _table(lines, colours["fg"])


def _gradient(fact: dict[str, Any]) -> dict[str, Any]:
    return {"l2": fact["l2"]} if "l2" in fact else {}


def _small(text: str) -> str:
    return f'<FONT POINT-SIZE="9">{markup(text)}</FONT>'


def _bar(text: str, value: int, scale: int, fill: str, height: int, ink: str = "") -> str:
    # The square root keeps 64 of 2048 visible, as in the other pictures.
    part = math.sqrt(value / scale) if scale else 1.0
    width = round(_NARROWEST + (_WIDEST - _NARROWEST) * part)
    words = f'<FONT POINT-SIZE="10" COLOR="{ink}">{markup(text)}</FONT>' if text else ""
    return (
        '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0"><TR>'
        f'<TD BGCOLOR="{fill}" WIDTH="{width}" HEIGHT="{height}" FIXEDSIZE="TRUE">{words}</TD>'
        "</TR></TABLE>"
    )


def _table(rows: Iterable[str], ink: str) -> str:
    body = "".join(rows) or "<TR><TD></TD></TR>"
    return (
        f'<<FONT COLOR="{ink}"><TABLE BORDER="0" CELLBORDER="0" CELLSPACING="1" '
        f'CELLPADDING="1">{body}</TABLE></FONT>>'
    )
