"""Labels of the DOT report: Graphviz' HTML-like tables, everything escaped.

Tables and not plain text, because a block's waist is drawn here: one bar per
layer, as wide as the layer has channels.
"""

from __future__ import annotations

import html
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any
from unicodedata import bidirectional

from resnet_viz.core.message import join, say, say_n
from resnet_viz.core.report import Report
from resnet_viz.core.terms import word
from resnet_viz.core.units import count, scientific, si
from resnet_viz.reporting.colouring.palette import GRADIENT_STEPS
from resnet_viz.reporting.colouring.scale_bar import scale_title
from resnet_viz.reporting.colouring.scale_colours import COLOUR_STEPS
from resnet_viz.reporting.drawing.glyphs import Chip
from resnet_viz.reporting.drawing.legend import stream_name
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.folding.boxes import in_copies, times_of, title_of
from resnet_viz.reporting.language import language, spoken, whole_isolates
from resnet_viz.reporting.page.cost_wording import macs_text, total_text

Colours = dict[str, str]

STYLE_OF = {
    "identity": "solid", "projection": "dashed", "scaled": "dotted", "gate": "dashed",
    "concat": "bold",
}  # fmt: skip
"""Line style per kind of skip, so that no kind is told by colour alone."""

_LINES = {
    "solid": say("solid"), "dashed": say("dashed"), "dotted": say("dotted"), "bold": say("bold"),
}  # fmt: skip
_SAMPLE = {"solid": "━━━━", "dashed": "╍╍╍╍", "dotted": "┅┅┅┅", "bold": "▬▬▬▬"}
_NARROWEST, _WIDEST = 62, 176
_LONGEST = 44
_SEVERITY = {"error": "conv", "warning": "block-fg", "note": "mut"}


_SIZES = re.compile(r'\b(POINT-SIZE|WIDTH|HEIGHT)="(\d+)"')


def scaled(label: str, factor: float) -> str:
    """An HTML-like label with its letters and bars this much larger."""
    # Quotes in a text are entities, so that what stands in them here is ours.
    return _SIZES.sub(lambda m: f'{m[1]}="{round(int(m[2]) * factor) or 1}"', label)


def line_of(text: str) -> str:
    """The text in the language of what is drawn, its line begun where that language begins."""
    line = spoken(text)
    # Pango looks into isolates for a line's direction, and would find a number's unit there.
    rtl = language().direction == "rtl" and any(bidirectional(c) in ("R", "AL") for c in line)
    return f"\u200f{line}" if rtl else line


def markup(text: str) -> str:
    """The text for an HTML-like label: one line, every character itself, in its language."""
    line = xml_safe(" ".join(line_of(text).split()) or " ")
    # A bracket at the end of a text keeps Graphviz' parser waiting for ``]]>``: an error.
    return html.escape(line).replace("]", "&#93;")


def shortened(text: str) -> str:
    """The text with its middle left out where it is too long; the ends tell names apart."""
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2 - 1
    return f"{text[:half]}…{text[-half:]}"


def op_label(fact: dict[str, Any], ink: str, formula: str = "") -> str:
    """An op: what it is, where, its shape, its costs and its gradient, what a join computes."""
    lines = [f"<B>{markup(fact['label'])}</B>"]
    if fact["module"]:
        lines.append(_small(shortened(fact["module"])))
    if shape := fact.get("note") or fact.get("shape"):
        lines.append(_small(shape))
    if numbers := numbers_of(fact):
        lines.append(_small(join("", (numbers, in_copies(fact)))))
    lines += [_small(fact["told"])] if "told" in fact else []
    lines += [_small(formula)] if formula else []
    return f'<<FONT COLOR="{ink}">{"<BR/>".join(lines)}</FONT>>'


