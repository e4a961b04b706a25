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
        a_ops: Its ops, in order; ops without weights beside a layer or block belong to it.
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


Aspect = Literal[
    "part", "skip", "block", "layers", "channels", "resolution", "ops", "params", "macs", "op",
    "arguments", "wiring",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not the same in both models, by path.

    Attributes:
        kind: ``added`` (only B has it), ``removed`` (only A has it) or ``changed``.
        path_a: The part or op in A; empty where A has none.
        path_b: Likewise.
        what: Which side of it: the whole ``part``; of a part its ``skip``, kind of
            ``block``, weighted ``layers``, output ``channels`` and ``resolution``, the kinds
            of ``ops`` that one side has more of, ``params``, ``macs``, ``arguments``; an
            ``op``, its ``arguments``; or the ``wiring`` between equal parts.
        a: What it is in A: a name or a number; empty for nothing.
        b: Likewise.
        delta: B less A, of ``params`` and ``macs``; of a part or an op its parameters.
            ``None`` where it is no number.
        pair: The pair of parts it is in, by place in ``Alignment.pairs``; -1 for no single one.
    """

    kind: Literal["added", "removed", "changed"]
    path_a: str
    path_b: str
    what: Aspect
    a: str = ""
    b: str = ""
    delta: int | None = None
    pair: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Two graphs matched in order, part by part; every op of both is in exactly one pair."""

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
        differences: What is not the same, in the order of the pairs.
        provenance: Where it comes from.
    """

    a: Report
    b: Report
    alignment: Alignment
    differences: tuple[Difference, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def equal(self) -> bool:
        """Whether both compute the same with the same shapes; names and values play no role."""
        return self.alignment.equal and not self.differences
