"""How wide words of the Arabic script are, whose letters change with their neighbours.

A letter has four forms: alone, at the end, at the beginning and in the middle of what is joined.
``arabic.json`` holds the advance of each, as DejaVu Sans has them (``hmtx``, through the features
``fina``, ``init`` and ``medi`` of its ``GSUB``), and how the letter joins: to nothing, to the one
before it only, or to both. Ligatures only make a word narrower.
"""

from __future__ import annotations

import json
import unicodedata
from functools import cache
from importlib.resources import files
from pathlib import Path

_BOTH = 2


@cache
def _letters(bold: bool) -> dict[str, tuple[int, ...]]:
    """Letter -> advances alone, at the end, at the beginning, in the middle; how it joins."""
    path = Path(str(files("resnet_viz"))) / "templates" / "assets" / "fonts" / "arabic.json"
    rows = json.loads(path.read_text("ascii"))["bold" if bold else "regular"]
    return {chr(code): tuple(rest) for code, *rest in rows}


def written(char: str) -> bool:
    """Whether the bundled font of the Arabic script has the letter."""
    return char in _letters(False)


def joined_width(text: str, *, bold: bool) -> int:
    """Advances of the letters of the Arabic script in a text, in 1/2048 em."""
    table = _letters(bold)
    # Marks above and below letters do not part them.
    letters = [char for char in text if unicodedata.category(char) != "Mn"]
    joins = [table[char][4] if char in table else 0 for char in letters]
    width = 0
    for i, char in enumerate(letters):
        if char in table:
            before = joins[i] > 0 and i > 0 and joins[i - 1] == _BOTH
            after = joins[i] == _BOTH and i + 1 < len(letters) and joins[i + 1] > 0
            width += table[char][before + 2 * after]
    return width