def numbers_of(fact: dict[str, Any]) -> str:
    """Parameters, MACs and the L2 norm of the gradient, as far as there are any."""
    parts: list[str] = []
    if fact.get("params"):
        parts.append(say("{n} params", n=si(fact["params"])))
    if fact.get("macs") or fact.get("uncounted"):
        parts.append(say("{n} MACs", n=macs_text(fact["macs"], fact.get("uncounted", 0))))
    if "l2" in fact:
        parts.append(f"‖∇‖ {scientific(fact['l2'])}")
    return join(" · ", parts)


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
    rows = [f"<B>{markup(name)}</B>  {markup(join('', (word(title), times_of(group))))}"]
    chips = group.get("chips", [])[:8]
    scale = max([entry, *(chip["c"] for chip in chips)], default=1)
    if chips and entry:
        rows.append(_bar("", entry, scale, colours["edge"], 3))
    for chip in chips:
        face = Chip(chip["k"], chip["c"])
        rows.append(_bar(face.text, chip["c"], scale, colours[face.css], 18, colours["on-op"]))
    if len(group.get("chips", [])) > len(chips):
        rows.append(_small(say("and {n} more", n=len(group["chips"]) - len(chips))))
    facts = {key: group[key] for key in ("params", "macs", "uncounted")}
    if numbers := numbers_of(facts):
        rows.append(_small(join("", (numbers, in_copies(group)))))
    rows.append(_small(join(" · ", filter(None, (last.get("shape"), numbers_of(_gradient(last)))))))
    if "g" in last and "c" not in last:
        rows.append(_bar("", 1, 1, colours[f"grad-{last['g']}"], 5))
    rows += [_small(group["told"])] if "told" in group else []
    return _table((f"<TR><TD>{row}</TD></TR>" for row in rows), ink)


def module_label(group: dict[str, Any], ink: str) -> str:
    """A closed module: name, type, how many ops, costs."""
    size = count(group["high"] - group["low"], "op")
    lines = [
        f"<B>{markup(shortened(title_of(group, group['label'])))}</B>",
        _small(join(" · ", (f"{group['type_name']}{times_of(group)}", size))),
    ]
    if numbers := numbers_of(group):
        lines.append(_small(join("", (numbers, in_copies(group)))))
    lines += [_small(group["told"])] if "told" in group else []
    return f'<<FONT COLOR="{ink}">{"<BR/>".join(lines)}</FONT>>'


def title_label(report: Report, title: str, colours: Colours) -> str:
    """The head of the drawing: name, totals, how it was measured, what was found."""
    graph, structure = report.graph, report.structure
    kinds = {k: len(structure.skips_of(k)) for k in STYLE_OF}  # type: ignore[arg-type]
    skips = join(", ", (join(" ", (n, word(kind))) for kind, n in kinds.items() if n))
    found = count(len(structure.skips), "skip path")
    facts = (
        say("{n} parameters", n=si(graph.total_params)),
        total_text(graph.total_macs, len(graph.uncounted)),
        count(len(graph), "op"),
        say("{skips} ({kinds})", skips=found, kinds=skips) if skips else found,
        count(len(structure.blocks_of("bottleneck")), "bottleneck"),
    )
    lines = [
        f'<B><FONT POINT-SIZE="22">{markup(title)}</FONT></B>',
        markup(join(" · ", facts)),
    ]
    lines += [_small(line) for line in _wrapped(_about(report), 110)]
    for finding in report.findings[:6]:
        text = say(
            "{severity}: {what}. {evidence} ({source})",
            severity=word(finding.severity),
            what=finding.what,
            evidence=finding.evidence,
            source=finding.source,
        )
        colour = colours[_SEVERITY[finding.severity]]
        lines += [f'<FONT COLOR="{colour}">{markup(line)}</FONT>' for line in _wrapped(text, 100)]
    if (more := len(report.findings) - 6) > 0:
        lines.append(_small(say_n("and {n} more finding", "and {n} more findings", more)))
    if not report.findings:
        lines.append(_small(say("no findings")))
    return "<" + '<BR ALIGN="LEFT"/>'.join(lines) + '<BR ALIGN="LEFT"/> >'


