"""A deep net and a shallow one with the same weights, and how to silence what is extra.

He et al. 2015, section 3.1: if the added layers are identity mappings, the deeper net
has no greater error than its shallower counterpart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from resnet_viz.core.errors import UserError
from resnet_viz.sources.family.parts import BLOCKS, INITS, ORDERS
from resnet_viz.sources.family.resnet_config import ResNetConfig
from resnet_viz.sources.variants import build, configure

How = Literal["norm", "convolution"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """Two nets that differ in how many blocks their stages hold.

    Attributes:
        deep: In eval mode, with every weight of ``shallow`` at the same name.
        shallow: In eval mode.
        extra: Paths of the blocks that only ``deep`` has, in forward order.
    """

    deep: nn.Module
    shallow: nn.Module
    extra: tuple[str, ...]

    def blocks(self) -> Iterator[tuple[int, int, str, nn.Module]]:
        """Stage, index in it (both from 1 on), path and module of each block of ``deep``."""
        for stage, count in enumerate(_config(self.deep).blocks, start=1):
            for index in range(count):
                path = f"layer{stage}.{index}"
                yield stage, index + 1, path, self.deep.get_submodule(path)

    @property
    def copied(self) -> int:
        """Scalars that both nets have."""
        return sum(p.numel() for p in self.shallow.parameters())

    @property
    def added(self) -> int:
        """Scalars of the extra blocks."""
        return sum(p.numel() for p in self.deep.parameters()) - self.copied


def pair_configs(deep: str, shallow: str) -> tuple[ResNetConfig, ResNetConfig]:
    """The configs of two variants of which one has more blocks, and nothing else.

    Raises:
        UserError: For unknown names, or if they differ in anything else.
    """
    configs = configure(deep), configure(shallow)
    more, fewer = configs
    if not (isinstance(more, ResNetConfig) and isinstance(fewer, ResNetConfig)):
        raise UserError(f"{deep} and {shallow} must both be ResNets, such as resnet56 and resnet20")
    if "none" in (more.shortcut, fewer.shortcut):
        raise UserError(
            f"{deep} and {shallow} need shortcuts: give residual nets; their plain twins are "
            "compared as well"
        )
    alike = len(more.blocks) == len(fewer.blocks) and more.changed(blocks=fewer.blocks) == fewer
    if not alike:
        raise UserError(
            f"{deep} and {shallow} differ in more than their blocks per stage: "
            "give two depths of one kind of net, such as resnet56 and resnet20"
        )
    if more.blocks == fewer.blocks or any(
        a < b for a, b in zip(more.blocks, fewer.blocks, strict=True)
    ):
        raise UserError(
            f"{deep} must have more blocks than {shallow} in some stage and fewer in none: "
            "give the deeper net first"
        )
    return more, fewer


def make_pair(deep: ResNetConfig, shallow: ResNetConfig, inputs: Tensor) -> Pair:
    """Both nets with weights from torch's global generator, shared where both have them.

    Scales of norms, and what begins at zero, are drawn as well, as if the nets were
    trained: what holds then holds for any weights. Running statistics are those of the inputs.
    """
    more, fewer = (build(config) for config in (deep, shallow))
    for net in (more, fewer):
        _draw(net, inputs)
    more.load_state_dict(fewer.state_dict(), strict=False)
    extra = (
        f"layer{stage}.{index}"
        for stage, counts in enumerate(zip(deep.blocks, shallow.blocks, strict=True), start=1)
        for index in range(counts[1], counts[0])
    )
    return Pair(deep=more, shallow=fewer, extra=tuple(extra))


def plain_twin(pair: Pair) -> Pair:
    """The same nets without shortcuts, with the same weights, silent where ``pair`` is.

    Raises:
        UserError: If this kind of net does not go without shortcuts.
    """
    twins = []
    for net in (pair.deep, pair.shallow):
        twin = build(_config(net).changed(shortcut="none")).eval()
        # What stood on a shortcut has no place any more.
        twin.load_state_dict(net.state_dict(), strict=False)
        twins.append(twin)
    return Pair(deep=twins[0], shallow=twins[1], extra=pair.extra)


def _draw(net: nn.Module, inputs: Tensor) -> None:
    momenta: dict[nn.BatchNorm2d, float | None] = {}
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
        if isinstance(module, nn.BatchNorm2d):
            # Of the next batch, all of it.
            momenta[module], module.momentum = module.momentum, 1.0
    for parameter in net.parameters():
        # Shifts, and the multipliers that begin there.
        if not parameter.any():
            nn.init.normal_(parameter, 0, 0.1)
    net.train()(inputs)
    net.eval()
    for norm, momentum in momenta.items():
        norm.momentum = momentum


class Silencer:
    """What the extra blocks' branches end with, and how loud it is.

    Attributes:
        words: What is set to zero, for people.
    """

    def __init__(self, pair: Pair, how: How = "norm") -> None:
        """Finds the last thing that scales each branch; changes nothing yet.

        Args:
            pair: The nets.
            how: Whether a norm at the end of the branch is silenced or the convolution
                before it. Where the branch ends with a multiplier, that one is; where with
                a convolution, that one.
        """
        config = _config(pair.deep)
        last = len(BLOCKS[config.block].kernels)
        ends_normed = "norm" in ORDERS[config.order].last
        # Silent once and for all: what a norm adds to what the convolution gives.
        shifts: list[Tensor] = []
        self._scaled: list[tuple[Tensor, Tensor]] = []
        for path in pair.extra:
            block = pair.deep.get_submodule(path)
            norm, convolution = block.get_submodule(f"bn{last}"), block.get_submodule(f"conv{last}")
            normed = ends_normed and any(True for _ in norm.parameters())
            if INITS[config.init].scaffold in ("skipinit", "rezero"):
                self.words = "the scalar at the end of the branch"
                ends = list(block.get_submodule("multiplier").parameters())
            elif normed and how == "norm":
                self.words = "scale and shift of the branch's last norm"
                ends = list(norm.parameters())
            else:
                self.words = "the branch's last convolution"
                ends = list(convolution.parameters())
                if normed:
                    self.words += ", and shift and running mean of the norm after it"
                    mean = dict(norm.named_buffers()).get("running_mean")
                    shifts += [dict(norm.named_parameters())["bias"]]
                    shifts += [] if mean is None else [mean]
            self._scaled += [(end, end.detach().clone()) for end in ends]
        with torch.no_grad():
            for shift in shifts:
                shift.zero_()

    def scale(self, factor: float) -> None:
        """Multiplies what the branches end with, as it was drawn, by ``factor``; 0 is silence."""
        with torch.no_grad():
            for tensor, drawn in self._scaled:
                tensor.copy_(factor * drawn)


def _config(net: nn.Module) -> ResNetConfig:
    config = net.config
    assert isinstance(config, ResNetConfig)
    return config
