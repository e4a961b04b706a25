"""How much every op, block and branch added to the score on the way from the baseline.

Along the straight path x(α) = x′ + α (x − x′) from the baseline to the input, what an element
of an op's output h contributes is its conductance Σ ∂F/∂h · Δh over the steps of the path
(Dhamdhere et al. 2018, "How Important Is a Neuron?", eq. 2). Relevance of the op is the sum
over its elements, *signed*, or the sum of their magnitudes, *absolute*. Where the op is a cut
of the graph its signed relevance is F(x) − F(x′), so far as the steps are fine enough.

Where paths meet, each operand contributes the gradient of F at the join times the operand's
own change: at an ``add`` Δh = Δa + Δb, at a ``cat`` each has its channels, at a ``mul``
Δh = b̄ Δa + ā Δb with means over the ends of each step, so that operands add up to the join's
relevance exactly, whatever the steps. The magnitudes do not: operands may cancel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resnet_viz.core.graph import OpId

Role = Literal["shortcut", "residual branch", "gate", "operand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Relevance, a mean over samples.

    Attributes:
        signed: Sum over elements, in units of the score.
        absolute: Sum of the elements' magnitudes.
        signed_sd: Standard deviation over samples; ``None`` of one sample.
        absolute_sd: Likewise.
        samples: Of how many: those in whose forward the call ran.
    """

    signed: float
    absolute: float
    signed_sd: float | None = None
    absolute_sd: float | None = None
    samples: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OpRelevance:
    """The relevance of one op's output.

    Attributes:
        op: Whose.
        amount: How much.
        cut: Whether everything that reaches the score goes through it, so that ``signed``
            must be F(x) − F(x′).
    """

    op: OpId
    amount: Amount
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OperandRelevance:
    """What one operand contributed to a join: the join's gradient × the operand's change.

    The signed relevance of the operands of a join adds up to the join's.

    Attributes:
        join: The op where paths meet.
        in_slot: Which operand.
        src: The op that made it.
        role: What it is there.
        amount: How much.
    """

    join: OpId
    in_slot: int
    src: OpId
    role: Role
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Relevance:
    """Relevance of the ops, and of the operands of joins, of one or many samples.

    Attributes:
        target: What was explained, in words.
        baseline: Where the path began, in words.
        steps: Of the path.
        difference: F(x) − F(x′), mean over samples.
        difference_sd: Standard deviation over samples; ``None`` of one.
        ops: In the graph's order.
        operands: Of joins, in the graph's order.
        samples: How many.
        batches: How many.
        ranks: Processes that measured.
        notes: What a reader must know: joins whose operands do not add up, and why.
    """

    target: str
    baseline: str
    steps: int
    difference: float
    difference_sd: float | None = None
    ops: tuple[OpRelevance, ...]
    operands: tuple[OperandRelevance, ...] = ()
    samples: int = 1
    batches: int = 1
    ranks: int = 1
    notes: tuple[str, ...] = ()

    @property
    def gap(self) -> float | None:
        """How far the worst cut misses F(x) − F(x′), relative to it; ``None`` without cuts.

        A discretisation error: more steps make it smaller.
        """
        cuts = [r.amount.signed for r in self.ops if r.cut and r.amount.samples == self.samples]
        if not cuts or not self.difference:
            return None
        return max(abs(signed / self.difference - 1) for signed in cuts)

    def get(self, op: OpId) -> OpRelevance | None:
        """The relevance of an op, where it was measured."""
        return next((r for r in self.ops if r.op == op), None)

    def operands_of(self, join: OpId) -> tuple[OperandRelevance, ...]:
        """What each operand of a join contributed."""
        return tuple(o for o in self.operands if o.join == join)

    def to_records(self, table: str = "relevance") -> list[dict[str, object]]:
        """Flat dicts for ``pandas.DataFrame``.

        Args:
            table: ``relevance``, one row per op, or ``relevance_operands``, one per operand
                of a join.

        Raises:
            UserError: If there is no such table.
        """
        from resnet_viz.core.relevance_records import relevance_records

        return relevance_records(self, table)
