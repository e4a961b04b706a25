"""How long the ways from input to output are, and how much gradient comes back over each length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from resnet_viz.core.display import Savable

Unit = Literal["block", "layer"]
"""What the length of a path counts: residual branches, or weighted layers (conv, linear)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathLengths:
    """The path-length polynomial of a graph: how many paths have which length.

    P_v(t) = t^{w(v)} Σ_u P_u(t) over the operands u of v, P_input = 1 (Veit et al. 2016,
    1605.06431, section 3, for any graph). ``x + x`` counts twice, and both factors of a
    product count: these are the paths of the derivative.

    In blocks a path is one choice at every residual join that it meets, so n blocks have
    2^n paths however a branch is written (``analysis.paths``).

    Attributes:
        unit: What w(v) counts.
        counts: ``counts[k]`` paths have length k; exact integers, from k = 0. In JSON they
            are written out in full: read them with whole numbers of any size, as Python
            does (in JavaScript, 2^53 and above need ``BigInt``).
    """

    unit: Unit
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """All paths; exact."""
        return sum(self.counts)

    @property
    def shortest(self) -> int:
        """Length of the shortest path; 0 without any."""
        return next((k for k, n in enumerate(self.counts) if n), 0)

    @property
    def longest(self) -> int:
        """Length of the longest path."""
        return max(len(self.counts) - 1, 0)

    @property
    def mean(self) -> float:
        """Mean length over all paths; NaN without any."""
        total = self.total
        # Integer division of huge integers is exact; float() of them overflows.
        return sum(k * n for k, n in enumerate(self.counts)) / total if total else math.nan

    @property
    def sd(self) -> float:
        """Standard deviation of the length over all paths."""
        total = self.total
        if not total:
            return math.nan
        first = sum(k * n for k, n in enumerate(self.counts))
        second = sum(k * k * n for k, n in enumerate(self.counts))
        return math.sqrt((second * total - first * first) / (total * total))

    def fraction(self, low: int, high: int) -> float:
        """Fraction of all paths whose length is between ``low`` and ``high``, both included."""
        return (
            sum(self.counts[max(low, 0) : max(high + 1, 0)]) / self.total
            if self.total
            else math.nan
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledLength:
    """Veit et al. 2016's own estimate for one length: random paths, one backward each.

    Attributes:
        length: k, residual branches on the path.
        draws: Paths drawn.
        mean_norm: Mean norm of the gradient that arrives over one of them.
        norm_error: Standard error of ``mean_norm``; 0 where every path was followed, NaN
            for a single draw.
        mass: ``mean_norm`` times the number of these paths (C(n, k) in a chain of n
            blocks): what the paper plots. At least ‖g_k‖, as it lets nothing cancel.
        vector_norm: Norm of the mean gradient *vector* times their number: that vector is an
            unbiased estimate of g_k, so its norm estimates ‖g_k‖ where the error is small.
        vector_error: Standard error of that vector, as a norm; NaN for a single draw.
    """

    length: int
    draws: int
    mean_norm: float
    norm_error: float
    mass: float
    vector_norm: float
    vector_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PathGradients(Savable):
    """The gradient at one place, split by the length of the paths it came back over.

    The graded backward carries G(t) = Σ_k t^k g_k: at every counted branch
    G ← J_Sᵀ G + t·J_Fᵀ G. The g_k sum to the gradient itself.

    Norms and ``masses`` are those of the vectors g_k: what all paths of length k carry
    together, after they cancelled. Veit et al. 2016 add up norms of single paths, which
    cancel nothing: ``sampled`` has those. Paths share weights and activations, so none of
    this makes the net an ensemble of independent shallow nets; a length says which branches
    a gradient passed, not what a shallower net would have learned.

    Attributes:
        model: Name of the net.
        at: What the gradient is taken with respect to: an input, or an op.
        loss: What was differentiated, in words.
        mode: ``train`` or ``eval``.
        batch_size: Samples.
        data: What they were, in words.
        lengths: How many paths have which length.
        norms: ‖g_k‖, k from 0.
        shares: ⟨g_k, g⟩/⟨g, g⟩, signed; they sum to 1.
        norm: ‖g‖.
        residual: ‖Σ_k g_k − g‖/‖g‖, g from an ordinary backward.
        sampled: Veit's sampling of some lengths, where asked for.
        device: The device it ran on, as text.
        seconds: Wall time of the graded backward.
    """

    model: str
    at: str
    loss: str
    mode: Literal["train", "eval"]
    batch_size: int
    data: str
    lengths: PathLengths
    norms: tuple[float, ...]
    shares: tuple[float, ...]
    norm: float
    residual: float
    sampled: tuple[SampledLength, ...] = ()
    device: str = "cpu"
    seconds: float = 0.0

    @property
    def per_path(self) -> tuple[float, ...]:
        """‖g_k‖ over the number of paths of length k; NaN where there is none."""
        pairs = zip(self.norms, self.lengths.counts, strict=True)
        return tuple(_over(norm, count) if count else math.nan for norm, count in pairs)

    @property
    def factor(self) -> float:
        """r: what one more branch on a single path multiplies its gradient's norm by.

        Fitted to the logarithm of ``sampled``'s mean norms (least squares over the length);
        NaN where fewer than two of them are positive. If all branches had this factor and
        all paths added up alike, the mass would be binomial with p = r/(1 + r).
        """
        points = [(s.length, math.log(s.mean_norm)) for s in self.sampled if s.mean_norm > 0]
        if len(points) < 2:
            return math.nan
        middle = sum(k for k, _ in points) / len(points)
        slope = sum((k - middle) * y for k, y in points) / sum((k - middle) ** 2 for k, _ in points)
        return math.exp(slope)

    @property
    def sampled_mean_length(self) -> float:
        """Mean length weighted with ``sampled``'s masses, as Veit et al. weight it; NaN without."""
        total = sum(s.mass for s in self.sampled)
        return sum(s.length * s.mass for s in self.sampled) / total if total else math.nan

    @property
    def masses(self) -> tuple[float, ...]:
        """‖g_k‖ / Σ_k ‖g_k‖: how the gradient spreads over the lengths, all positive."""
        total = sum(self.norms)
        return tuple(n / total if total else math.nan for n in self.norms)

    @property
    def mean_length(self) -> float:
        """Gradient-weighted mean length, Σ k·mass_k."""
        return sum(k * m for k, m in enumerate(self.masses))

    @property
    def central_range(self) -> tuple[int, int]:
        """Shortest and longest length of the central 95 % of the mass (2.5 % cut off each end)."""
        below, low, high = 0.0, 0, len(self.norms) - 1
        found_low = False
        for k, mass in enumerate(self.masses):
            below += mass
            if not found_low and below > 0.025:
                low, found_low = k, True
            if below >= 0.975:
                high = k
                break
        return low, high

    def to_records(self) -> list[dict[str, object]]:
        """One row per length, for ``pandas.DataFrame``."""
        from resnet_viz.core.flow_records import path_records

        return path_records(self)


def _over(norm: float, count: int) -> float:
    """``norm / count`` for counts that no float can hold."""
    shift = max(count.bit_length() - 1000, 0)
    return math.ldexp(norm / (count >> shift), -shift)
