"""Two models side by side: which part of one is which part of the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from resnet_viz.core.experiments.common import Result
from resnet_viz.core.graph import OpId
from resnet_viz.core.report import Provenance, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A part of A and the part of B it corresponds to; one side may have none.

    Attributes:
        a: Name of A's part (block or weighted layer); empty where only B has it.
        b: Likewise.
        a_ops: Its ops, in order.
        b_ops: Likewise.
        a_kind: The block's title, or ``layer``; empty without a part.
        b_kind: Likewise.
        same: ``equal`` (kinds, arguments, shapes, parameters of all ops and the wiring
            inside are equal), ``changed`` or ``only``.
        changes: What differs, in words: ``no skip``, ``64 → 128 channels``.
    """

    a: str
    b: str
    a_ops: tuple[OpId, ...] = ()
    b_ops: tuple[OpId, ...] = ()
    a_kind: str = ""
    b_kind: str = ""
    same: Literal["equal", "changed", "only"]
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Two graphs matched in order, part by part; every block of both is in exactly one pair."""

    pairs: tuple[Pair, ...]

    @property
    def equal(self) -> bool:
        """Whether every part has an equal one."""
        return all(pair.same == "equal" for pair in self.pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Result):
    """Two reports and how their models correspond.

    Attributes:
        a: The first model.
        b: The second.
        alignment: Which part is which.
        provenance: Where it comes from.
    """

    a: Report
    b: Report
    alignment: Alignment
    provenance: Provenance = field(default_factory=Provenance)
