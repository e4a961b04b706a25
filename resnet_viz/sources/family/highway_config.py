"""``HighwayConfig``: one frozen value that says all there is to say about a highway net."""

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
from resnet_viz.sources.family.parts import ACTIVATIONS, INITS, NORMS


@dataclass(frozen=True, slots=True, kw_only=True)
class HighwayConfig(NetConfig):
    """A convolutional highway net (Srivastava et al. 2015, arXiv 1505.00387, 1507.06228).

    Each stage is a plain convolution that sets the width, then highway layers
    y = T(x) · H(x) + (1 - T(x)) · x. H is a convolution, norm and activation, T a convolution
    and a sigmoid. Max pooling stands between stages; a 1×1 convolution, average pooling and a
    linear layer end the net.

    Neither paper has a table of widths. The defaults are the 19 layers of the authors' code
    (github.com/flukeskywalker/highway-networks, cifar10-19layers): 2,256,838 parameters for
    10 classes, where the paper says 2.3 M. For its 32 layers and 1.25 M no code is published:
    ``layers=(9, 9, 9), widths=(32, 48, 64)`` is our choice and has 1,255,270.

    Attributes:
        layers: Highway layers per stage.
        widths: Channels of each stage.
        head_width: Channels of the last 1×1 convolution; 0 for none.
        gate_bias: First bias of T; the papers use -1 to -4, the deeper the lower.
        shortcut: ``gated``, or ``none`` for the plain twin y = H(x), of equal depth and
            width: that leaves out T and so about half of the parameters.
        dropout: Probability of dropout on the images, behind each pooling; the authors
            train with 0.2.
        norm: One of ``NORMS``, in H and the plain convolutions. The papers have none.
        activation: One of ``ACTIVATIONS``.
        init: One of ``INITS`` without a scaffold; the authors' is ``xavier``.
        init_std: Standard deviation of ``init="normal"``.

    Raises:
        UserError: For a part that is not in its dict, a size that is not allowed, a width
            too many or too few, or an option that has no effect beside the others.
    """

    family: ClassVar[str] = "highway"
    only_with: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]] = {
        "gate_bias": ("shortcut", ("gated",)),
        "init_std": ("init", ("normal",)),
    }
    headlined: ClassVar[tuple[str, ...]] = ("layers", "widths", "shortcut", "gate_bias")

    num_classes: int = 10
    layers: tuple[int, ...] = (4, 5, 5)
    widths: tuple[int, ...] = (32, 80, 128)
    head_width: int = 100
    gate_bias: float = -2.0
    shortcut: str = "gated"
    dropout: float = 0.0
    norm: str = "none"
    activation: str = "relu"
    init: str = "xavier"
    init_std: float = 0.01

    def __post_init__(self) -> None:
        for option, known in _PARTS.items():
            object.__setattr__(self, option, check_known(option, getattr(self, option), known))
        for option in ("layers", "widths"):
            object.__setattr__(self, option, check_sizes(option, getattr(self, option)))
        for option in ("num_classes", "in_channels"):
            check_count(option, getattr(self, option))
        if self.head_width != 0 or isinstance(self.head_width, bool):
            check_count("head_width", self.head_width)
        check_number("gate_bias", self.gate_bias)
        check_number("dropout", self.dropout, 0, 1)
        check_number("init_std", self.init_std, 0)
        self.check_effects()
        if len(self.layers) != len(self.widths):
            raise UserError(
                f"layers={self.layers} names {len(self.layers)} stages and widths={self.widths} "
                f"{len(self.widths)}: give one width per stage"
            )

    @property
    def depth(self) -> int:
        """Weighted layers on the longest way: the number in the net's name."""
        return sum(self.layers) + len(self.layers) + bool(self.head_width) + 1

    @property
    def features(self) -> int:
        """Channels that enter the last layer."""
        return self.head_width or self.widths[-1]

    @property
    def block_name(self) -> str:
        """What it repeats."""
        return "highway"

    @property
    def shortcut_name(self) -> str:
        """The shortcut option."""
        return self.shortcut

    @property
    def side(self) -> int:
        """Height and width of the images it was made for."""
        return 32

    @property
    def headline(self) -> str:
        """Kind, depth and sizes, in words."""
        gated = f"highway net with gate bias {self.gate_bias:g}"
        kind = gated if self.shortcut == "gated" else "plain net"
        return (
            f"{kind} of depth {self.depth}: {dashed(self.layers)} layers, "
            f"widths {dashed(self.widths)}"
        )


_PARTS: dict[str, tuple[str, ...]] = {
    "shortcut": ("gated", "none"),
    "norm": tuple(NORMS),
    "activation": tuple(ACTIVATIONS),
    "init": tuple(name for name, part in INITS.items() if not part.scaffold),
}