def _wrapped(text: str, letters: int) -> list[str]:
    """The text in lines; what is isolated in it is so in each of them."""
    return whole_isolates(textwrap.wrap(spoken(text), letters))


def _about(report: Report) -> str:
    """What was measured, and on what."""
    facts, parts = report.provenance, []
    if facts.weights:
        parts.append(say("weights {weights}", weights=word(facts.weights)))
    if facts.input:
        parts.append(say("input {input}", input=facts.input))
    if flow := report.gradient_flow:
        parts.append(
            say(
                "gradient of {loss} ({value}), {mode} mode, batch {size}",
                loss=flow.loss.name,
                value=scientific(flow.loss.value),
                mode=word(flow.mode),
                size=flow.batch_size,
            )
        )
    return join(" · ", parts)


def legend_label(data: dict[str, Any], kinds: Sequence[str], colours: Colours) -> str:
    """How to read the drawing: gradient scale, kinds of skip, marks of blocks."""
    rows = []
    if (scale := data.get("gradient")) and "colouring" not in data:
        cells = "".join(
            f'<TD BGCOLOR="{colours[f"grad-{i}"]}" WIDTH="22" HEIGHT="12"></TD>'
            for i in range(GRADIENT_STEPS)
        )
        inner = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0"><TR>{cells}</TR></TABLE>'
        rows += [
            ("‖∇‖", inner),
            ("", _small(_ends(say("L2 of the gradient at the output"), scale))),
        ]
    if scale := data.get("colouring"):
        cells = "".join(
            f'<TD BGCOLOR="{colours[f"rel-{i}"]}" WIDTH="22" HEIGHT="12"></TD>'
            for i in range(COLOUR_STEPS)
        )
        inner = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0"><TR>{cells}</TR></TABLE>'
        ends = f"{scale['ticks'][0]} … {scale['ticks'][-1]}"
        rows += [("", inner), ("", _small(f"{spoken(scale_title(scale))}: {ends}"))]
        if scale["none"]:
            grey = f'<FONT COLOR="{colours["rel-none"]}">▉▉</FONT>'
            rows.append((grey, _small(spoken(scale["none"]))))
    for kind in kinds:
        sample = _SAMPLE[STYLE_OF[kind]]
        rows.append(
            (
                f'<FONT COLOR="{colours[f"skip-{kind}"]}">{sample}</FONT>',
                markup(say("{kind} skip ({line})", kind=word(kind), line=_LINES[STYLE_OF[kind]])),
            )
        )
    if "river" in data:
        whole = say("all of {stream}", stream=stream_name(data))
        for name, words in (("trunk", whole), ("branch", say("what a branch carries"))):
            rows.append((f'<FONT COLOR="{colours[name]}">▬▬</FONT>', markup(words)))
    if kinds and data.get("gradient"):
        rows.append(("", _small(say("width: its share of the gradient at its fork"))))
    families: dict[str, dict[str, None]] = {}
    for block in data["blocks"]:
        families.setdefault(block["family"], {})[block["kind"]] = None
    for family, titles in families.items():
        swatch = f'<FONT COLOR="{colours[f"{family}-line"]}">▉▉</FONT>'
        rows.append((swatch, markup(join(", ", (word(title) for title in titles)))))
    if families:
        rows.append(("", _small(say("closed blocks: bars as wide as the layers have channels"))))
    lines = (f'<TR><TD>{a}</TD><TD ALIGN="LEFT">{b}</TD></TR>' for a, b in rows)
    return _table(lines, colours["fg"])


def _ends(of: str, scale: dict[str, Any]) -> str:
    low, high = scientific(scale["low"]), scientific(scale["high"])
    return say("{of}: {low} … {high}, log scale", of=of, low=low, high=high)


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
