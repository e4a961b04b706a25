"""Blocks, and the proof of a trace, in one line of text."""

from __future__ import annotations

from resnet_viz.core.message import say
from resnet_viz.core.report import Report
from resnet_viz.core.structure import Block

_MOST_PARTS = 6


def proof_text(report: Report) -> str:
    """Whether the graph was shown to be faithful: verified, refused and why, or not asked."""
    return report.proof.sentence if report.proof is not None else say("not asked for (--verify)")


def block_widths(block: Block) -> str:
    """The branch as a waist: ``1×1 64 ▷ 3×3 64 ◁ 1×1 256``; empty for no widths.

    A triangle points to the narrow side (or, for an inverted bottleneck, away
    from the wide one); blocks that keep their width have arrows.
    """
    if not block.widths:
        return ""
    parts = [
        f"{kernel}×{kernel} {width}" if kernel else str(width)
        for kernel, width in zip(_kernels(block), block.widths, strict=True)
    ]
    if len(parts) > _MOST_PARTS:
        return say(
            "{first} → … {n} more … → {last}", first=parts[0], n=len(parts) - 2, last=parts[-1]
        )
    if block.kind == "bottleneck":
        waist, before, after = _last(block.widths, min(block.widths)), " ▷ ", " ◁ "
    elif block.kind == "inverted bottleneck":
        waist, before, after = _last(block.widths, max(block.widths)), " ◁ ", " ▷ "
    else:
        return " → ".join(parts)
    text = parts[0]
    for index, part in enumerate(parts[1:], start=1):
        text += (before if index <= waist else after) + part
    return text


def _kernels(block: Block) -> tuple[int, ...]:
    """Kernel sizes, or zeros (left out) for blocks whose weights have no spatial axes."""
    spatial = len(block.kernels) == len(block.widths) and block.kind not in ("attention", "mlp")
    return block.kernels if spatial else (0,) * len(block.widths)


def _last(values: tuple[int, ...], value: int) -> int:
    return len(values) - 1 - values[::-1].index(value)
