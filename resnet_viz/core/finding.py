"""``Finding``: a judgement of a run, with everything needed to doubt it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A judgement, with everything needed to doubt it.

    Attributes:
        severity: How bad.
        what: One or two words: ``exploding gradient``.
        where: Ops, parameters or modules it speaks of.
        evidence: The measured numbers, in words.
        threshold: The rule that fired, in words.
        source: Paper or document of the threshold.
        remedy: What to try.
        explains: Ops, parameters and modules whose own symptoms follow from it (``""``:
            all of them), so that no later finding speaks of them.
    """

    severity: Severity
    what: str
    where: tuple[str, ...]
    evidence: str
    threshold: str
    source: str
    remedy: str
    explains: tuple[str, ...] = ()
