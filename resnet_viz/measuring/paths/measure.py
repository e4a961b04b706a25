"""One forward, and its gradient split by path length."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import (
    ModelError,
    NotApplicableError,
    ResnetVizError,
    UserError,
    one_line,
)
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.paths import PathGradients, PathLengths
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.autograd_graph import Place
from resnet_viz.measuring.device import model_device, placed, to_host
from resnet_viz.measuring.gradients.products import dot
from resnet_viz.measuring.losses import LossFunction
from resnet_viz.measuring.one_pass import Forwarded, Setting
from resnet_viz.measuring.paths.graded import Segment, graded_backward, segments_of
from resnet_viz.measuring.paths.network import Network, network_of
from resnet_viz.measuring.paths.pulling import metadata, wide_row
from resnet_viz.measuring.paths.running import run_towards_input, start_of
from resnet_viz.measuring.paths.sampling import Paths, Sample, lengths_to_sample, sample

WORST_RESIDUAL = 1e-3
"""‖Σ g_k − g‖/‖g‖ above which the parts are not those of the gradient."""

WORST_IN_HALF = 0.25
"""The same where some of the backward is in half precision, which rounds to 1 % at each op."""

CHUNK_OFF_CPU = 16
"""Degrees in one batched backward where a kernel costs more to launch than to run. A CPU
gains nothing from batches."""


class Prepared(NamedTuple):
    """A forward, ready to be split.

    Attributes:
        at: The op whose output the gradient is taken with respect to.
        slot: Which output of its autograd node that is.
        loss: What was differentiated, in words.
        batch_size: Samples.
        lengths: All paths, counted in the autograd graph of this very forward.
        gradient: g, from an ordinary backward.
        seed: The gradient of the loss.
        samples: Drawn paths.
        segments: What the graded backward uses up.
        worst: The residual that rounding may leave.
    """

    at: OpId
    slot: int
    loss: str
    batch_size: int
    lengths: PathLengths
    gradient: Tensor
    seed: Tensor
    samples: list[Sample]
    segments: list[Segment]
    worst: float


def measure_paths(
    model: nn.Module,
    batch: Batch,
    *,
    graph: ModelGraph,
    structure: Structure,
    loss_fn: LossFunction | None = None,
    mode: Literal["train", "eval"] | None = None,
    device: torch.device | None = None,
    seed: int = 0,
    draws: int = 0,
    lengths: Sequence[int] | None = None,
    chunk: int | None = None,
    progress: Progress = SILENT,
) -> PathGradients:
    """The gradient at the input by the number of residual branches it came through.

    Counted are the residual joins of ``structure``: sums and concatenations, nested ones
    too; gates are part of what they gate. The forward is one and the same for all lengths,
    so batch norm and dropout are fixed. After an activation behind the sum (He et al. 2015)
    its mask is applied to shortcut and branch alike.

    The gradient is taken at the first input that the loss depends on, or at the output of
    its embedding where it holds token ids; other inputs start no path here.

    Memory: that of the forward, n + 1 gradients the size of a block's input (n + 1 of
    ``PathLengths.counts``), and what ``chunk`` degrees need inside one block.

    Args:
        model: Left as it came.
        batch: One batch.
        graph: Its trace.
        structure: The skips in it.
        loss_fn: See ``losses.choose_loss`` for what happens without one.
        mode: Train or eval mode for this call; the mode the model has if ``None``.
        device: Where to run; a copy is measured if the model lives elsewhere.
        seed: Of dropout, of labels where none are given, and of the draws.
        draws: Paths to draw per length; all of them, once each, where there are no more.
        lengths: Which lengths to draw paths of; all, or about 20 of them, if ``None``.
        chunk: Degrees in one batched backward; the results are the same up to rounding.
        progress: Told of each piece of the net.

    Raises:
        UserError: Like ``measure_gradients``; for lengths that no path has, and for lengths
            without draws.
        ModelError: If ``forward`` or ``backward`` raises.
        NotApplicableError: If no gradient reaches the input, a residual join is hidden
            inside a custom function, or the parts do not add up to the gradient.
    """
    if draws < 0 or (lengths is not None and not draws):
        raise UserError(f"draws={draws}: give how many paths of each length to draw, 1 or more")
    model = placed(model, device)
    here = model_device(model)
    setting = Setting(model=model, graph=graph, device=here, loss_fn=loss_fn, mode=mode)
    with ExitStack() as stack:
        ready = prepare(
            run_towards_input(stack, setting, batch, seed=seed),
            graph,
            structure,
            seed=seed,
            draws=draws,
            wanted=lengths,
            progress=progress,
        )
        began = time.perf_counter()
        progress.start("paths", len(ready.segments))
        with _in_backward():
            parts = graded_backward(
                ready.segments,
                ready.seed,
                chunk=max(1, chunk or (1 if here.type == "cpu" else CHUNK_OFF_CPU)),
                progress=progress,
            )
            terms = [None if slots is None else slots[ready.slot] for slots in parts]
            numbers = iter(to_host(_numbers(ready, terms)))
        progress.finish()
        norms, shares, norm, residual = _read(
            numbers, terms, len(ready.lengths.counts), ready.worst
        )
        seconds = time.perf_counter() - began
        return PathGradients(
            model=graph.name,
            at=ready.at,
            loss=ready.loss,
            mode="train" if model.training else "eval",
            batch_size=ready.batch_size,
            data=batch.words,
            lengths=ready.lengths,
            norms=norms,
            shares=shares,
            norm=norm,
            residual=residual,
            sampled=tuple(s.read(numbers) for s in ready.samples),
            device=str(here),
            seconds=seconds,
        )


def prepare(
    forwarded: Forwarded,
    graph: ModelGraph,
    structure: Structure,
    *,
    seed: int,
    draws: int,
    wanted: Sequence[int] | None = None,
    progress: Progress = SILENT,
) -> Prepared:
    """All that needs the whole autograd graph; only the segments hold on to it after."""
    op, at = start_of(forwarded, graph)
    root = Place(forwarded.root, forwarded.loss.output_nr)
    net = network_of(root, at, forwarded.nodes, graph, structure)
    one = torch.ones_like(forwarded.loss)
    paths = Paths(net)
    samples: list[Sample] = []
    with _in_backward():
        (gradient,) = torch.autograd.grad(
            forwarded.loss, [GradientEdge(at.node, at.slot)], retain_graph=True
        )
        if draws:
            random, chosen = Random(seed), lengths_to_sample(paths.lengths, wanted)
            progress.start("sampled paths", len(chosen))
            for length in chosen:
                samples.append(sample(paths, one, length, draws, random))
                progress.advance()
            progress.finish()
    return Prepared(
        at=op,
        slot=at.slot,
        loss=forwarded.loss_name,
        batch_size=forwarded.batch_size,
        lengths=paths.lengths,
        gradient=gradient,
        seed=one,
        samples=samples,
        segments=segments_of(net),
        worst=WORST_IN_HALF if _rounds(net) else WORST_RESIDUAL,
    )


def _rounds(net: Network) -> bool:
    dtypes = {meta.dtype for node in net.order for meta in metadata(node)}
    return any(dtype.is_floating_point and dtype.itemsize < 4 for dtype in dtypes)


@contextmanager
def _in_backward() -> Iterator[None]:
    """Within it no graph of gradients is made, and what the model's own backward raises is said."""
    try:
        with torch.no_grad():
            yield
    except ResnetVizError:
        raise
    except Exception as error:  # a custom Function's backward may raise anything
        raise ModelError(f"backward raised: {one_line(error)}") from error


