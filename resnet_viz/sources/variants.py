"""The networks this tool builds by name, and what they cost in closed form.

Torch is imported only by ``build``: ``closed_form`` and ``VARIANTS`` are what
``resnet-viz models`` prints, and that must be instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from resnet_viz.core.errors import UserError
from resnet_viz.sources.family.closed_forms import closed_form
from resnet_viz.sources.family.families import module_of
from resnet_viz.sources.family.named import he, others, preactivated, refined, trained, wider
from resnet_viz.sources.family.named.table import Table
from resnet_viz.sources.family.net_config import NetConfig
from resnet_viz.sources.names import did_you_mean

if TYPE_CHECKING:
    from torch import nn

TABLES: tuple[Table, ...] = (
    *he.TABLES,
    *wider.TABLES,
    *refined.TABLES,
    *preactivated.TABLES,
    *others.TABLES,
    *trained.TABLES,
)
"""The named nets of each paper, in the order they are listed in."""
VARIANTS: dict[str, NetConfig] = {
    name: config for table in TABLES for name, config in table.nets.items()
}
SOURCES: dict[str, str] = {name: table.source for table in TABLES for name in table.nets}
"""The paper of each variant."""


def configure(net: str | NetConfig, **changes: Any) -> NetConfig:
    """The config of a named variant, or the one given, with some options changed.

    Raises:
        UserError: For an unknown name (with near misses), option or value.
    """
    if isinstance(net, NetConfig):
        return net.changed(**changes)
    if not isinstance(net, str):
        raise UserError(f"{net!r} is neither the name of a variant nor a config; {_THE_VARIANTS}")
    if net not in VARIANTS:
        raise UserError(f"unknown variant {net!r}{did_you_mean(net, VARIANTS)}; {_THE_VARIANTS}")
    return VARIANTS[net].changed(**changes)


def build(net: str | NetConfig, **changes: Any) -> nn.Module:
    """A named variant, or what a config describes, as a module in training mode.

    Its parameters are named as torchvision or timm name them and drawn from torch's
    global generator: seed it for a repeatable net. The module keeps its config as
    ``.config`` and stands on torch's default device.

    Args:
        net: One of ``VARIANTS``, or a config.
        **changes: Options of the config to set otherwise.

    Raises:
        UserError: For an unknown name (with near misses), option or value.
    """
    return module_of(configure(net, **changes))


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRow:
    """One line of ``resnet-viz models``.

    Attributes:
        name: As ``build`` takes it.
        family: ``resnet``, ``densenet`` or ``highway``.
        block: The residual branch, such as ``bottleneck`` or ``preact_basic``.
        shortcut: What stands beside it: an option of ``ResNetConfig``, ``none`` for a
            plain net, ``concat`` in a DenseNet, ``gated`` in a highway net.
        input_size: ``(1, C, H, W)``.
        params: Scalars, in closed form over the config.
        macs: Multiply-accumulates of one input, likewise.
        source: Paper.
    """

    name: str
    family: str
    block: str
    shortcut: str
    input_size: tuple[int, ...]
    params: int
    macs: int
    source: str


def list_variants(pattern: str = "") -> tuple[VariantRow, ...]:
    """The variants whose name holds ``pattern`` or matches it with wildcards.

    Raises:
        UserError: If there is none, with near misses.
    """
    names = [n for n in VARIANTS if pattern in n or fnmatchcase(n, pattern)]
    if not names:
        raise UserError(
            f"no variant matches {pattern!r}{did_you_mean(pattern, VARIANTS)}; {_THE_VARIANTS}"
        )
    return tuple(_row(name, VARIANTS[name]) for name in names)


def _row(name: str, config: NetConfig) -> VariantRow:
    params, macs = closed_form(config)
    return VariantRow(
        name=name,
        family=config.family,
        block=config.block_name,
        shortcut=config.shortcut_name,
        input_size=config.input_size,
        params=params,
        macs=macs,
        source=SOURCES[name],
    )


_THE_VARIANTS = f"resnet-viz models lists all {len(VARIANTS)}"
