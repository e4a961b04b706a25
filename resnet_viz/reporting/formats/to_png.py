"""The diagram as a PNG: the same SVG through resvg, with the bundled fonts."""

from __future__ import annotations

import re
import struct
import zlib

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.fonts import covered, font_files
from resnet_viz.reporting.formats.to_svg import svg_text
from resnet_viz.reporting.raised import lines
from resnet_viz.reporting.remarks import remark

_MOST_PIXELS = 150e6  # 600 MB of RGBA; a larger drawing is scaled down to it
_LEGIBLE = 6.0  # pixels of a letter's height with its ascent and descent
_INCH = 96.0  # CSS pixels
_METRE = 39.37007874  # inches
_SIGNATURE = 8  # bytes before the first chunk


def render_png(report: Report, options: RenderOptions) -> bytes:
    """The report's diagram as PNG with ``options.dpi`` dots per inch, as the file itself says.

    Without ``dpi`` it has ``options.scale`` pixels per unit of 1/96 inch. Drawings of more
    than 150 million pixels are drawn smaller, and a ``RenderWarning`` says so, as one does
    where letters come out too small to be read.

    Raises:
        UserError: If ``options.focus`` is no module that ran.
    """
    svg = svg_text(report, options, embed_fonts=False)
    return rasterize(svg, options, bundled=covered(_letters(report)))


def rasterize(svg: str, options: RenderOptions, *, bundled: bool) -> bytes:
    """An SVG as PNG, its resolution in it (``pHYs``).

    Args:
        svg: With its size in pixels; its fonts need not be in it.
        options: ``dpi``, or else ``scale``.
        bundled: Whether the bundled fonts have every letter of it.
    """
    from resvg_py import svg_to_bytes

    head = svg[: svg.index(">")]
    w, h = (float(_attribute(head, name)) for name in ("width", "height"))
    asked = options.dpi / _INCH if options.dpi else options.scale
    zoom = min(asked, (_MOST_PIXELS / (w * h)) ** 0.5)
    if zoom < 0.99 * asked:
        remark(
            f"the PNG has {zoom * _INCH:.0f} dpi in place of {asked * _INCH:.0f}: at most "
            f"{_MOST_PIXELS / 1e6:.0f} million pixels are drawn; SVG has no such limit"
        )
    small = _smallest_letters(svg, head) * zoom
    if small < _LEGIBLE:
        remark(
            f"the smallest text of the PNG is {small:.1f} px high and hard to read: ask for more "
            "with --dpi, draw less with --focus, or write SVG"
        )
    # dpi must be given: resvg takes 0 for pt sizes otherwise. System fonts cost time
    # and make the picture depend on the machine; only foreign scripts need them.
    png = svg_to_bytes(
        svg_string=svg,
        dpi=_INCH,
        zoom=zoom,
        font_files=font_files(),
        font_family="Inter",
        sans_serif_family="Inter",
        skip_system_fonts=bundled,
    )
    return _with_resolution(bytes(png), zoom * _INCH)


def _attribute(head: str, name: str) -> str:
    return head[head.index(f" {name}=") :].partition('"')[2].partition('"')[0]


def _smallest_letters(svg: str, head: str) -> float:
    """The smallest font size that the drawing uses, in pixels of 1/96 inch."""
    _, _, rest = svg.partition("<style>")
    style, _, body = rest.partition("</style>")
    used = {name for names in re.findall(r' class="([^"]*)"', body) for name in names.split()}
    sizes = [
        float(size)
        for rule, size in re.findall(r"([^{}]*)\{[^{}]*font-size:\s*([\d.]+)px", style)
        if used.issuperset(re.findall(r"\.([\w-]+)", rule.rpartition(" ")[2]))
    ]
    units = float(_attribute(head, "viewBox").split()[2])
    return min(sizes, default=12.0) * float(_attribute(head, "width")) / units


def _with_resolution(png: bytes, dpi: float) -> bytes:
    """The PNG with a ``pHYs`` chunk right behind its header (PNG specification, 11.3.4.3)."""
    behind = _SIGNATURE + 4 + 4 + struct.unpack(">I", png[_SIGNATURE : _SIGNATURE + 4])[0] + 4
    per_metre = round(dpi * _METRE)
    body = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:behind] + chunk + png[behind:]


def _letters(report: Report) -> str:
    paths = {letter for module in report.graph.modules for letter in module.path}
    return "".join((*paths, report.graph.name, *lines(report.graph)))
