"""The data of a page as text inside it, and back.

Much of it repeats itself, so beyond a few kilobytes it is deflated (RFC 1951) and written
as base64. Either way the element holds JSON: an object, or one text that ``data.js``
inflates to such an object.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from resnet_viz.reporting.language import said

_ESCAPED = "<>&\u2028\u2029"
_PLAIN = 8_000  # letters; below it a reader of the source gains more than a disk does
_RAW = -15  # zlib's window of 32 kB, without header and checksum


def script_json(value: object) -> str:
    """Compact JSON that cannot end or break a ``<script>`` element, its messages said."""
    text = json.dumps(said(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in _ESCAPED:
        # Many times as fast as str.translate on megabytes.
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def packed_json(value: object) -> str:
    """Like ``script_json``; where that is long, a JSON text of base64 of deflated JSON."""
    text = script_json(value)
    if len(text) < _PLAIN:
        return text
    deflate = zlib.compressobj(9, zlib.DEFLATED, _RAW, 9)
    squeezed = deflate.compress(text.encode("utf-8", "replace")) + deflate.flush()
    return f'"{base64.b64encode(squeezed).decode("ascii")}"'


def read_page(page: bytes, element: str = "data") -> Any:
    """The data in an HTML report as its scripts see it.

    Args:
        page: The whole page.
        element: ``data``, or ``code`` for the text of its scripts.

    Raises:
        ValueError: If there is none in it.
    """
    start = f'<script type="application/json" id="{element}">'.encode()
    _, begun, rest = page.partition(start)
    if not begun:
        raise ValueError(f"no {element} in this page")
    value = json.loads(rest.partition(b"</script>")[0])
    if isinstance(value, str):
        value = json.loads(zlib.decompress(base64.b64decode(value), _RAW))
    return value
