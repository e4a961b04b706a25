"""The families by name: the config and the module of each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from resnet_viz.core.errors import UserError
from resnet_viz.sources.family.densenet_config import DenseNetConfig
from resnet_viz.sources.family.highway_config import HighwayConfig
from resnet_viz.sources.family.net_config import NetConfig
from resnet_viz.sources.family.resnet_config import ResNetConfig
from resnet_viz.sources.names import did_you_mean

if TYPE_CHECKING:
    from torch import nn

CONFIGS: dict[str, type[NetConfig]] = {
    "resnet": ResNetConfig,
    "densenet": DenseNetConfig,
    "highway": HighwayConfig,
}
MODULES: dict[str, str] = {
    "resnet": "resnet_viz.sources.family.resnet:ResNet",
    "densenet": "resnet_viz.sources.family.densenet:DenseNet",
    "highway": "resnet_viz.sources.family.highway:Highway",
}
"""Where the module is: its import waits until a net is built, because it needs torch."""


def config_class(family: object) -> type[NetConfig]:
    """The config of a family.

    Raises:
        UserError: If there is no such family, with near misses.
    """
    if isinstance(family, str) and family in CONFIGS:
        return CONFIGS[family]
    raise UserError(
        f"family={family!r} is not known{did_you_mean(str(family), CONFIGS)}; "
        f"the families are: {', '.join(CONFIGS)}"
    )


def module_of(config: NetConfig) -> nn.Module:
    """The net that ``config`` describes, on torch's default device, in training mode.

    Raises:
        UserError: If its weights do not fit into memory.
    """
    place, _, name = MODULES[config.family].partition(":")
    try:
        made: Any = getattr(import_module(place), name)(config)
    except RuntimeError as error:
        # The CPU allocator raises a bare RuntimeError.
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise UserError(
            "this net does not fit into memory: give smaller numbers (num_classes, in_channels, "
            "widths, blocks)"
        ) from error
    net: nn.Module = made
    return net
