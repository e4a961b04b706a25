"""Kinds of skips and blocks in words, as drawings and their legends say them."""

from __future__ import annotations

from resnet_viz.core.message import say
from resnet_viz.core.terms import word

_BEFORE = "pre-activation "


def named(kind: str) -> str:
    """``bottleneck`` or ``pre-activation bottleneck`` in the report's language."""
    if kind.startswith(_BEFORE):
        return say("pre-activation {kind}", kind=word(kind.removeprefix(_BEFORE)))
    return word(kind)


def blocks_of(kind: str, n: int) -> str:
    """``1 basic block``, ``16 bottleneck blocks``."""
    if n == 1:
        return say("1 {kind} block", kind=named(kind))
    return say("{n} {kind} blocks", n=f"{n:,}", kind=named(kind))


def skips_of(kind: str, n: int) -> str:
    """``1 projection skip``, ``12 identity skips``."""
    if n == 1:
        return say("1 {kind} skip", kind=named(kind))
    return say("{n} {kind} skips", n=f"{n:,}", kind=named(kind))
