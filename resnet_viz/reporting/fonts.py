r"""The bundled fonts and how wide a text is in them.

Boxes are sized in Python, so text is measured with the advance widths of the very
fonts that the page embeds and the PNG is drawn with. Kerning and ligatures are cut
out of the subset, so that a width is the plain sum of its advances.

Inter 4.1 (OFL-1.1) gives letters, DejaVu Sans the few signs Inter lacks. The files
were made with fontTools (and brotli) from ``web/Inter-Regular.woff2`` and
``web/Inter-SemiBold.woff2`` of the npm package ``inter-ui`` 4.1.1 and from Debian's
``fonts-dejavu-core``; ``advances.json`` holds their ``hmtx`` widths as runs of code
points, each run its first code point and then the widths. For each face::

    pyftsubset FONT --layout-features= --no-hinting --unicodes=U+20-7E,U+A0-17F,\
    U+391-3C9,U+2010-2027,U+2030,U+2032,U+2033,U+2039,U+203A,U+2070-209C,U+2190-2195,\
    U+21D2,U+2202,U+2206,U+2207,U+220F,U+2211,U+2212,U+221A,U+221E,U+2229,U+222B,\
    U+2248,U+2260,U+2264,U+2265,U+2295-2297,U+25A0,U+25B2,U+25B6,U+25BC,U+25C0,\
    U+25C6,U+25CB,U+25CF,U+2713,U+2016
    pyftsubset DejaVuSans.ttf --layout-features= --no-hinting \
    --unicodes=U+2207,U+2208,U+2225,U+2282,U+27E8,U+27E9,U+25B8,U+25BE,U+2299

and again with ``--flavor=woff2`` for the page. Languages of the Arabic script also get DejaVu
Sans, regular and bold, with the features that join letters::

    pyftsubset DejaVuSans.ttf --layout-features=init,medi,fina,isol,rlig,ccmp,mark --no-hinting \
    --unicodes=U+60C,U+61B,U+61F,U+621-63A,U+640-655,U+66A-66C,U+670,U+67E,U+686,U+698,U+6A9,\
    U+6AF,U+6C0,U+6CC,U+6D5,U+6F0-6F9,U+200C,U+200D

and the ``.ttf`` with ``U+20`` too: without a space in a font the isolates around values vanish in
it, and resvg leaves out a line that its fonts shape to different numbers of glyphs.
"""

from __future__ import annotations

import base64
import json
import unicodedata
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path

from resnet_viz.reporting.arabic import joined_width, written
from resnet_viz.reporting.language import language, spoken, whole_isolates

_UNITS = 2048
_WIDE, _NARROW = 1.05, 0.68  # of an em, for letters that neither bundled font has
_FACES = (
    ("RV Sans", 400, "Inter-Regular"),
    ("RV Sans", 600, "Inter-SemiBold"),
    ("RV Symbols", 400, "DejaVuSans-Symbols"),
)
_ARABIC_FACES = (
    ("RV Sans", 400, "DejaVuSans-Arabic"),
    ("RV Sans", 600, "DejaVuSans-Bold-Arabic"),
)
_ARABIC_RANGE = "unicode-range:U+600-6FF,U+200C-200D;"


def _folder() -> Path:
    return Path(str(files("resnet_viz"))) / "templates" / "assets" / "fonts"


def font_files() -> list[str]:
    """Paths of the bundled TrueType files that the language being rendered needs."""
    faces = (*_FACES, *_ARABIC_FACES) if _is_joined() else _FACES
    return [str(_folder() / f"{name}.ttf") for _, _, name in faces]


def _is_joined() -> bool:
    return language().direction == "rtl"


def font_face_css() -> str:
    """``@font-face`` rules with the fonts inside them as data URIs (about 46 kB).

    A language of the Arabic script adds 23 kB.
    """
    return _face_css(_is_joined())


@cache
def _face_css(joined: bool) -> str:
    rules = []
    for family, weight, name in (*_FACES, *(_ARABIC_FACES if joined else ())):
        some = _ARABIC_RANGE if (family, weight, name) in _ARABIC_FACES else ""
        data = base64.b64encode((_folder() / f"{name}.woff2").read_bytes()).decode("ascii")
        rules.append(
            f'@font-face{{font-family:"{family}";font-weight:{weight};'
            f'{some}src:url("data:font/woff2;base64,{data}") format("woff2")}}'
        )
    return "\n".join(rules)


@cache
def _advances(bold: bool) -> dict[int, int]:
    runs = json.loads((_folder() / "advances.json").read_text("ascii"))
    table: dict[int, int] = {}
    for first, *widths in runs["bold" if bold else "regular"]:
        table.update((first + i, width) for i, width in enumerate(widths))
    return table


def covered(text: str) -> bool:
    """Whether the bundled fonts have every letter of the text."""
    table = _advances(False)
    joined = _is_joined()
    signs = "\n\u2066\u2067\u2068\u2069"
    return all(
        ord(char) in table or (joined and written(char)) for char in text if char not in signs
    )


@cache
def _em(char: str, bold: bool) -> float:
    advance = _advances(bold).get(ord(char))
    if advance is not None:
        return advance / _UNITS
    if unicodedata.category(char) in ("Mn", "Cf", "Cc"):
        return 0.0
    return _WIDE if unicodedata.east_asian_width(char) in "WF" else _NARROW


@lru_cache(maxsize=4096)
def _ems(text: str, bold: bool) -> float:
    """Width in ems; a large drawing writes few different labels, and each many times."""
    return sum(_em(char, bold) for char in text)


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Width of one line in pixels at a font size in pixels, in the language it is said in."""
    text = spoken(text)
    if not _is_joined():
        return size * _ems(text, bold)
    ems = sum(_em(char, bold) for char in text if not written(char))
    return size * (ems + joined_width(text, bold=bold) / _UNITS)


def fit(text: str, size: float, room: float, *, bold: bool = False, tail: bool = False) -> str:
    """The text, cut with an ellipsis where it is wider than ``room`` pixels.

    With ``tail`` the end is kept: the last part of a module path tells most.
    """
    text = spoken(text)
    if text_width(text, size, bold=bold) <= room:
        return text
    kept = text[::-1] if tail else text
    room -= text_width("…", size, bold=bold)
    used, n = 0.0, 0
    for char in kept:
        used += text_width(char, size, bold=bold)
        if used > room:
            break
        n += 1
    (line,) = whole_isolates([f"…{text[len(text) - n :]}" if tail else f"{text[:n]}…"])
    return line


def wrap(text: str, size: float, room: float, *, bold: bool = False) -> list[str]:
    """The text in lines of at most ``room`` pixels; a longer word is cut with an ellipsis."""
    lines: list[str] = []
    for word in spoken(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, bold=bold) <= room:
            lines[-1] = longer
        else:
            lines.append(fit(word, size, room, bold=bold))
    return whole_isolates(lines)
