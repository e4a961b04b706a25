"""In which language a report speaks: gettext catalogues, and what runs from right to left.

Renderers run inside ``speaking(options.lang)``; whatever writes a text asks ``spoken`` for it.
English is the language of the templates and needs no catalogue. In a language that runs from
right to left every value is isolated (Unicode UAX #9, FSI … PDI), or ``(64, 56, 56)`` would
read ``(56, 56, 64)``.
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
from typing import Literal

from resnet_viz.core.errors import UserError
from resnet_viz.core.message import Joined, Message

DOMAIN = "resnet_viz"
_ISOLATE, _END = "\u2068", "\u2069"
# What would end an isolate, or open one that nobody ends.
_BIDI = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)))


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
        between = words.gettext(text.template) if text.template.strip() else text.template
        return between.join(_value(part, here) for part in text.values.values())
    if text.plural:
        template = words.ngettext(text.template, text.plural, int(text.number))
    else:
        template = words.gettext(text.template)
    return template.format(**{name: _value(part, here) for name, part in text.values.items()})


def isolated(text: str) -> str:
    """The text so that it keeps its own direction among words of another one."""
    if _SPOKEN.get().direction == "ltr" or not text:
        return text
    return f"{_ISOLATE}{text.translate(_BIDI)}{_END}"


def _value(part: object, here: Language) -> str:
    if isinstance(part, Message):
        return spoken(part)
    return isolated(str(part)) if here.direction == "rtl" else str(part)


def script_words(script: str) -> dict[str, str]:
    """What the ``RV.say`` calls of a script are in the language of what is being rendered."""
    if language() is ENGLISH:
        return {}
    words = catalogue(language().code)
    asked = dict.fromkeys(re.findall(r"RV\.say\('((?:[^'\\]|\\.)*)'", script))
    return {template: words.gettext(template) for template in asked}


@cache
def catalogue(code: str) -> gettext.NullTranslations:
    """The catalogue of a language; of English one that changes nothing."""
    folder = Path(str(files("resnet_viz"))) / "templates" / "locale"
    return gettext.translation(DOMAIN, folder, [code], fallback=code == ENGLISH.code)
