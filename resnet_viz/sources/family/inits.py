"""How weights begin: one walk over the modules, as the row of ``INITS`` says.

Norms keep PyTorch's 1 and 0. On the meta device there is nothing to draw, and nothing is:
building a net to look at its structure costs no more than its modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from resnet_viz.sources.family.parts import BLOCKS, INITS, ORDERS, Init
from resnet_viz.sources.family.resnet_config import ResNetConfig
from resnet_viz.sources.family.standardised_convs import ScaledConv2d

_SMALL = 0.01


class _Drawn(Protocol):
    """What a config says about weights."""

    @property
    def init(self) -> str: ...
    @property
    def init_std(self) -> float: ...


def initialise(model: nn.Module, config: _Drawn, **options: Any) -> None:
    """Draws the weights of ``model`` anew from torch's global generator.

    Convolutions are drawn in the order of ``model.modules()``, which is torchvision's; their
    biases begin at 0, those of gates at ``first_bias``. The last layer begins as
    ``Init.linear`` says: with ``he`` as PyTorch drew it, so that one seed gives torchvision's
    weights; ``xavier``, ``orthogonal`` and ``normal``, which are there to be compared, draw
    it too. Fixup scales the convolutions of each branch by L^(-1/(2m-2)) and begins the last
    of its m with 0 (Zhang et al. 2019, 1901.09321, section 3). With ``nf`` the gain of the
    very first convolution begins at 1/γ: it sees images, and no activation whose loss of
    variance γ would make up for.

    Args:
        model: Just built; its parameters besides weights of convolutions and of the last
            layer have their first value already.
        config: Its config.
        **options: Of the drawing function, over those of the row.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        return
    part = INITS[config.init]
    draw = _drawing(part, config, options)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            draw(module.weight)
            if module.bias is not None:
                nn.init.constant_(module.bias, getattr(module, "first_bias", 0.0))
    _begin_last(linear[-1], part, draw)
    scaled = [module for module in model.modules() if isinstance(module, ScaledConv2d)]
    for stem in scaled[:1]:
        nn.init.constant_(stem.gain, 1 / stem.gamma)
    if isinstance(config, ResNetConfig):
        for block in model.modules():
            if hasattr(block, "downsample"):
                _begin_branch(block, config)


def _drawing(part: Init, config: _Drawn, options: dict[str, Any]) -> Callable[[Tensor], Any]:
    function = getattr(nn.init, part.function)
    chosen = {**part.options, **options}
    if config.init == "normal":
        chosen["std"] = config.init_std
    return lambda weight: function(weight, **chosen)


def _begin_last(layer: nn.Linear, part: Init, draw: Callable[[Tensor], Any]) -> None:
    if part.linear == "default":
        return
    if part.linear == "zeros":
        nn.init.zeros_(layer.weight)
    elif part.linear == "small":
        nn.init.normal_(layer.weight, std=_SMALL)
    else:
        draw(layer.weight)
    nn.init.zeros_(layer.bias)


def _begin_branch(block: nn.Module, config: ResNetConfig) -> None:
    """What the last norm and the convolutions of one residual branch have of their own."""
    count = len(BLOCKS[config.block].kernels)
    convs = [block.get_submodule(f"conv{index + 1}") for index in range(count)]
    last = convs[-1]
    assert isinstance(last, nn.Conv2d)
    if config.init == "fixup":
        scale = sum(config.blocks) ** (-1 / (2 * count - 2))
        with torch.no_grad():
            for conv in convs[:-1]:
                conv.weight *= scale
        nn.init.zeros_(last.weight)
    if config.zero_gamma:
        _zero_end(block, last, config, count)


def _zero_end(block: nn.Module, last: nn.Conv2d, config: ResNetConfig, count: int) -> None:
    """Makes the branch end in 0: by its last norm, or by its last convolution without one."""
    if isinstance(last, ScaledConv2d):
        nn.init.zeros_(last.gain)
    elif "norm" in ORDERS[config.order].last and config.norm != "none":
        nn.init.zeros_(block.get_submodule(f"bn{count}").get_parameter("weight"))
    else:
        nn.init.zeros_(last.weight)
