"""One net of the depth experiment at initialisation: built, run forward and back, measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_viz.core.experiments.common import LayerNorms
from resnet_viz.core.experiments.depth import DepthRun, NetKind
from resnet_viz.experiments.depth.closed_theory import largest_slope
from resnet_viz.experiments.depth.conv_gain import conv_gain
from resnet_viz.experiments.depth.mean_field import (
    WideBlock,
    WideConv,
    predicted_factors,
    textbook_factor,
)
from resnet_viz.experiments.gradient_norms import weight_layers
from resnet_viz.measuring.device import to_host
from resnet_viz.sources.seeding import seeded
from resnet_viz.sources.variants import build


def build_kind(
    kind: NetKind, depth: int, widths: tuple[int, ...], in_channels: int, classes: int, seed: int
) -> nn.Module:
    """The CIFAR net of He et al. 2015 of that kind, in train mode, in float32.

    The plain net of a seed has the weights of the residual one: option A has none.

    Args:
        kind: What kind of net.
        depth: Weighted layers: two for each block and two more, the blocks spread evenly
            over the stages.
        widths: Channels of the stages.
        in_channels: Channels of the images.
        classes: Logits.
        seed: Of the weights.
    """
    with seeded(seed):
        return build(
            "resnet20",
            blocks=((depth - 2) // (2 * len(widths)),) * len(widths),
            widths=widths,
            shortcut="A" if kind.residual else "none",
            activation=kind.activation,
            init=kind.init,
            norm=kind.norm,
            in_channels=in_channels,
            num_classes=classes,
        )


def probe(
    kind: NetKind,
    depth: int,
    *,
    widths: tuple[int, ...],
    inputs: Tensor,
    labels: Tensor,
    classes: int,
    seed: int,
) -> DepthRun:
    """What one forward and one backward say of one net, beside what theory says.

    Args:
        kind: What kind of net.
        depth: Weighted layers.
        widths: Channels of the stages.
        inputs: ``(N, C, H, W)``, float32.
        labels: ``(N,)``, int64.
        classes: Logits.
        seed: Of the weights.
    """
    model = build_kind(kind, depth, widths, inputs.shape[1], classes, seed)
    stages = _stages(model, len(widths))
    blocks = [block for stage in stages for block in stage]
    loss, norms, outputs = _chain(model, blocks, inputs, labels)
    layers = tuple(weight_layers(model))
    plan = _plan(blocks)
    stem = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    predicted, source = predicted_factors(kind, WideConv.of(stem), plan, inputs)
    slope = largest_slope(kind.activation)
    bounded = slope is not None and kind.norm == "none" and not kind.residual
    gains = tuple(_gain(block) for block in blocks) if bounded else ()
    model, wide_inputs = model.double(), inputs.double()
    _, exact, _ = _chain(model, blocks, wide_inputs, labels)
    with _wrapped(model):
        _, wrapped, _ = _chain(model, blocks, wide_inputs, labels)
    return DepthRun(
        kind=kind,
        depth=depth,
        seed=seed,
        loss=loss,
        weights=LayerNorms(step=0, layers=layers, norms=norms[len(blocks) + 1 :]),
        activations=norms[: len(blocks) + 1],
        exact=exact[: len(blocks) + 1],
        wrapped=wrapped[: len(blocks) + 1],
        outputs=outputs,
        stages=tuple(number for number, stage in enumerate(stages, 1) for _ in stage),
        slope=slope,
        forced=1 if kind.residual else 2,
        gains=gains,
        predicted=predicted,
        source=source,
        textbook=textbook_factor(kind),
    )


def norms_of(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norms in float64, free of overflow and underflow of the squares.

    The squares of a float32 gradient of 1e-30 are no float32: it must not read as zero
    before it is.
    """
    peaks = torch.stack([tensor.detach().abs().amax().double() for tensor in tensors])
    scales = torch.where((peaks > 0) & peaks.isfinite(), peaks, 1.0)
    parts = [t.detach().double() / scale for t, scale in zip(tensors, scales, strict=True)]
    return torch.stack(torch._foreach_norm(parts)) * scales


def _gain(block: nn.Module) -> float:
    return math.prod(conv_gain(conv.weight) for conv in _convs(block))


def _convs(block: nn.Module) -> list[nn.Conv2d]:
    return [module for module in block.modules() if isinstance(module, nn.Conv2d)]


def _plan(blocks: Sequence[nn.Module]) -> list[WideBlock]:
    pairs = [_convs(block) for block in blocks]
    return [
        WideBlock(WideConv.of(a), WideConv.of(b), a.in_channels, b.out_channels) for a, b in pairs
    ]


def _stages(model: nn.Module, count: int) -> list[list[nn.Module]]:
    return [
        list(model.get_submodule(f"layer{number}").children()) for number in range(1, count + 1)
    ]


def _chain(
    model: nn.Module, blocks: Sequence[nn.Module], inputs: Tensor, labels: Tensor
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """Loss, gradient norms (first block's input, blocks' outputs, weights), output RMS."""
    with _seen(blocks) as found:
        loss = functional.cross_entropy(model(inputs), labels)
    weights = list(weight_layers(model).values())
    gradients = torch.autograd.grad(loss, [*found, *weights])
    outputs = found[1:]
    sizes = torch.tensor([output.numel() for output in outputs], dtype=torch.float64)
    scales = norms_of(outputs) / sizes.sqrt()
    numbers = to_host([loss.detach().double(), *norms_of(gradients), *scales])
    cut = 1 + len(gradients)
    return numbers[0], tuple(numbers[1:cut]), tuple(numbers[cut:])


@contextmanager
def _seen(blocks: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """The first block's input and every block's output, as the forward inside makes them."""
    found: list[Tensor] = []
    handles = [blocks[0].register_forward_pre_hook(lambda _, given: found.append(given[0]))]
    handles += [
        block.register_forward_hook(lambda _m, _g, out: found.append(out)) for block in blocks
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _wrapped(model: nn.Module) -> Iterator[None]:
    """Convolutions see the image's other side where they saw zeros.

    A hook and no ``padding_mode``: that is read when a convolution is made.
    """

    def wrap(conv: nn.Module, given: tuple[Tensor]) -> Tensor:
        assert isinstance(conv, nn.Conv2d)
        side = conv.kernel_size[0] // 2
        return functional.pad(given[0], (side,) * 4, mode="circular")

    convs = _convs(model)
    kept = [conv.padding for conv in convs]
    handles = [conv.register_forward_pre_hook(wrap) for conv in convs]
    try:
        for conv in convs:
            conv.padding = (0, 0)
        yield
    finally:
        for conv, padding in zip(convs, kept, strict=True):
            conv.padding = padding
        for handle in handles:
            handle.remove()
