"""Characters that no text format can carry, spelled out; texts as XML takes them.

A module may be named anything. Control characters end XML documents and steer
terminals, and a lone surrogate has no UTF-8; each format's own escaping does not
touch them.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from resnet_viz.reporting.language import RIGHT_TO_LEFT, language, spoken

# What XML 1.0 has no way to write; terminals read the same ones as commands.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_safe(text: str) -> str:
    r"""The text with characters that XML cannot hold spelled out (``\u0000``)."""
    return _NOT_XML.sub(lambda bad: f"\\u{ord(bad[0]):04x}", text)


def escaped(text: object) -> str:
    """The text in the report's language, with ``&``, ``<`` and ``>`` escaped."""
    return escape(spoken(text))


def drawn(text: object) -> str:
    """The text for an element of a drawing, whose own lines begin at the left.

    Words that run from right to left are isolated with their direction (Unicode UAX #9, RLI …
    PDI): a drawing places its texts by their left, middle or right, in every language.
    """
    said = escaped(text)
    ours = language().direction == "rtl" and RIGHT_TO_LEFT.search(said)
    return f"\u2067{said}\u2069" if ours else said
