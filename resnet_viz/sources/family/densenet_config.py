"""``DenseNetConfig``: one frozen value that says all there is to say about a DenseNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from resnet_viz.core.errors import UserError
from resnet_viz.sources.family.net_config import (
    NetConfig,
    check_count,
    check_known,
    check_number,
    check_sizes,
    dashed,
)
from resnet_viz.sources.family.parts import ACTIVATIONS, INITS, NORMS, STEMS


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseNetConfig(NetConfig):
    """A DenseNet (Huang et al. 2017, arXiv 1608.06993).

    Each layer reads what all layers of its block before it have put out, and adds
    ``growth_rate`` channels. With the defaults, any ``blocks`` make a DenseNet-BC for ImageNet.

    Attributes:
        blocks: Layers per dense block. Behind each block but the last, a transition (1×1
            convolution, average pooling) halves the resolution.
        growth_rate: Channels each layer adds (k of the paper).
        bn_size: Channels of the 1×1 convolution before each 3×3, over ``growth_rate``
            (torchvision's name; the paper's bottleneck, B, has 4); 0 for none.
        compression: Channels behind a transition over those before it (θ of the paper; its
            C has 0.5), rounded down.
        stem: ``imagenet`` (7×7, stride 2, norm, activation, pooling) or ``cifar`` (a bare
            3×3).
        stem_width: Channels of the stem.
        dropout: Probability of dropout behind each layer.
        norm: One of ``NORMS``; without one, convolutions have a bias.
        activation: One of ``ACTIVATIONS``.
        init: One of ``INITS`` without a scaffold; ``he`` is torchvision's, by fan-in.
        init_std: Standard deviation of ``init="normal"``.

    Raises:
        UserError: For a part that is not in its dict, a size that is not allowed, or an
            option that has no effect beside the others.
    """

    family: ClassVar[str] = "densenet"
    only_with: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]] = {
        "init_std": ("init", ("normal",)),
    }
    headlined: ClassVar[tuple[str, ...]] = ("blocks", "growth_rate")

    blocks: tuple[int, ...]
    growth_rate: int = 32
    bn_size: int = 4
    compression: float = 0.5
    stem: str = "imagenet"
    stem_width: int = 64
    dropout: float = 0.0
    norm: str = "batch"
    activation: str = "relu"
    init: str = "he"
    init_std: float = 0.01

    def __post_init__(self) -> None:
        for option, known in _PARTS.items():
            object.__setattr__(self, option, check_known(option, getattr(self, option), known))
        object.__setattr__(self, "blocks", check_sizes("blocks", self.blocks))
        for option in ("num_classes", "in_channels", "growth_rate", "stem_width"):
            check_count(option, getattr(self, option))
        if self.bn_size != 0 or isinstance(self.bn_size, bool):
            check_count("bn_size", self.bn_size)
        check_number("dropout", self.dropout, 0, 1)
        check_number("compression", self.compression, 0, 1)
        check_number("init_std", self.init_std, 0)
        self.check_effects()
        if min(self.block_inputs) < 1:
            raise UserError(
                f"compression={self.compression!r} leaves no channel behind a transition: "
                "give a number nearer to 1"
            )

    @property
    def block_inputs(self) -> tuple[int, ...]:
        """Channels that enter each dense block."""
        channels = [self.stem_width]
        for layers in self.blocks[:-1]:
            channels.append(int((channels[-1] + layers * self.growth_rate) * self.compression))
        return tuple(channels)

    @property
    def features(self) -> int:
        """Channels that enter the last layer."""
        return self.block_inputs[-1] + self.blocks[-1] * self.growth_rate

    @property
    def depth(self) -> int:
        """Weighted layers on the longest way: the number in the net's name."""
        per_layer = 2 if self.bn_size else 1
        return sum(self.blocks) * per_layer + len(self.blocks) + 1

    @property
    def block_name(self) -> str:
        """What it repeats, with ``bottleneck`` where a 1×1 comes before the 3×3."""
        return "dense_bottleneck" if self.bn_size else "dense"

    @property
    def shortcut_name(self) -> str:
        """How a layer gets what those before it put out."""
        return "concat"

    @property
    def side(self) -> int:
        """Height and width of the images it was made for."""
        return STEMS[self.stem].side

    @property
    def headline(self) -> str:
        """Kind, depth and sizes, in words."""
        return (
            f"dense net of depth {self.depth}: blocks of {dashed(self.blocks)} layers, "
            f"growth rate {self.growth_rate}"
        )


_PARTS: dict[str, tuple[str, ...]] = {
    "stem": ("imagenet", "cifar"),
    "norm": tuple(NORMS),
    "activation": tuple(ACTIVATIONS),
    "init": tuple(name for name, part in INITS.items() if not part.scaffold),
}
