"""The diagram as a PNG: the same SVG through resvg, with the bundled fonts."""

from __future__ import annotations

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.fonts import covered, font_files
from resnet_viz.reporting.raised import lines
from resnet_viz.reporting.to_svg import svg_text

_MOST_PIXELS = 150e6  # 600 MB of RGBA; a larger drawing is scaled down to it


def render_png(report: Report, options: RenderOptions) -> bytes:
    """The report's diagram as PNG at ``options.scale`` pixels per unit.

    Drawings of more than 150 million pixels are drawn smaller.

    Raises:
        UserError: If ``options.focus`` is no module that ran.
    """
    svg = svg_text(report, options, embed_fonts=False)
    return rasterize(svg, options.scale, bundled=covered(_letters(report)))


def rasterize(svg: str, scale: float, *, bundled: bool) -> bytes:
    """An SVG as PNG at ``scale`` pixels per unit, or less where it would be enormous.

    Args:
        svg: With its size in pixels; its fonts need not be in it.
        scale: Pixels per unit.
        bundled: Whether the bundled fonts have every letter of it.
    """
    from resvg_py import svg_to_bytes

    w, h = (float(part.partition('"')[2].partition('"')[0]) for part in _size(svg))
    zoom = min(scale, (_MOST_PIXELS / (w * h)) ** 0.5)
    # dpi must be given: resvg takes 0 for pt sizes otherwise. System fonts cost time
    # and make the picture depend on the machine; only foreign scripts need them.
    png = svg_to_bytes(
        svg_string=svg,
        dpi=96,
        zoom=zoom,
        font_files=font_files(),
        font_family="Inter",
        sans_serif_family="Inter",
        skip_system_fonts=bundled,
    )
    return bytes(png)


def _size(svg: str) -> tuple[str, str]:
    head = svg[: svg.index(">")]
    return head[head.index(" width=") :], head[head.index(" height=") :]


def _letters(report: Report) -> str:
    paths = {letter for module in report.graph.modules for letter in module.path}
    return "".join((*paths, report.graph.name, *lines(report.graph)))
