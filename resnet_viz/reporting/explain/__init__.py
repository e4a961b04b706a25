"""What the report means: the few ideas behind it, beside this network's own numbers.

For a reader who meets them for the first time. Each note is general in ``text``, speaks of
the network at hand in ``here``, and names the paper to read on. One file per idea's home:
``blocks`` (what a residual network is made of), ``gradients`` (what comes back through it)
and ``memory`` (what that costs).
"""

from __future__ import annotations

from resnet_viz.reporting.explain.blocks import bottleneck, identity, paths, residual_block, skips
from resnet_viz.reporting.explain.gradients import degradation, vanishing
from resnet_viz.reporting.explain.memory import memory
from resnet_viz.reporting.explain.note import Note
from resnet_viz.reporting.page.tables import Facts

IDEAS = (residual_block, skips, identity, bottleneck, paths, vanishing, degradation, memory)
"""The ideas in reading order; each gives its note, or ``None`` where it does not apply."""


def meaning(facts: Facts) -> list[Note]:
    """The notes that apply to this network, in reading order."""
    return [note for idea in IDEAS if (note := idea(facts)) is not None]
