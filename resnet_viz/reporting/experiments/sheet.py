"""Figures on a sheet of paper: what SVG and PNG show of an experiment.

Title, what came out, the figures with their captions, and where it all comes from; a
picture is passed on without its page, so it says for itself what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from resnet_viz.core.display import Savable
from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.experiments.colours import static_css
from resnet_viz.reporting.experiments.figure import Figure
from resnet_viz.reporting.experiments.page import ExperimentView, view_of
from resnet_viz.reporting.experiments.plot import Drawing, describe, draw
from resnet_viz.reporting.fonts import covered, font_face_css, wrap
from resnet_viz.reporting.formats.framing import framed
from resnet_viz.reporting.formats.to_png import rasterize
from resnet_viz.reporting.language import spoken
from resnet_viz.reporting.side_by_side.picture import Picture

WIDTH, MARGIN = 1120.0, 36.0


def render_svg(value: Savable, options: RenderOptions) -> bytes:
    """The main figures as UTF-8 SVG with its fonts embedded.

    ``options``: ``theme`` (``auto`` is light), ``title``, and ``focus``: the key of one
    figure, or ``all``.

    Raises:
        UserError: If there is no figure of that key.
    """
    return sheet(view_of(value, options), options, embed_fonts=True).encode()


def render_png(value: Savable, options: RenderOptions) -> bytes:
    """The same picture as PNG with ``options.dpi`` dots per inch."""
    svg = sheet(view_of(value, options), options, embed_fonts=False)
    body = svg.partition("</style>")[2]
    return rasterize(svg, options, bundled=covered(body))


def sheet(view: ExperimentView, options: RenderOptions, *, embed_fonts: bool) -> str:
    """The whole drawing; without fonts for a renderer that is given the font files."""
    figures = view.pictured(options.focus)
    room = WIDTH - 2 * MARGIN
    out = Drawing(WIDTH)
    y = MARGIN + 12
    for line in wrap(view.title, 19, room, bold=True)[:2]:
        out.write("heading", MARGIN, y, line, size=19, bold=True)
        y += 25
    y = _paragraph(out, "said", f"{view.verdict}.", y - 3, 13, room)
    pairs = view.pairs
    if pairs and options.focus not in ("", "all", pairs.key):
        pairs = None
    if pairs:
        y = _pairs(out, pairs, y + 14, room)
    for figure in figures:
        y = _figure(out, figure, y + 22, room)
    y = _paragraph(out, "caption", _foot(view), y + 14, 12, room)
    height = y + MARGIN - 20
    css = "\n".join([static_css(options), *([pairs.static_css(options)] if pairs else [])])
    css = f"{font_face_css()}\n{css}" if embed_fonts else css
    words = [spoken(pairs.words)] if pairs else []
    described = " ".join([*words, *(describe(figure) for figure in figures)])
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="rv-figure" width="{WIDTH:g}" '
        f'height="{height:g}" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        'aria-labelledby="rv-title rv-desc">',
        f'<title id="rv-title">{escape(view.line)}</title>',
        f'<desc id="rv-desc">{escape(described)}</desc>',
        f"<style>{escape(css)}</style>",
        f'<rect class="paper" width="{WIDTH:g}" height="{height:g}"/>',
    ]
    return framed(xml_safe("\n".join([*head, *out.lines, "</svg>"])) + "\n", options)


def _pairs(out: Drawing, pairs: Picture, y: float, room: float) -> float:
    drawn = pairs.draw(room)
    out.lines.append(f'<g class="rv-diagram rv-pairs" transform="translate({MARGIN:g} {y:g})">')
    out.lines += drawn.lines
    out.lines.append("</g>")
    return _paragraph(out, "caption", pairs.caption, y + drawn.height + 20, 12, room)


def _figure(out: Drawing, figure: Figure, y: float, room: float) -> float:
    out.write("figure-title", MARGIN, y, figure.title, size=15, bold=True)
    drawn = draw(figure, room)
    out.lines.append(f'<g transform="translate({MARGIN:g} {y + 16:g})">')
    out.lines += drawn.lines
    out.lines.append("</g>")
    return _paragraph(out, "caption", figure.caption, y + 16 + drawn.height + 22, 12, room)


def _paragraph(out: Drawing, css: str, text: str, y: float, size: float, room: float) -> float:
    lines: Sequence[str] = wrap(text, size, min(room, 62 * size))
    for i, line in enumerate(lines):
        out.write(css, MARGIN, y + i * size * 1.42, line, size=size)
    return y + len(lines) * size * 1.42


def _foot(view: ExperimentView) -> str:
    rows = dict(view.provenance)
    data = "Data" if "Data" in rows else "Input"
    return " · ".join(rows[k] for k in (data, "Command", "Made with", "Created") if k in rows)
