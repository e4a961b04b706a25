"""How the gradient changes with depth, block by block, and what optimizers make of it."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from itertools import accumulate

from resnet_viz.core.experiments.common import Check, LayerNorms, Result
from resnet_viz.core.report import Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class NetKind:
    """What distinguishes one curve from another.

    Attributes:
        activation: One of the family's activations.
        init: One of the family's initialisations.
        norm: ``batch`` or ``none``.
        residual: Whether it has shortcuts (option A).
    """

    activation: str
    init: str
    norm: str
    residual: bool

    @property
    def label(self) -> str:
        """``relu, he, batch norm, residual``."""
        norm = "no norm" if self.norm == "none" else f"{self.norm} norm"
        return f"{self.activation}, {self.init}, {norm}, {'residual' if self.residual else 'plain'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthRun:
    """One net at initialisation: one forward and one backward in train mode.

    The chain is measured twice, with the same weights: in float32, as people train, and
    in float64, where it is still a number after float32 has rounded it to zero.

    Attributes:
        kind: What kind of net.
        depth: Weighted layers.
        seed: Of weights and data.
        loss: Cross entropy, in float32.
        weights: Norms of the gradients of the weights, in float32. Zero is what a float32
            gradient rounds to below 1.4e-45.
        activations: L2 norm of the float32 gradient with respect to the first block's input,
            then each block's output, in forward order.
        exact: The same in float64.
        wrapped: The same in float64 with images that wrap around instead of ending in zeros:
            what is left of the gap to ``textbook`` then is no matter of borders.
        outputs: Root mean square of each block's output, in float32, in forward order.
        stages: The stage of each block, from 1 on, in forward order.
        slope: Largest slope of the activation: 1/4 for sigmoid; ``None`` where it is 1 or
            more.
        forced: Activations in each block that no way back through it can avoid: two in a
            plain block, one, behind the addition, in a residual one.
        gains: For each block, in forward order, an upper bound of the product of the
            operator norms of its two convolutions; empty where it bounds nothing.
        predicted: What the theory of wide nets gives for each of ``factors``; empty where
            there is none. With batch norm it knows no borders: compare it with ``wrapped``.
        source: Of that theory.
        textbook: The closed form for one block of an infinitely wide net without borders;
            ``None`` where there is none.
    """

    kind: NetKind
    depth: int
    seed: int
    loss: float
    weights: LayerNorms
    activations: tuple[float, ...]
    exact: tuple[float, ...]
    wrapped: tuple[float, ...]
    outputs: tuple[float, ...]
    stages: tuple[int, ...]
    slope: float | None = None
    forced: int = 2
    gains: tuple[float, ...] = ()
    predicted: tuple[float, ...] = ()
    source: str = ""
    textbook: float | None = None

    @property
    def factors(self) -> tuple[float, ...]:
        """By which each block multiplies the gradient's norm on the way back, last block first.

        From the float64 chain.
        """
        return _factors(self.exact)

    @property
    def wrapped_factors(self) -> tuple[float, ...]:
        """``factors`` of the same net where images wrap around: without borders."""
        return _factors(self.wrapped)

    @property
    def products(self) -> tuple[float, ...]:
        """What is left of the gradient after each block: the running product of ``factors``."""
        return tuple(_over(value, self.exact[-1]) for value in self.exact[-2::-1])

    @property
    def bounds(self) -> tuple[float, ...]:
        """The activations' share of ``products`` at most: ``4^-L`` beside sigmoid.

        L counts the activations behind that no way avoids; the weights multiply this.
        """
        if self.slope is None:
            return ()
        share = self.slope**self.forced
        return tuple(share**done for done in range(1, len(self.outputs) + 1))

    @property
    def weight_bounds(self) -> tuple[float, ...]:
        """No ``products`` can exceed these: ``bounds`` times ``gains``, block by block."""
        gains = accumulate(reversed(self.gains), operator.mul)
        return tuple(bound * gain for bound, gain in zip(self.bounds, gains, strict=False))

    @property
    def expected(self) -> tuple[float, ...]:
        """The running product of ``predicted``."""
        return tuple(accumulate(self.predicted, operator.mul))

    @property
    def lost_after(self) -> int | None:
        """Blocks on the way back until the float32 gradient is zero or no number; or ``None``."""
        for done, norm in enumerate(reversed(self.activations)):
            if norm == 0 or not math.isfinite(norm):
                return done
        return None

    @property
    def per_block(self) -> float:
        """Geometric mean of ``factors``: below 1 the gradient vanishes, above it explodes."""
        return math.pow(_over(self.exact[0], self.exact[-1]), 1 / len(self.outputs))

    @property
    def per_wrapped_block(self) -> float:
        """The same where images wrap around: comparable with ``textbook``."""
        return math.pow(_over(self.wrapped[0], self.wrapped[-1]), 1 / len(self.outputs))


def _factors(norms: tuple[float, ...]) -> tuple[float, ...]:
    pairs = zip(norms[-2::-1], norms[:0:-1], strict=True)
    return tuple(_over(before, after) for before, after in pairs)


def _over(value: float, base: float) -> float:
    return value / base if base else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstSteps:
    """What one optimizer made of the first steps of one net.

    Attributes:
        kind: What kind of net.
        depth: Weighted layers.
        optimizer: ``sgd``, ``momentum`` or ``adam``.
        learning_rate: Of that optimizer.
        losses: Training loss before each step, and after the last; on the same batch always.
        layers: Names of the weights, in forward order.
        updates: ``‖Δw‖ / ‖w‖`` of each layer, for each step; 0 where every change is
            smaller than float32 can add.
        gradients: Norm of the gradient of each layer before the first step.
        seed: Of weights and data.
    """

    kind: NetKind
    depth: int
    optimizer: str
    learning_rate: float
    losses: tuple[float, ...]
    layers: tuple[str, ...]
    updates: tuple[tuple[float, ...], ...]
    gradients: tuple[float, ...] = ()
    seed: int

    @property
    def learned(self) -> float:
        """Loss after the last step over loss before the first; 1 is nothing learned."""
        return self.losses[-1] / self.losses[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthStudy(Result):
    """Vanishing and exploding gradients against depth.

    Attributes:
        depths: Weighted layers, rising.
        widths: Channels of the stages.
        batch_size: Samples of the one batch.
        data: What the batch is, in words.
        runs: Every net.
        steps: What optimizers made of some of them.
        checks: Measured factors beside the closed forms.
        provenance: Where it all comes from.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    batch_size: int
    data: str
    runs: tuple[DepthRun, ...]
    steps: tuple[FirstSteps, ...] = ()
    checks: tuple[Check, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def kinds(self) -> tuple[NetKind, ...]:
        """The kinds of net, in their order."""
        return tuple(dict.fromkeys(run.kind for run in self.runs))

    def of(self, kind: NetKind) -> tuple[DepthRun, ...]:
        """The nets of one kind, by depth, then by seed."""
        return tuple(run for run in self.runs if run.kind == kind)
