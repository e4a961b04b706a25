"""What a net costs, as sums over its config: nothing is built, torch is not needed.

Parameters are all trainable scalars. MACs are the multiply-accumulates of one image of
``config.input_size`` in convolutions and linear layers, attention, gates and blur
included; 1 MAC = 2 FLOPs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from resnet_viz.sources.family.densenet_costs import densenet_cost
from resnet_viz.sources.family.highway_costs import highway_cost
from resnet_viz.sources.family.net_config import NetConfig
from resnet_viz.sources.family.resnet_costs import resnet_cost

_COSTS: dict[str, Callable[[Any], tuple[int, int]]] = {
    "resnet": resnet_cost,
    "densenet": densenet_cost,
    "highway": highway_cost,
}


@lru_cache(maxsize=1024)
def closed_form(config: NetConfig) -> tuple[int, int]:
    """Parameters and multiply-accumulates of the net that ``config`` describes."""
    return _COSTS[config.family](config)
