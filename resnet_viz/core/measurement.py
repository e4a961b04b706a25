"""What a run showed: gradient flow, attributions, and what they mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from resnet_viz.core.graph import OpId, is_inside, module_of
from resnet_viz.core.structure import Skip

if TYPE_CHECKING:
    from resnet_viz.core.records import FlowTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """The value below which a fraction ``p`` of the magnitudes lies."""

    p: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientStats:
    """Statistics of one gradient tensor (or of several taken as one).

    Attributes:
        numel: Number of elements.
        l2: Euclidean norm, accumulated in float32 or wider.
        rms: ``l2 / sqrt(numel)``.
        low: Smallest element.
        high: Largest element.
        mean: Mean; ``None`` where not measured.
        mean_abs: Mean magnitude; ``None`` where not measured.
        zero_fraction: Fraction of exact zeros; ``None`` where not measured.
        quantiles: Of the magnitude; empty where not measured.
        histogram: Counts of magnitudes per bin of ``measuring.gradients.BINS``.
    """

    numel: int
    l2: float
    rms: float
    low: float
    high: float
    mean: float | None = None
    mean_abs: float | None = None
    zero_fraction: float | None = None
    quantiles: tuple[Quantile, ...] = ()
    histogram: tuple[int, ...] = ()

    @property
    def finite(self) -> bool:
        """Whether no element is NaN or infinite."""
        return math.isfinite(self.l2) and math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallGradient:
    """The gradient of the loss with respect to the output of one call."""

    op: OpId
    stats: GradientStats


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterGradient:
    """The gradient of the loss with respect to one parameter.

    Attributes:
        name: The parameter's (first) name.
        stats: ``None`` where it received no gradient.
        weight_l2: Norm of the parameter itself.
        reason: Why there is no gradient: frozen, never used, not on a path to the
            loss, or all zeros; empty where there is one.
    """

    name: str
    stats: GradientStats | None
    weight_l2: float
    reason: str = ""

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
            shares at a fork sum to 1.
        norm_ratio: ‖g_e‖/‖g‖.
        cosine: Between g_e and g; 0 where either is zero.
    """

    src: OpId
    dst: OpId
    share: float
    norm_ratio: float
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSeparable:
    """A fork whose edges could not be told apart, and why."""

    fork: OpId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The number that was differentiated, and how it was chosen."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientFlow:
    """Where the gradient of one batch went.

    Attributes:
        loss: What was differentiated.
        mode: ``train`` or ``eval``.
        device: The device it ran on, as text.
        batch_size: First dimension of the first input.
        data: What the inputs and targets were, in words.
        calls: Per call, in forward order.
        parameters: Per distinct parameter, in registration order.
        shares: Per edge that leaves a fork.
        not_separable: Forks without shares, each with its reason.
        findings: What they mean, where the flow stands alone; a report holds its own.
    """

    loss: Loss
    mode: Literal["train", "eval"]
    device: str
    batch_size: int
    data: str
    calls: tuple[CallGradient, ...]
    parameters: tuple[ParameterGradient, ...]
    shares: tuple[EdgeShare, ...]
    not_separable: tuple[NotSeparable, ...] = ()
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
        """Flat dicts for ``pandas.DataFrame``: per parameter, call or edge.

        Args:
            table: ``parameters``, ``calls`` or ``shares``; see ``core.records``.
        """
        from resnet_viz.core.records import flow_records

        return flow_records(self, table)

    def to_json(self) -> str:
        """Versioned JSON text."""
        from resnet_viz.core.schema import to_json

        return to_json(self)


def combine(parts: list[GradientStats]) -> GradientStats:
    """Several tensors taken as one: norms and extremes, which merge exactly, and no more."""
    numel = sum(p.numel for p in parts)
    l2 = math.sqrt(sum(p.l2**2 for p in parts))
    return GradientStats(
        numel=numel,
        l2=l2,
        rms=l2 / math.sqrt(numel) if numel else 0.0,
        low=min(p.low for p in parts),
        high=max(p.high for p in parts),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An encoded image (``data`` is the file's bytes)."""

    name: str
    width: int
    height: int
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap:
    """A map of numbers, quantised to bytes so that it compares and travels.

    ``value = low + byte / 255 * (high - low)``, row by row from the top left.
    """

    width: int
    height: int
    low: float
    high: float
    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != self.width * self.height:
            raise ValueError(f"{len(self.data)} bytes for {self.width}×{self.height}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One labelled number."""

    label: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """What one method says of one input.

    Attributes:
        method: Plain name of the method (``integrated gradients``).
        input: Index of the input sample it explains.
        target: What was explained, in words (``class 281``).
        layer: The layer it was taken at; empty for the input.
        heatmap: For images.
        bars: For everything else: one per feature, token or channel.
        signed: Whether negative values mean evidence against the target.
        delta: Completeness delta, F(x) − F(x′) − Σ attribution; ``None`` where
            the method claims no completeness.
        relative_delta: ``|delta| / |F(x) − F(x′)|``.
        verdict: How far to trust it, in one sentence.
    """

    method: str
    input: int
    target: str
    layer: str = ""
    heatmap: Heatmap | None = None
    bars: tuple[Bar, ...] = ()
    signed: bool = False
    delta: float | None = None
    relative_delta: float | None = None
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributions:
    """All attributions of one run.

    Attributes:
        pictures: The inputs as pictures, by input index; empty without images.
        maps: One per (input, method).
        note: What the reader must know first (random weights, no image input).
        device: The device it ran on, as text.
    """

    pictures: tuple[Picture, ...]
    maps: tuple[Attribution, ...]
    note: str = ""
    device: str = "cpu"

    def __getitem__(self, method: str) -> tuple[Attribution, ...]:
        """All maps of a method, by input. Raises ``KeyError``."""
        found = tuple(m for m in self.maps if m.method == method)
        if not found:
            raise KeyError(f"no attribution by {method!r}")
        return found

    def to_records(self) -> list[dict[str, object]]:
        """One flat dict per map, for ``pandas.DataFrame``; see ``core.records``."""
        from resnet_viz.core.records import attribution_records

        return attribution_records(self)

    def to_json(self) -> str:
        """Versioned JSON text."""
        from resnet_viz.core.schema import to_json

        return to_json(self)


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
    """

    severity: Severity
    what: str
    where: tuple[str, ...]
    evidence: str
    threshold: str
    source: str
    remedy: str
