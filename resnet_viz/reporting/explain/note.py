"""The form of a note, and numbers that no float holds."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from resnet_viz.core.message import Message
from resnet_viz.core.units import scientific

Note: TypeAlias = dict[str, Any]


def note(key: str, title: Message, formula: str, text: Message, here: Message, source: str) -> Note:
    """One idea: its formula, the idea in general, the idea in this network, and who had it."""
    return {
        "key": key, "title": title, "formula": formula, "text": text, "here": here,
        "source": source,
    }  # fmt: skip


def power(base: float, n: int) -> str:
    """``base`` to the ``n``, also where no float holds it."""
    exponent = n * math.log10(base)
    return scientific(base**n) if abs(exponent) < 300 else f"10{raised(round(exponent))}"


def raised(n: int) -> str:
    """The number as an exponent: ``-12`` -> ``⁻¹²``."""
    return str(n).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
