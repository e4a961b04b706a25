"""The networks this tool builds by name, and what they cost in closed form.

Torch is imported only by ``build``: ``closed_form`` and ``VARIANTS`` are what
``resnet-viz models`` prints, and that must be instant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_viz.core.errors import UserError
from resnet_viz.sources.config import BLOCKS, NORMS, SHORTCUTS, STEMS, ResNetConfig
from resnet_viz.sources.names import did_you_mean

if TYPE_CHECKING:
    from resnet_viz.sources.resnet import ResNet

_IMAGENET = {
    18: ResNetConfig(blocks=(2, 2, 2, 2)),
    34: ResNetConfig(blocks=(3, 4, 6, 3)),
    50: ResNetConfig(blocks=(3, 4, 6, 3), block="bottleneck"),
    101: ResNetConfig(blocks=(3, 4, 23, 3), block="bottleneck"),
    152: ResNetConfig(blocks=(3, 8, 36, 3), block="bottleneck"),
}


def _cifar(depth: int) -> ResNetConfig:
    """The net of 6n + 2 layers of He et al. 2015, section 4.2."""
    return ResNetConfig(
        blocks=((depth - 2) // 6,) * 3,
        widths=(16, 32, 64),
        stem="cifar",
        shortcut="A",
        num_classes=10,
    )


VARIANTS: dict[str, ResNetConfig] = {
    **{f"resnet{depth}": config for depth, config in _IMAGENET.items()},
    **{f"resnet{depth}": _cifar(depth) for depth in (20, 32, 44, 56, 110, 1202)},
    **{f"plain{depth}": _IMAGENET[depth].changed(shortcut="none") for depth in (18, 34)},
    **{f"plain{depth}": _cifar(depth).changed(shortcut="none") for depth in (20, 32, 44, 56, 110)},
}


def configure(name: str, **changes: Any) -> ResNetConfig:
    """The config of a named variant, with some options changed.

    Raises:
        UserError: For an unknown name (with near misses), option or value.
    """
    if name not in VARIANTS:
        raise UserError(
            f"unknown variant {name!r}{did_you_mean(name, VARIANTS)}; "
            f"the variants are: {', '.join(VARIANTS)}"
        )
    return VARIANTS[name].changed(**changes)


def build(name: str, **changes: Any) -> ResNet:
    """A named variant as a module in training mode, on torch's default device.

    Its parameters are named as torchvision names them and drawn from torch's global
    generator: seed it for a repeatable net. The module keeps its config as ``.config``.

    Args:
        name: One of ``VARIANTS``.
        **changes: Options of ``ResNetConfig`` to set otherwise.

    Raises:
        UserError: For an unknown name (with near misses), option or value.
    """
    config = configure(name, **changes)
    from resnet_viz.sources.resnet import ResNet

    return ResNet(config)


class _Convs(NamedTuple):
    """``times`` equal convolutions, each with a normalisation behind it."""

    times: int
    kernel: int
    in_channels: int
    out_channels: int
    out_side: int


def closed_form(config: ResNetConfig) -> tuple[int, int]:
    """Parameters and multiply-accumulates, as sums over the config.

    Parameters are all trainable scalars. MACs are those of one image of
    ``config.input_size`` in convolutions and the last linear layer; 1 MAC = 2 FLOPs.
    """
    norm = NORMS[config.norm]
    per_channel = norm.params + norm.bias
    features = config.widths[-1] * BLOCKS[config.block].expansion
    params = (features + 1) * config.num_classes
    macs = features * config.num_classes
    for times, kernel, fan_in, fan_out, side in _convolutions(config):
        weights = kernel * kernel * fan_in * fan_out
        params += times * (weights + per_channel * fan_out)
        macs += times * weights * side * side
    return params, macs


def _convolutions(config: ResNetConfig) -> Iterator[_Convs]:
    stem = STEMS[config.stem]
    side = _after(stem.side, stem.kernel, stem.stride)
    channels = config.widths[0]
    yield _Convs(1, stem.kernel, config.in_channels, channels, side)
    if stem.pool:
        side = _after(side, 3, 2)
    for stage, (count, width) in enumerate(zip(config.blocks, config.widths, strict=True)):
        stride = 1 if stage == 0 else 2
        yield from _block(config, 1, channels, width, side, stride)
        side = _after(side, 1, stride)
        channels = width * BLOCKS[config.block].expansion
        yield from _block(config, count - 1, channels, width, side, 1)


def _block(
    config: ResNetConfig, times: int, channels: int, width: int, side: int, stride: int
) -> Iterator[_Convs]:
    part = BLOCKS[config.block]
    out = width * part.expansion
    changing = stride != 1 or channels != out
    shortcut = SHORTCUTS[config.shortcut]
    if (shortcut.changing if changing else shortcut.keeping) == "projection":
        yield _Convs(times, 1, channels, out, _after(side, 1, stride))
    last = len(part.kernels) - 1
    for index, kernel in enumerate(part.kernels):
        if index == part.strided[config.stride]:
            side = _after(side, kernel, stride)
        yield _Convs(times, kernel, channels, out if index == last else width, side)
        channels = width


def _after(side: int, kernel: int, stride: int) -> int:
    """Side of a feature map after a convolution padded by half its kernel."""
    return (side + 2 * (kernel // 2) - kernel) // stride + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRow:
    """One line of ``resnet-viz models``.

    Attributes:
        name: As ``build`` takes it.
        block: ``basic`` or ``bottleneck``.
        shortcut: Option of He et al. 2015, or ``none`` for a plain net.
        input_size: ``(1, C, H, W)``.
        params: Scalars, in closed form over the config.
        macs: Multiply-accumulates of one input, likewise.
    """

    name: str
    block: str
    shortcut: str
    input_size: tuple[int, ...]
    params: int
    macs: int


def list_variants(pattern: str = "") -> tuple[VariantRow, ...]:
    """The variants whose name holds ``pattern`` or matches it with wildcards.

    Raises:
        UserError: If there is none, with near misses.
    """
    names = [n for n in VARIANTS if pattern in n or fnmatchcase(n, pattern)]
    if not names:
        raise UserError(
            f"no variant matches {pattern!r}{did_you_mean(pattern, VARIANTS)}; "
            f"the variants are: {', '.join(VARIANTS)}"
        )
    return tuple(_row(name, VARIANTS[name]) for name in names)


def _row(name: str, config: ResNetConfig) -> VariantRow:
    params, macs = closed_form(config)
    return VariantRow(
        name=name,
        block=config.block,
        shortcut=config.shortcut,
        input_size=config.input_size,
        params=params,
        macs=macs,
    )
