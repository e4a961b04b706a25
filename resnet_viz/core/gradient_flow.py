"""Where the gradient of a run went: per call, parameter and edge, over one batch or many."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from resnet_viz.core.chain import Link
from resnet_viz.core.display import Savable
from resnet_viz.core.finding import Finding
from resnet_viz.core.forward_facts import Activity, Detached, NonFinite, NormMode
from resnet_viz.core.graph import OpId, is_inside, module_of
from resnet_viz.core.skip_shares import SkipShare
from resnet_viz.core.structure import Skip

if TYPE_CHECKING:
    from resnet_viz.core.records import FlowTable

Stats = Literal["norms", "default", "full"]
"""How much is measured: ``norms`` (L2 and edge shares alone), ``default``, ``full``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """The value below which a fraction ``p`` of the magnitudes lies."""

    p: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientStats:
    """Statistics of one gradient tensor (or of several taken as one).

    Over several batches ``low`` and ``high`` are the extremes of all, counts of the
    histogram are added up, and everything else is the mean over the batches.

    Attributes:
        numel: Number of elements.
        l2: Euclidean norm, accumulated in float32 or wider.
        rms: ``l2 / sqrt(numel)``.
        low: Smallest element; ``None`` where not measured.
        high: Largest element; ``None`` where not measured.
        mean: Mean; ``None`` where not measured.
        mean_abs: Mean magnitude; ``None`` where not measured.
        zero_fraction: Fraction of exact zeros; ``None`` where not measured.
        quantiles: Of the magnitude; empty where not measured.
        histogram: Counts of magnitudes per bin of ``core.magnitudes.BINS``.
        spread: Standard deviation of ``l2`` over the batches (n − 1 in the
            denominator); ``None`` for one batch.
        batches: In how many batches there was such a gradient; the others do not count.
    """

    numel: int
    l2: float
    rms: float
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    mean_abs: float | None = None
    zero_fraction: float | None = None
    quantiles: tuple[Quantile, ...] = ()
    histogram: tuple[int, ...] = ()
    spread: float | None = None
    batches: int = 1

    @property
    def finite(self) -> bool:
        """Whether no element is NaN or infinite."""
        return all(x is None or math.isfinite(x) for x in (self.l2, self.low, self.high))

    @property
    def vanished(self) -> bool:
        """Whether every element is exactly zero, as far as was measured."""
        return self.l2 == 0 and not self.low and not self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class CallGradient:
    """The gradient of the loss with respect to the output of one call, or to one input."""

    op: OpId
    stats: GradientStats


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRatios:
    """‖Gᵢ‖ / max(‖Wᵢ‖, 1e-3) over the output units i of one weight.

    The quantity that adaptive gradient clipping bounds (Brock et al. 2021, 2102.06171,
    eq. 3). A unit is a slice along the first axis; weights of fewer than two axes have none.

    Attributes:
        units: How many units there are.
        median: Over the units.
        high: Of the worst unit.
        above: Fraction of units above 0.01, the clipping threshold of the paper.
    """

    units: int
    median: float
    high: float
    above: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosine:
    """Mean cosine between the gradients of consecutive batches, over ``count`` pairs."""

    mean: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterGradient:
    """The gradient of the loss with respect to one parameter.

    Attributes:
        name: The parameter's (first) name.
        stats: ``None`` where it received no gradient.
        weight_l2: Norm of the parameter itself.
        reason: Why there is no gradient: frozen, never used, not on a path to the
            loss, or all zeros; empty where there is one.
        units: Per output unit; ``None`` where not measured.
        update_ratio: ‖w′ − w‖/‖w‖ of one real step of the optimizer given, from the
            state it is in; ``None`` without one, where it does not hold the parameter, or
            where the weight is zero. Mean over the batches, each from the same weights.
        cosine: Between consecutive batches; ``None`` for one batch.
    """

    name: str
    stats: GradientStats | None
    weight_l2: float
    reason: str = ""
    units: UnitRatios | None = None
    update_ratio: float | None = None
    cosine: Cosine | None = None

    @property
    def ratio(self) -> float | None:
        """Gradient norm over weight norm; ``None`` without gradient or weight."""
        if self.stats is None or self.weight_l2 == 0:
            return None
        return self.stats.l2 / self.weight_l2


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeShare:
    """What one consumer sends back to a fork.

    Attributes:
        src: The fork.
        dst: The consumer whose backward sent this gradient.
        share: ⟨g_e, g⟩/⟨g, g⟩ with g the whole gradient at the fork; signed; the
            shares at a fork sum to 1. Over several batches the mean.
        norm_ratio: ‖g_e‖/‖g‖.
        cosine: Between g_e and g; 0 where either is zero.
        spread: Standard deviation of ``share`` over the batches; ``None`` for one.
        batches: In how many batches the fork was separable; the others do not count.
        fork_l2: ‖g‖; over several batches the mean; ``None`` where not kept.
    """

    src: OpId
    dst: OpId
    share: float
    norm_ratio: float
    cosine: float
    spread: float | None = None
    batches: int = 1
    fork_l2: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSeparable:
    """A fork whose edges could not be told apart, and why.

    Attributes:
        fork: The op.
        reason: Why, in the first such batch.
        batches: In how many batches; where that is not all of them, the fork has shares
            too, of the others.
    """

    fork: OpId
    reason: str
    batches: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The number that was differentiated, and how it was chosen.

    Attributes:
        name: What it is, in words.
        value: Mean over the batches.
        spread: Standard deviation over the batches; ``None`` for one.
    """

    name: str
    value: float
    spread: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientFlow(Savable):
    """Where the gradient went.

    Attributes:
        loss: What was differentiated.
        mode: ``train`` or ``eval``.
        device: The device it ran on, as text.
        batch_size: First dimension of the first input.
        data: What the inputs and targets were, in words.
        stats: How much was measured.
        batches: How many batches went into it, on all ranks.
        ranks: How many processes measured them.
        autocast: The dtype of autocast; empty without it.
        optimizer: Whose update ratios these are, in words; empty without one.
        calls: Per call (and floating input), in forward order.
        parameters: Per distinct parameter, in registration order.
        shares: Per edge that leaves a fork.
        not_separable: Forks without shares, or with edges that are told as one: each with
            its reason.
        chain: From input to loss, the gain of each block; see ``core.chain``.
        skip_shares: What the shortcuts carry, per block, stage and network.
        activities: Per activation function, how alive it is.
        norms: In which mode each normalisation layer ran.
        detached: Calls at which the way back to the inputs ends.
        nonfinite: Where NaN and infinities begin, forward and backward.
        notes: What is to be known about how it was measured, one sentence each.
        findings: What they mean, where the flow stands alone; a report holds its own.
    """

    loss: Loss
    mode: Literal["train", "eval"]
    device: str
    batch_size: int
    data: str
    stats: Stats = "default"
    batches: int = 1
    ranks: int = 1
    autocast: str = ""
    optimizer: str = ""
    calls: tuple[CallGradient, ...]
    parameters: tuple[ParameterGradient, ...]
    shares: tuple[EdgeShare, ...]
    not_separable: tuple[NotSeparable, ...] = ()
    chain: tuple[Link, ...] = ()
    skip_shares: tuple[SkipShare, ...] = ()
    activities: tuple[Activity, ...] = ()
    norms: tuple[NormMode, ...] = ()
    detached: tuple[Detached, ...] = ()
    nonfinite: tuple[NonFinite, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    _stats: dict[str, GradientStats] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        index: dict[str, GradientStats] = {c.op: c.stats for c in self.calls}
        index |= {p.name: p.stats for p in self.parameters if p.stats is not None}
        object.__setattr__(self, "_stats", index)

    def __getitem__(self, key: str) -> GradientStats:
        """Statistics of an op, a parameter, or all calls inside a module path (``""``: all).

        Raises:
            KeyError: If nothing of that name was measured.
        """
        if key in self._stats:
            return self._stats[key]
        inside = [c.stats for c in self.calls if is_inside(module_of(c.op), key)]
        if not inside:
            raise KeyError(f"{key!r} is no op, parameter or module with a gradient")
        return combine(inside)

    def get(self, key: str) -> GradientStats | None:
        """Like ``[]`` for an op or a parameter, ``None`` where there is nothing."""
        return self._stats.get(key)

    def share_of(self, skip: Skip) -> float | None:
        """The share of the fork's gradient that came back over the skip's shortcut."""
        ends = {*skip.shortcut, skip.join}
        found = [s.share for s in self.shares if s.src == skip.fork and s.dst in ends]
        return sum(found) if found else None

    def to_records(self, table: FlowTable = "parameters") -> list[dict[str, object]]:
        """Flat dicts for ``pandas.DataFrame``: per parameter, call, edge, link or activation.

        Args:
            table: ``parameters``, ``calls``, ``shares``, ``skip_shares``, ``chain`` or
                ``activities``; see ``core.records``.
        """
        from resnet_viz.core.flow_records import flow_records

        return flow_records(self, table)


def combine(parts: list[GradientStats]) -> GradientStats:
    """Several tensors taken as one: norms and extremes, which merge exactly, and no more."""
    numel = sum(p.numel for p in parts)
    l2 = math.sqrt(sum(p.l2**2 for p in parts))
    lows = [p.low for p in parts if p.low is not None]
    highs = [p.high for p in parts if p.high is not None]
    return GradientStats(
        numel=numel,
        l2=l2,
        rms=l2 / math.sqrt(numel) if numel else 0.0,
        low=min(lows, default=None),
        high=max(highs, default=None),
    )
