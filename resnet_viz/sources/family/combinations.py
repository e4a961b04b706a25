"""Which options of a ``ResNetConfig`` go together, and which mean something only beside others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from resnet_viz.core.errors import UserError
from resnet_viz.sources.family.parts import BLOCKS, INITS, ORDERS, SHORTCUTS, STEMS

if TYPE_CHECKING:
    from resnet_viz.sources.family.resnet_config import ResNetConfig

ONLY_WITH: dict[str, tuple[str, tuple[str, ...]]] = {
    "shortcut_scale": ("shortcut", ("scaled",)),
    "branch_scale": ("shortcut", ("scaled",)),
    "gate_bias": ("shortcut", ("exclusive_gate", "shortcut_gate")),
    "shortcut_dropout": ("shortcut", ("dropout",)),
    "attention_reduction": ("attention", ("se", "cbam")),
    "attention_divisor": ("attention", ("se", "cbam")),
    "init_std": ("init", ("normal",)),
}
"""Options that only mean something beside these values of another one."""


def check_together(config: ResNetConfig) -> None:
    """Nothing, where the options of ``config`` describe a net.

    Raises:
        UserError: Where two of them contradict each other.
    """
    for complaint in _complaints(config):
        raise UserError(complaint)


def _complaints(config: ResNetConfig) -> Iterator[str]:
    if len(config.blocks) != len(config.widths):
        yield (
            f"blocks={config.blocks} names {len(config.blocks)} stages and "
            f"widths={config.widths} {len(config.widths)}: give one width per stage"
        )
    if config.attention_reduction == 0:
        yield "attention_reduction=0 is not allowed: give a number above 0, such as 16"
    yield from _widths(config)
    yield from _strides(config)
    yield from _plain(config)
    if config.zero_gamma:
        yield from _stuck(config)
    for option, allowed in INITS[config.init].needs.items():
        if getattr(config, option) not in allowed:
            yield (
                f"init={config.init!r} is not for nets with {option}="
                f"{getattr(config, option)!r}: give {option}={' or '.join(map(repr, allowed))} "
                "as well"
            )


def _plain(config: ResNetConfig) -> Iterator[str]:
    if config.shortcut != "none":
        return
    for option, off in (("zero_gamma", False), ("stochastic_depth", 0.0)):
        value = getattr(config, option)
        if value != off:
            yield (
                f"{option}={value!r} is for nets with shortcuts and shortcut is 'none', where "
                f"nothing would pass: give {option}={off!r}, or a shortcut"
            )


def _stuck(config: ResNetConfig) -> Iterator[str]:
    """Branches that would begin with 0 and get no gradient either."""
    if INITS[config.init].scaffold in ("skipinit", "rezero"):
        yield (
            f"zero_gamma=True and init={config.init!r} put a zero behind a zero, and neither "
            "would ever learn: give zero_gamma=False"
        )
    if "act" in ORDERS[config.order].last and config.activation == "relu":
        yield (
            f"zero_gamma=True puts zeros in front of the relu that ends a branch with order="
            f"{config.order!r}, which lets no gradient back: give zero_gamma=False, or another "
            "activation"
        )


def _widths(config: ResNetConfig) -> Iterator[str]:
    if config.block == "basic" and (config.cardinality, config.base_width) != (1, 64):
        yield (
            f"cardinality={config.cardinality} and base_width={config.base_width} need a "
            "bottleneck: give block='bottleneck', or 1 and 64"
        )
    if config.block == "bottleneck":
        for width in config.widths:
            if not config.inner_channels(width):
                yield (
                    f"base_width={config.base_width} leaves no channel inside a bottleneck of "
                    f"width {width}: give at least {-(-64 // width)}"
                )
    if SHORTCUTS[config.shortcut].changing == "pad":
        expansion = BLOCKS[config.block].expansion
        channels = [config.stem_channels, *(width * expansion for width in config.widths)]
        if channels != sorted(channels):
            yield (
                f"shortcut={config.shortcut!r} adds channels and cannot take any away, and "
                f"the stages put out {channels}: let them grow, or give shortcut='B'"
            )


def _strides(config: ResNetConfig) -> Iterator[str]:
    stride = config.output_stride
    first = STEMS[config.stem].stride
    allowed = [first << stage for stage in range(len(config.blocks))]
    if stride is not None and stride not in allowed:
        yield (
            f"output_stride={stride} cannot be reached by {len(config.blocks)} stages behind "
            f"the {config.stem} stem: give one of {', '.join(map(str, allowed))}"
        )
