"""A deep net whose extra blocks do nothing, beside the shallow net it equals."""

from __future__ import annotations

from dataclasses import dataclass, field

from resnet_viz.core.experiments.common import Check, Result
from resnet_viz.core.report import Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockMap:
    """What one block of the deep net does.

    Attributes:
        path: Module path.
        stage: From 1 on.
        index: Within its stage, from 1 on.
        silent: Whether its branch was set to zero.
        difference: Largest ``|H(x) - x|`` for an input x > 0; ``None`` where shapes differ.
        singular_values: Of its Jacobian at one input, in falling order; empty where it
            was not computed.
    """

    path: str
    stage: int
    index: int
    silent: bool
    difference: float | None
    singular_values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentForm:
    """One form of block, silent in the same places: what comes out of the whole net.

    Attributes:
        block: Residual branch, as the family calls it, such as ``bottleneck``.
        order: Order of norm and activation, likewise (He et al. 2016, figure 4).
        silenced: How the branches were set to zero, in words.
        difference: Largest difference between the logits of deep and shallow, in eval mode.
        train_difference: Likewise with the statistics of the batch.
        positive: Largest ``|H(x) - x|`` of its silent blocks for x > 0.
        signed: Likewise for x of both signs.
    """

    block: str
    order: str
    silenced: str
    difference: float
    train_difference: float
    positive: float
    signed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityMapping(Result):
    """F(x) = 0 gives H(x) = x (He et al. 2015, section 3.1), measured.

    Attributes:
        deep: Variant whose extra blocks are silent.
        shallow: Variant with the other blocks alone.
        silenced: How the branches were set to zero, in words.
        copied: Scalars that both nets share.
        extra: Scalars of the silent blocks.
        samples: Inputs compared.
        difference: Largest difference of their logits; 0 is equality of every bit.
        plain_difference: The same for plain nets, whose silent blocks answer zero.
        plain_spread: Largest difference between the silent plain net's logits for any two of
            the inputs; 0 if it gives all the same answer.
        perturbed: Relative change of the logits, as a fraction, for branches scaled up
            from zero: pairs of scale and change.
        blocks: Every block of the deep net, in forward order.
        forms: The same with other forms of block.
        checks: Equality, and singular values 1.
        seed: Of weights and inputs.
        provenance: Where it all comes from.
    """

    deep: str
    shallow: str
    silenced: str
    copied: int
    extra: int
    samples: int
    difference: float
    plain_difference: float | None = None
    plain_spread: float | None = None
    perturbed: tuple[tuple[float, float], ...] = ()
    blocks: tuple[BlockMap, ...]
    forms: tuple[SilentForm, ...] = ()
    checks: tuple[Check, ...] = ()
    seed: int = 0
    provenance: Provenance = field(default_factory=Provenance)
