"""``ResNetConfig``: one frozen value that says all there is to say about a ResNet.

Each choice is a name in one of the small dicts below. A row holds what both the
builder (``blocks``, ``resnet``) and the closed forms (``variants``) read, so a new
choice is a new row. No torch here: listing models must be instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from resnet_viz.core.errors import UserError
from resnet_viz.sources.names import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Stem:
    """What comes before the first stage.

    Attributes:
        kernel: Size of its one convolution, padded by half.
        stride: Stride of that convolution.
        pool: Whether a 3×3 max pooling of stride 2 follows.
        side: Height and width of the images it was made for.
    """

    kernel: int
    stride: int
    pool: bool
    side: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A residual branch.

    Attributes:
        module: Class in ``resnet_viz.sources.blocks``.
        kernels: Size of each of its convolutions, in order.
        expansion: Output channels over the stage's width.
        strided: Which of its convolutions takes the stride, for each stride place.
    """

    module: str
    kernels: tuple[int, ...]
    expansion: int
    strided: Mapping[str, int]


ShortcutKind = Literal["none", "identity", "pad", "projection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """What runs beside a branch.

    Attributes:
        changing: In blocks that change resolution or channels.
        keeping: In all others.
    """

    changing: ShortcutKind
    keeping: ShortcutKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A normalisation after each convolution.

    Attributes:
        module: Class in ``torch.nn``, called with the number of channels.
        params: Parameters per channel.
        bias: Whether convolutions need a bias of their own.
    """

    module: str
    params: int
    bias: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """A nonlinearity: a class in ``torch.nn`` and whether it can work in place."""

    module: str
    inplace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """How convolutions begin: a function in ``torch.nn.init`` and its options."""

    function: str
    options: Mapping[str, str]


STEMS: dict[str, Stem] = {
    "imagenet": Stem(kernel=7, stride=2, pool=True, side=224),
    "cifar": Stem(kernel=3, stride=1, pool=False, side=32),
}
BLOCKS: dict[str, Block] = {
    "basic": Block(module="BasicBlock", kernels=(3, 3), expansion=1, strided={"v1": 0, "v1.5": 0}),
    "bottleneck": Block(
        module="Bottleneck", kernels=(1, 3, 1), expansion=4, strided={"v1": 0, "v1.5": 1}
    ),
}
SHORTCUTS: dict[str, Shortcut] = {
    "A": Shortcut(changing="pad", keeping="identity"),
    "B": Shortcut(changing="projection", keeping="identity"),
    "C": Shortcut(changing="projection", keeping="projection"),
    "none": Shortcut(changing="none", keeping="none"),
}
STRIDES = ("v1", "v1.5")
NORMS: dict[str, Norm] = {
    "batch": Norm(module="BatchNorm2d", params=2, bias=False),
    "none": Norm(module="Identity", params=0, bias=True),
}
ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(module="ReLU", inplace=True),
    "gelu": Activation(module="GELU"),
    "silu": Activation(module="SiLU", inplace=True),
    "tanh": Activation(module="Tanh"),
    "sigmoid": Activation(module="Sigmoid"),
}
INITS: dict[str, Init] = {
    "he": Init(function="kaiming_normal_", options={"mode": "fan_out", "nonlinearity": "relu"}),
    "xavier": Init(function="xavier_normal_", options={}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResNetConfig:
    """A ResNet of He et al. 2015 (arXiv 1512.03385), or its plain twin.

    Attributes:
        blocks: Blocks per stage. Each stage but the first halves the resolution.
        block: The residual branch, one of ``BLOCKS``.
        widths: Width of each stage; a block puts out ``width · expansion`` channels.
        stem: One of ``STEMS``.
        shortcut: One of ``SHORTCUTS``: A pads with zeros, B projects where the shape
            changes, C projects everywhere, none makes a plain net.
        stride: Where a bottleneck takes its stride: ``v1`` in the first 1×1 (the
            paper), ``v1.5`` in the 3×3 (torchvision).
        norm: One of ``NORMS``; without one, convolutions have a bias.
        activation: One of ``ACTIVATIONS``.
        num_classes: Outputs of the last layer.
        in_channels: Channels of the images.
        init: One of ``INITS``.

    Raises:
        UserError: For a part that is not in its dict or a size that is not positive.
    """

    blocks: tuple[int, ...]
    block: str = "basic"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: str = "imagenet"
    shortcut: str = "B"
    stride: str = "v1.5"
    norm: str = "batch"
    activation: str = "relu"
    num_classes: int = 1000
    in_channels: int = 3
    init: str = "he"

    def __post_init__(self) -> None:
        for option, known in _PARTS.items():
            object.__setattr__(self, option, _known(option, getattr(self, option), known))
        for option in ("blocks", "widths"):
            object.__setattr__(self, option, _sizes(option, getattr(self, option)))
        for option in ("num_classes", "in_channels"):
            _positive(option, getattr(self, option))
        if len(self.blocks) != len(self.widths):
            raise UserError(
                f"blocks={self.blocks} names {len(self.blocks)} stages and widths={self.widths} "
                f"{len(self.widths)}: give one width per stage"
            )

    @property
    def depth(self) -> int:
        """Weighted layers on the longest way: the number in the net's name."""
        return sum(self.blocks) * len(BLOCKS[self.block].kernels) + 2

    @property
    def input_size(self) -> tuple[int, int, int, int]:
        """``(1, C, H, W)`` of the images it was made for."""
        side = STEMS[self.stem].side
        return (1, self.in_channels, side, side)

    def changed(self, **changes: Any) -> ResNetConfig:
        """The same config with these options set otherwise.

        Raises:
            UserError: For an option that does not exist (the known ones are listed) or
                a value that is not allowed.
        """
        options = [field.name for field in fields(self)]
        for option in changes:
            if option not in options:
                raise UserError(
                    f"unknown option {option!r}{did_you_mean(option, options)}; "
                    f"the options are: {', '.join(options)}"
                )
        return replace(self, **changes)

    def __str__(self) -> str:
        return (
            f"{'plain' if self.shortcut == 'none' else 'residual'} net of depth {self.depth}: "
            f"{self.block} blocks {_dashed(self.blocks)}, widths {_dashed(self.widths)}, "
            f"{self.stem} stem, shortcut {self.shortcut}, stride {self.stride}, "
            f"norm {self.norm}, {self.activation}, {self.init} init, "
            f"{self.in_channels} channels to {self.num_classes} classes"
        )


_PARTS: dict[str, tuple[str, ...]] = {
    "block": tuple(BLOCKS),
    "stem": tuple(STEMS),
    "shortcut": tuple(SHORTCUTS),
    "stride": STRIDES,
    "norm": tuple(NORMS),
    "activation": tuple(ACTIVATIONS),
    "init": tuple(INITS),
}


def _known(option: str, value: object, known: tuple[str, ...]) -> str:
    # ``norm=None`` is how Python says "none".
    name = "none" if value is None and "none" in known else value
    if name in known:
        return str(name)
    raise UserError(
        f"{option}={value!r} is not known{did_you_mean(str(value), known)}; "
        f"allowed: {', '.join(known)}"
    )


def _positive(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{option}={value!r} is not allowed: give a whole number above 0")


def _sizes(option: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or not value:
        raise UserError(
            f"{option}={value!r} is not allowed: give one number per stage, "
            f"such as {option}=(3,4,6,3)"
        )
    for item in value:
        _positive(option, item)
    return tuple(value)


def _dashed(sizes: tuple[int, ...]) -> str:
    return "-".join(map(str, sizes))
