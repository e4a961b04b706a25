"""What becomes of a signal on its way through the net, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resnet_viz.core.display import Savable
from resnet_viz.core.graph import OpId


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Moments of one tensor, per channel, averaged over the channels.

    Attributes:
        squared_mean: Mean over channels of (mean over batch and space)².
        variance: Mean over channels of the variance over batch and space.
        second: Mean of the squares of all elements.
    """

    squared_mean: float
    variance: float
    second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSignal:
    """The signal at one residual block (Brock, De & Smith 2021, 2101.08692, section 3).

    Attributes:
        name: The block's module path, or its join where a module holds several.
        join: The op that closes it.
        stage: The stage it belongs to; empty for none.
        changes: Whether it changes resolution or channels or its shortcut is a projection; a
            concatenation, which always adds channels, does not count.
        output: Of what leaves the block: the join's output before any activation after it.
        branch: Of the residual branch F(x) as it enters the join (after its scale, if it has
            one); of a concatenation the new features.
        ratio: ‖F(x)‖/‖S(x)‖ per sample, mean over the batch.
        grad_output: Of the loss's gradient at the join's output; ``None`` without a loss.
        grad_input: Of the gradient at the block's fork.
        grad_ratio: ‖what came back over the branch‖ / ‖what came back over the shortcut‖
            at the fork; ``None`` where the two cannot be told apart there.
    """

    name: str
    join: OpId
    stage: str = ""
    changes: bool = False
    output: Moments
    branch: Moments
    ratio: float
    grad_output: Moments | None = None
    grad_input: Moments | None = None
    grad_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSignal:
    """The signal at one weighted layer.

    Attributes:
        op: The call.
        output: Of its output.
        grad_output: Of the loss's gradient there; ``None`` without any.
    """

    op: OpId
    output: Moments
    grad_output: Moments | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """Singular values of a Jacobian J from one place to another, in eval mode.

    Batch norm then divides by its running deviation, which in a fresh net is 1. Where J has
    no more rows than probes were allowed, all of it is computed and nothing estimated.

    Attributes:
        start: What it is taken with respect to: the input's name, an embedding's output, or
            a block's fork.
        end: What is differentiated: the output's name, or a block's join.
        rows: Output elements of one sample.
        columns: Input elements of one sample.
        mean_square: tr(JJᵀ)/rows, Hutchinson's estimate with Rademacher probes.
        mean_square_error: Its standard error over the probes; 0 where nothing is estimated,
            NaN for a single probe.
        mean_fourth: tr((JJᵀ)²)/rows.
        mean_fourth_error: Its standard error.
        largest: Largest singular value, by Lanczos with full re-orthogonalisation.
        smallest: Smallest of min(rows, columns), as far as Lanczos found it: an upper bound
            unless ``exact``. Known no better than to the square root of the rounding error
            of ``largest`` (3e-4 of it in float32) where it is estimated.
        exact: Whether Lanczos ran until the Krylov space was exhausted, or all of J was
            computed.
        probes: Of Hutchinson; 0 where all of J was computed.
        steps: Of Lanczos; likewise.
        samples: Samples of the batch it is the mean over.
    """

    start: str
    end: str
    rows: int
    columns: int
    mean_square: float
    mean_square_error: float
    mean_fourth: float
    mean_fourth_error: float
    largest: float
    smallest: float
    exact: bool = False
    probes: int
    steps: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shattering:
    """How alike the gradients of different samples are (Balduzzi et al. 2017, 1702.08591).

    In eval mode, of one random linear readout of the output, the same for every sample.

    Attributes:
        places: Where, from the output back: before each block (after each weighted layer, of
            a net without blocks), by its name; the last is the input or its embedding.
        correlations: Mean cosine of the gradients of two samples there.
        samples: Samples compared.
    """

    places: tuple[str, ...]
    correlations: tuple[float, ...]
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalPropagation(Savable):
    """Forward and backward signal propagation of one batch.

    Attributes:
        model: Name of the net.
        mode: ``train`` or ``eval`` of the forward plots.
        batch_size: Samples.
        data: What they were, in words.
        loss: What was differentiated, in words; empty without a backward.
        blocks: Per residual block, in forward order.
        layers: Per weighted layer, in forward order.
        spectra: Jacobians: input to output, and every block where asked for.
        shattering: Correlation of gradients; ``None`` where not measured.
        skipped: What could not be measured, each with its reason.
        device: The device it ran on, as text.
    """

    model: str
    mode: Literal["train", "eval"]
    batch_size: int
    data: str
    loss: str = ""
    blocks: tuple[BlockSignal, ...]
    layers: tuple[LayerSignal, ...] = ()
    spectra: tuple[Spectrum, ...] = ()
    shattering: Shattering | None = None
    skipped: tuple[str, ...] = ()
    device: str = "cpu"

    def to_records(self) -> list[dict[str, object]]:
        """One row per block, for ``pandas.DataFrame``."""
        from resnet_viz.core.flow_records import propagation_records

        return propagation_records(self)
