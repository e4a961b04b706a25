"""The contact sheet as a picture of its own: inputs × methods × targets, SVG and PNG.

Everything a page shows on demand is laid out at once: the overlay large, the maps and the
masked photograph small below it, with scale, verdict and figures. Pictures are JPEG or PNG,
which every SVG viewer reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

from resnet_viz.core.attribution import Attribution, Attributions
from resnet_viz.core.errors import UserError
from resnet_viz.core.pictures import Picture
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.units import scientific
from resnet_viz.reporting.attributions.colours import SIGNED, UNSIGNED, scale_of, text_of
from resnet_viz.reporting.attributions.pictures import (
    COARSE,
    SIDE,
    View,
    composed,
    embedded,
    enlarged,
)
from resnet_viz.reporting.attributions.words import (
    bar_css,
    column_of,
    facts_of,
    figures_of,
    input_name,
    meanings_of,
    resolution_of,
    score_of,
    verdict_of,
)
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.experiments.colours import static_css
from resnet_viz.reporting.experiments.marks import n
from resnet_viz.reporting.experiments.plot import Drawing
from resnet_viz.reporting.fonts import covered, fit, font_face_css, text_width, wrap
from resnet_viz.reporting.formats.framing import framed
from resnet_viz.reporting.formats.to_png import rasterize

MARGIN = 28.0
_CELL, _GAP, _FIRST = 220.0, 24.0, 170.0
_DENSITY = 1.5  # pixels per unit: sharp on a good screen
_TOKENS = 16  # rows of bars in a cell; the strongest
_RULES = """
.rv-figure .forced { fill: #c4243b; }
.rv-figure .on-forced { fill: #fff; font-weight: 600; }
.rv-figure .forced-frame { fill: none; stroke: #c4243b; stroke-width: 3; stroke-dasharray: 7 4; }
.rv-figure .pos { fill: #c9433f; }
.rv-figure .neg { fill: #2f74b5; }
.rv-figure .much { fill: #8a4fb0; }
"""
_NAMES: dict[View, str] = {
    "overlay": "overlay", "heat": "heat map", "signed": "signed map", "masked": "masked",
}  # fmt: skip


def render_svg(value: Report | Attributions, options: RenderOptions) -> bytes:
    """The sheet as UTF-8 SVG with its fonts and pictures inside.

    Args:
        value: Attributions, or a report that has some; its name is the title.
        options: ``theme`` (``auto`` is light) and ``title``.

    Raises:
        UserError: If the report has no attributions.
    """
    return _document(value, options, embed_fonts=True).encode()


def render_png(value: Report | Attributions, options: RenderOptions) -> bytes:
    """The same picture as PNG with ``options.dpi`` dots per inch; without it 144 at most.

    Its pictures hold no more than that: a larger PNG would be blurred and no sharper.
    """
    svg = _document(value, options, embed_fonts=False)
    enough = replace(options, scale=min(options.scale, _DENSITY))
    return rasterize(svg, enough, bundled=covered(_letters(svg)))


def attributions_of(value: Report | Attributions) -> Attributions:
    """The attributions themselves.

    Raises:
        UserError: If the report has none; says why.
    """
    if isinstance(value, Attributions):
        return value
    if value.attributions is None:
        why = next((m.reason for m in value.missing if m.section == "attributions"), "")
        raise UserError(f"there are no attributions to write{f': {why}' if why else ''}")
    return value.attributions


@dataclass(frozen=True, slots=True)
class _Cell:
    """Where a cell begins, how wide it is, and how far below its head its map begins."""

    x: float
    y: float
    wide: float
    more: float


def _document(value: Report | Attributions, options: RenderOptions, *, embed_fonts: bool) -> str:
    found = attributions_of(value)
    name = options.title or (value.graph.name if isinstance(value, Report) else "")
    title = f"{name}: attributions" if name else "Attributions"
    columns = list(dict.fromkeys(column_of(m) for m in found.maps))
    room = _FIRST + len(columns) * (_CELL + _GAP)
    width = max(room + 2 * MARGIN - _GAP + 24, 560.0)
    out = Drawing(width)
    y = MARGIN + 12
    for line in wrap(title, 19, width - 2 * MARGIN, bold=True)[:2]:
        out.write("heading", MARGIN, y, line, size=19, bold=True)
        y += 25
    for text in filter(None, (found.note, _reading(found), _settings(found))):
        y = _paragraph(out, "caption", text, MARGIN, y, 12, min(width - 2 * MARGIN, 760))
    for method, says in ((method, says) for method, says, _ in meanings_of(found) if says):
        # A name such as DeepLIFT keeps its capital.
        plain = says.split(maxsplit=1)[0][1:].islower() or says[1:2].isspace()
        said = says[:1].lower() + says[1:] if plain else says
        text = f"{method[:1].upper()}{method[1:]}: {said}"
        y = _paragraph(out, "caption", text, MARGIN, y, 12, min(width - 2 * MARGIN, 760))
    for index in sorted({m.input for m in found.maps}):
        out.lines.append(f'<path class="grid" d="M{n(MARGIN)},{n(y + 4)}H{n(width - MARGIN)}"/>')
        y = _row(out, found, index, columns, y + 24) + 18
    height = y + 6
    css = static_css(options) + _RULES
    css = f"{font_face_css()}\n{css}" if embed_fonts else css
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="rv-figure" width="{width:g}" '
        f'height="{height:.0f}" viewBox="0 0 {width:g} {height:.0f}" role="img" '
        'aria-labelledby="rv-title rv-desc">',
        f'<title id="rv-title">{escape(title)}</title>',
        f'<desc id="rv-desc">{escape(" ".join(_described(found, m) for m in found.maps))}</desc>',
        f"<style>{escape(css)}</style>",
        f'<rect class="paper" width="{width:g}" height="{height:.0f}"/>',
    ]
    return framed(xml_safe("\n".join([*head, *out.lines, "</svg>"])) + "\n", options)


def _row(
    out: Drawing,
    found: Attributions,
    index: int,
    columns: list[tuple[str, str, int]],
    y: float,
) -> float:
    """One input: its photograph and targets, then its maps; returns where it ends."""
    maps = {column_of(m): m for m in found.maps if m.input == index}
    picture = found.pictures[index] if index < len(found.pictures) else None
    room = _FIRST - _GAP
    end = y
    if picture is not None:
        size = _sized(picture.width, picture.height, room)
        squares = max(picture.width, picture.height) < COARSE
        pixels = (picture.width, picture.height) if squares else _pixels(*size)
        photo = embedded(enlarged(picture, pixels), exact=squares)
        _image(out, photo, MARGIN, end - 10, *size, squares=squares)
        end += size[1] + 8
    end = _paragraph(out, "panel-title", input_name(found, index), MARGIN, end, 13, room, bold=True)
    for rank in sorted({m.rank for m in maps.values()}):
        item = next(m for m in maps.values() if m.rank == rank)
        end = _paragraph(out, "key", item.target, MARGIN, end + 4, 12, room)
        for text in score_of(item).split(", "):
            end = _paragraph(out, "caption", text, MARGIN, end, 12, room)
    several = len({m.target for m in maps.values()}) > 1
    # A name that takes two lines pushes down all of the row: pictures stay side by side.
    most = max(len(wrap(_where(m, several), 12, _CELL)) for m in maps.values())
    more = max(0, most - 1) * 12 * 1.4
    for k, key in enumerate(columns):
        cell = _Cell(MARGIN + _FIRST + k * (_CELL + _GAP), y, _CELL, more)
        if key in maps:
            end = max(end, _map(out, maps[key], picture, cell, several=several))
    return end


def _where(item: Attribution, several: bool) -> str:
    where = f"at {item.layer}" if item.layer else ""
    where += f" ({places})" if (places := resolution_of(item)) else ""
    where += f" for {item.target}" if several else ""
    return _breakable(where, 12, _CELL)


def _map(
    out: Drawing, item: Attribution, picture: Picture | None, cell: _Cell, *, several: bool
) -> float:
    x, y, wide = cell.x, cell.y, cell.wide
    tag = text_width("FORCED", 11, bold=True) + 12 if item.forced else 0.0
    head = fit(item.method[:1].upper() + item.method[1:], 13, wide - tag - 6, bold=True)
    out.write("panel-title", x, y, head, size=13, bold=True)
    if item.forced:
        at = x + wide - tag
        out.lines.append(
            f'<rect class="forced" x="{n(at)}" y="{n(y - 12)}" width="{n(tag)}" height="16" '
            'rx="8"/>'
        )
        out.write("on-forced", at + 6, y, "FORCED", size=11, bold=True)
    _paragraph(out, "caption", _where(item, several), x, y + 17, 12, wide)
    y += 28 + cell.more
    if item.heatmap is not None:
        y = _views(out, item, picture, x, y, wide)
    if item.bars:
        y = _bars(out, item, x, y, wide)
    if item.forced:
        y = _paragraph(out, "key", f"Do not believe this: {item.forced}", x, y + 14, 12, wide)
        y -= 14
    y += 14
    for text, css in zip(verdict_of(item), ("key", "caption"), strict=True):
        y = _paragraph(out, css, text, x, y, 12, wide)
    for label, text in figures_of(item):
        y = _paragraph(out, "caption", f"{label}: {text}", x, y, 12, wide)
    return y


def _views(
    out: Drawing, item: Attribution, picture: Picture | None, x: float, y: float, wide: float
) -> float:
    """The overlay with its scale, and the other views small below it."""
    heat = item.heatmap
    assert heat is not None
    size = _sized(
        *((picture.width, picture.height) if picture else (heat.width, heat.height)), wide
    )

    places = (heat.width, heat.height)
    # Squares are drawn by who shows the picture: as sharp as can be, and next to no bytes.
    squares = (
        not item.layer
        and max(places) < COARSE
        and (picture is None or (picture.width, picture.height) == places)
    )

    def draw(view: View, x: float, y: float, w: float, h: float) -> None:
        size = places if squares else _pixels(w, h)
        image = composed(heat, item.signed, view, size, picture, layer=bool(item.layer))
        _image(out, embedded(image, exact=squares), x, y, w, h, squares=squares)

    draw("overlay", x, y, *size)
    if item.forced:
        out.lines.append(
            f'<rect class="forced-frame" x="{n(x + 1.5)}" y="{n(y + 1.5)}" '
            f'width="{n(size[0] - 3)}" height="{n(size[1] - 3)}"/>'
        )
    y = _scale(out, item, x, y + size[1] + 7, wide)
    if picture is None:
        return y
    others: tuple[View, ...] = ("signed", "heat", "masked") if item.signed else ("heat", "masked")
    small = (wide - 2 * 6) / 3
    ratio = small / size[0]
    for k, view in enumerate(others):
        at = x + k * (small + 6)
        draw(view, at, y, small, size[1] * ratio)
        out.write("tick", at, y + size[1] * ratio + 13, _NAMES[view])
    return y + size[1] * ratio + 18


def _scale(out: Drawing, item: Attribution, x: float, y: float, wide: float) -> float:
    """The colours with numbers at their ends, and at zero."""
    assert item.heatmap is not None
    scale = scale_of(item.heatmap, item.signed)
    table = SIGNED if item.signed else UNSIGNED
    name = "rv-signed" if item.signed else "rv-unsigned"
    if not any(f'id="{name}"' in line for line in out.lines):
        stops = "".join(
            f'<stop offset="{i / (len(table) - 1):.4g}" stop-color="{text_of(colour)}"/>'
            for i, colour in enumerate(table)
        )
        out.lines.append(f'<linearGradient id="{name}">{stops}</linearGradient>')
    out.lines.append(
        f'<rect x="{n(x)}" y="{n(y)}" width="{n(wide)}" height="7" rx="3.5" fill="url(#{name})"/>'
    )
    out.write("tick", x, y + 19, scientific(scale.low))
    if item.signed:
        out.write("tick", x + wide / 2, y + 19, "0", anchor="middle")
    out.write("tick", x + wide, y + 19, scientific(scale.high), anchor="end")
    return y + 27


def _bars(out: Drawing, item: Attribution, x: float, y: float, wide: float) -> float:
    """The strongest bars, in their order, around one zero."""
    strongest = sorted(item.bars, key=lambda bar: -abs(bar.value))[:_TOKENS]
    shown = [bar for bar in item.bars if bar in strongest][:_TOKENS]
    top = max((abs(bar.value) for bar in shown), default=0.0) or 1.0
    names, room = wide * 0.4, wide * 0.34
    signed = any(bar.value < 0 for bar in shown)
    zero = x + names + 6 + (room / 2 if signed else 0.0)
    for bar in shown:
        length = abs(bar.value) / top * (room / 2 if signed else room)
        css = bar_css(bar, item)
        at = zero - length if bar.value < 0 else zero
        out.write("tick", x, y + 10, fit(bar.label, 11.5, names))
        out.lines.append(
            f'<rect class="{css}" x="{n(at)}" y="{n(y + 2)}" width="{n(max(length, 0.5))}" '
            'height="9"/>'
        )
        out.write("tick", x + wide, y + 10, scientific(bar.value), anchor="end")
        y += 16
    if len(item.bars) > len(shown):
        out.write("tick", x, y + 10, f"and {len(item.bars) - len(shown):,} weaker")
        y += 16
    return y + 4


def _paragraph(
    out: Drawing,
    css: str,
    text: str,
    x: float,
    y: float,
    size: float,
    room: float,
    *,
    bold: bool = False,
) -> float:
    """Lines from a first baseline at ``y``; returns where the next begins."""
    lines = wrap(_breakable(text, size, room), size, room, bold=bold)
    for i, line in enumerate(lines):
        out.write(css, x, y + i * size * 1.4, line, size=size, bold=bold)
    return y + len(lines) * size * 1.4


def _breakable(text: str, size: float, room: float) -> str:
    """The text with spaces in words that are wider than the room: a cut name is no name."""
    words = []
    for word in text.split():
        while text_width(word, size, bold=True) > room:
            kept = max(1, int(len(word) * room / text_width(word, size, bold=True)) - 1)
            # A name is better broken where it has a joint.
            kept = max((i + 1 for i in range(kept // 2, kept) if word[i] in "-_./"), default=kept)
            words.append(word[:kept])
            word = word[kept:]
        words.append(word)
    return " ".join(words)


def _image(
    out: Drawing, uri: str, x: float, y: float, w: float, h: float, *, squares: bool
) -> None:
    crisp = ' style="image-rendering:pixelated"' if squares else ""
    out.lines.append(
        f'<image x="{n(x)}" y="{n(y)}" width="{n(w)}" height="{n(h)}" '
        f'preserveAspectRatio="none"{crisp} href="{uri}"/>'
    )


def _sized(width: int, height: int, room: float) -> tuple[float, float]:
    """As wide as the room, but never taller than one and a half times that."""
    zoom = min(room / width, 1.5 * room / height)
    return width * zoom, height * zoom


def _pixels(w: float, h: float) -> tuple[int, int]:
    """Of a picture this large on paper: sharp on a good screen, and no more than ``SIDE``."""
    zoom = min(_DENSITY, SIDE / max(w, h))
    return max(1, round(w * zoom)), max(1, round(h * zoom))


def _reading(found: Attributions) -> str:
    """What the colours mean; nothing where there is no colour."""
    kinds = {(m.signed, m.heatmap is not None) for m in found.maps if m.heatmap or m.bars}
    said = [
        ("Red speaks for the target, blue against it.", {(True, True), (True, False)}),
        ("One-sided maps go from dark (nothing) to light (much).", {(False, True)}),
        ("Purple has no sign: it says how much, not for or against.", {(False, False)}),
    ]
    return " ".join(text for text, of in said if kinds & of)


def _settings(found: Attributions) -> str:
    return ", ".join(f"{label} {text}" for label, text in facts_of(found))


def _described(found: Attributions, item: Attribution) -> str:
    where = f" at {item.layer}" if item.layer else ""
    forced = f" Forced: {item.forced}" if item.forced else ""
    return (
        f"{item.method}{where} of {input_name(found, item.input)} for {item.target}: "
        f"{' '.join(filter(None, verdict_of(item)))}{forced}"
    )


def _letters(svg: str) -> str:
    """What is written in a drawing: its texts, without pictures and style."""
    import re

    written: Callable[[str], list[str]] = re.compile(r"<text[^>]*>([^<]*)</text>").findall
    return "".join(written(svg))
