"""In which language a report speaks: gettext catalogues, and what runs from right to left.

Renderers run inside ``speaking(options.lang)``; whatever writes a text asks ``spoken`` for it.
English is the language of the templates and needs no catalogue. In a language that runs from
right to left every value is isolated (Unicode UAX #9, FSI … PDI), or ``(64, 56, 56)`` would
read ``(56, 56, 64)``; so is every formula and name that a translation itself contains.
"""

from __future__ import annotations

import gettext
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from resnet_viz.core.errors import UserError
from resnet_viz.core.message import Joined, Message
from resnet_viz.core.terms import TERMS

DOMAIN = "resnet_viz"
_ISOLATE, _END = "\u2068", "\u2069"
_OPENED = "\u2066\u2067\u2068"
# What would end an isolate, or open one that nobody ends.
_BIDI = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)))
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufefc]")
"""Letters of the scripts that run from right to left."""
# Only words, numbers and signs of mathematics have an order of their own to keep.
_ORDERED = re.compile(r"[^\W_]|[/∕=<>±×÷→←−+%^‖~]")
_SIGNS, _PLACES = ".,;:،؛؟!…", re.compile(r"\{\w+\}")
# What stands between the parts of a list, in the scripts that have stops of their own.
_STOPS = {"fa": str.maketrans(",;", "،؛")}


@dataclass(frozen=True, slots=True)
class Language:
    """A language that reports can speak.

    Attributes:
        code: As ``--lang`` and HTML's ``lang`` take it.
        name: What it calls itself.
        direction: Where its lines begin.
    """

    code: str
    name: str
    direction: Literal["ltr", "rtl"]


ENGLISH = Language("en", "English", "ltr")
LANGUAGES = {found.code: found for found in (ENGLISH, Language("fa", "فارسی", "rtl"))}
"""Code -> language."""

_SPOKEN: ContextVar[Language] = ContextVar("spoken language", default=ENGLISH)


@contextmanager
def speaking(code: str) -> Iterator[Language]:
    """The language in which ``spoken`` answers until the end of the block.

    Raises:
        UserError: For a language without a catalogue.
    """
    if code not in LANGUAGES:
        raise UserError(f"lang={code!r} was given: it is one of {', '.join(LANGUAGES)}")
    token = _SPOKEN.set(LANGUAGES[code])
    try:
        yield LANGUAGES[code]
    finally:
        _SPOKEN.reset(token)


def language() -> Language:
    """The language of what is being rendered."""
    return _SPOKEN.get()


def spoken(text: object) -> str:
    """The text in the language of what is being rendered; what is no message stays as it is."""
    if not isinstance(text, Message):
        return str(text)
    here = _SPOKEN.get()
    if here is ENGLISH:
        return str(text)
    words = catalogue(here.code)
    if isinstance(text, Joined):
        between = text.template.translate(_STOPS.get(here.code, {}))
        return between.join(_value(part, here) for part in text.values.values())
    if text.plural:
        template = words.ngettext(text.template, text.plural, int(text.number))
    else:
        template = words.gettext(text.template)
    return _apart(template, here.direction).format(
        **{name: _value(part, here) for name, part in text.values.items()}
    )


def said(value: Any) -> Any:
    """Plain JSON with every message in it in the language of what is being rendered."""
    if language() is ENGLISH:
        return value
    if isinstance(value, dict):
        return {key: said(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [said(item) for item in value]
    return spoken(value) if isinstance(value, Message) else value


def isolated(text: str) -> str:
    """The text so that it keeps its own direction among words of another one."""
    if _SPOKEN.get().direction == "ltr" or not text:
        return text
    return f"{_ISOLATE}{text.translate(_BIDI)}{_END}"


def whole_isolates(lines: list[str]) -> list[str]:
    """The lines of one text, each of its isolates ended and opened again where a line ends."""
    found, inside = [], 0
    for line in lines:
        before = _ISOLATE * inside
        inside = max(0, inside + sum(line.count(c) for c in _OPENED) - line.count(_END))
        found.append(f"{before}{line}{_END * inside}")
    return found


def _value(part: object, here: Language) -> str:
    if isinstance(part, Message):
        return spoken(part)
    return isolated(str(part)) if here.direction == "rtl" else str(part)


@cache
def _apart(template: str, direction: str) -> str:
    """The template with what runs from left to right in it isolated."""
    if direction == "ltr":
        return template
    found, run = [], ""
    for token in re.split(r"(\s+)", template):
        if RIGHT_TO_LEFT.search(token):
            found += [_run(run), token]
            run = ""
        else:
            run += token
    return "".join((*found, _run(run)))


def _run(text: str) -> str:
    """Words between two of the translation, isolated without the punctuation around them."""
    core = text
    while (less := _bared(core)) != core:
        core = less
    if not _ORDERED.search(_PLACES.sub("", core)):
        return text
    before, _, after = text.partition(core)
    return f"{before}{_ISOLATE}{core}{_END}{after}"


def _bared(text: str) -> str:
    text = text.strip().rstrip(_SIGNS)
    opened, closed = text.count("("), text.count(")")
    if text.startswith("(") and (opened > closed or text.find(")") == len(text) - 1):
        text = text[1:]
        opened -= 1
    return text[:-1] if text.endswith(")") and closed > opened else text


def script_words(script: str) -> dict[str, str]:
    """What the ``RV.say`` calls of a script are in the language of what is being rendered."""
    if language() is ENGLISH:
        return {}
    words = catalogue(language().code)
    asked = dict.fromkeys(spoken_in(script))
    return {
        template: _apart(words.gettext(template), language().direction)
        for template in (*asked, *TERMS)
    }


def spoken_in(script: str) -> list[str]:
    """The templates of a script's ``RV.say`` calls, or of ``say`` where it took that name."""
    found = re.findall(r"(?<![\w.])(?:RV\.)?say\('((?:[^'\\]|\\.)*)'", script)
    return [re.sub(r"\\(.)", r"\1", text) for text in found]


@cache
def catalogue(code: str) -> gettext.NullTranslations:
    """The catalogue of a language; of English one that changes nothing."""
    folder = Path(str(files("resnet_viz"))) / "templates" / "locale"
    return gettext.translation(DOMAIN, folder, [code], fallback=code == ENGLISH.code)