def _numbers(ready: Prepared, terms: list[Tensor | None]) -> list[Tensor]:
    whole = wide_row(ready.gradient)
    rest = whole.clone()
    numbers = [dot(whole, whole)]
    for term in terms:
        if term is not None:
            row = wide_row(term)
            rest -= row
            numbers += [dot(row, row), dot(row, whole)]
    return [*numbers, dot(rest, rest), *(n for s in ready.samples for n in s.numbers)]


def _read(
    numbers: Iterator[float], terms: list[Tensor | None], count: int, worst: float
) -> tuple[tuple[float, ...], tuple[float, ...], float, float]:
    """Norm and share of each term, the gradient's norm, and what the terms leave out of it."""
    square = next(numbers)
    if not math.isfinite(square):
        raise NotApplicableError("the gradient at the input is not finite")
    if square == 0:
        raise NotApplicableError(
            "the gradient at the input is exactly zero and has no parts: is the last layer "
            "initialised to zero, or every unit dead?"
        )
    norms, shares = [0.0] * count, [0.0] * count
    for k, term in enumerate(terms):
        if term is not None:
            norms[k] = math.sqrt(next(numbers))
            shares[k] = next(numbers) / square
    norm = math.sqrt(square)
    residual = math.sqrt(next(numbers)) / norm
    if not residual <= worst:
        raise NotApplicableError(
            f"the parts differ from the gradient by {residual:.2g} of its norm: something in "
            "the model changes gradients on their way (a tensor hook, a module's backward hook)"
        )
    return tuple(norms), tuple(shares), norm, residual
