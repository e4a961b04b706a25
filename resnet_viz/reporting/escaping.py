"""Characters that no text format can carry, spelled out.

A module may be named anything. Control characters end XML documents and steer
terminals, and a lone surrogate has no UTF-8; each format's own escaping does not
touch them.
"""

from __future__ import annotations

import re

# What XML 1.0 has no way to write; terminals read the same ones as commands.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_safe(text: str) -> str:
    r"""The text with characters that XML cannot hold spelled out (``\u0000``)."""
    return _NOT_XML.sub(lambda bad: f"\\u{ord(bad[0]):04x}", text)
