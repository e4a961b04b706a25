"""The choices a ``ResNetConfig`` is made of: small dicts from a name to its facts.

A row holds what both the builder and the closed forms read, so a new choice is a new
row. No torch here: listing models must be instant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Stem:
    """What comes before the first stage.

    Attributes:
        kernels: Size of each of its convolutions, padded by half.
        strides: Stride of each.
        widths: Channels of each over the stem's width.
        pool: What follows: ``max`` (3×3, stride 2), ``zero_padded_max`` (the same with zeros
            outside, as BiT has it), ``ceil_max`` (3×3, stride 2, rounded up without padding, as
            Caffe has it), ``conv`` (3×3, stride 2, with norm and activation, as
            ResNet-RS has it) or ``none``.
        side: Height and width of the images it was made for.
        out: Channels it puts out over the width of the first stage.
    """

    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    widths: tuple[float, ...]
    pool: Literal["max", "zero_padded_max", "ceil_max", "conv", "none"]
    side: int = 224
    out: int = 1

    @property
    def stride(self) -> int:
        """Input over output resolution."""
        return math.prod(self.strides) * (1 if self.pool == "none" else 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A residual branch.

    Attributes:
        kernels: Size of each of its convolutions, in order.
        expansion: Output channels over the stage's width.
        strided: Which of its convolutions takes the stride, for each stride place.
    """

    kernels: tuple[int, ...]
    expansion: int
    strided: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Where norm and activation stand: figure 4 of He et al. 2016 (1603.05027).

    Attributes:
        before: What the branch has before each convolution.
        after: What it has after each convolution but the last.
        last: What it has after the last one, before the addition.
        joined: What follows the addition.
        preactivated: Whether shape-changing shortcuts start behind the first norm and
            activation, and the net ends with a norm and an activation of its own. A first
            block that keeps its shape passes on the stem's output as it is, as in timm's and
            Zagoruyko's code; the paper has it normed and activated.
    """

    before: tuple[Literal["norm", "act"], ...]
    after: tuple[Literal["norm", "act"], ...]
    last: tuple[Literal["norm", "act"], ...]
    joined: tuple[Literal["norm", "act"], ...]
    preactivated: bool = False


ShortcutKind = Literal["none", "identity", "pad", "projection", "average"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """What runs beside a branch.

    Attributes:
        changing: In blocks that change resolution or channels: every n-th pixel and zero
            channels (``pad``), a strided 1×1 convolution (``projection``) or average pooling
            and a 1×1 convolution (``average``).
        keeping: In all others.
        through: What multiplies it, from table 1 of He et al. 2016: a constant
            (``scale``), 1 - g with g(x) on the branch (``exclusive_gate``), 1 - g alone
            (``shortcut_gate``) or ``dropout``; empty for nothing.
    """

    changing: ShortcutKind
    keeping: ShortcutKind
    through: Literal["", "scale", "exclusive_gate", "shortcut_gate", "dropout"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A normalisation.

    Attributes:
        params: Parameters per channel.
        conv_bias: Whether convolutions need a bias of their own.
        standardised: Whether convolutions standardise their weights (Qiao et al. 2019,
            1903.10520).
    """

    params: int
    conv_bias: bool = False
    standardised: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """A nonlinearity: a class in ``torch.nn``, its options, whether it works in place.

    Attributes:
        module: In ``torch.nn``.
        gain: NF's γ: one over the standard deviation of its output for inputs N(0, 1),
            as estimated in the reference code of Brock et al. 2021 (2102.06171), so that
            published weights give published outputs. Exactly, relu's is
            √(2 / (1 - 1/π)) = 1.71286.
        inplace: Whether it can work in place.
        options: Of the class.
    """

    module: str
    gain: float
    inplace: bool = False
    options: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """How weights begin, and what the net needs for it.

    Attributes:
        function: In ``torch.nn.init``, for convolutions.
        options: Of that function.
        scaffold: What blocks get besides: scalar biases and multipliers (``fixup``), one
            scalar before the addition (``skipinit``, ``rezero``), or scaled standardised
            convolutions with variance bookkeeping (``nf``); empty for nothing.
        linear: How the last layer begins: as PyTorch and torchvision leave it
            (``default``), drawn like the convolutions (``same``), N(0, 0.01²) (``small``) or
            0 (``zeros``). But for ``default``, its bias is 0.
        needs: Options it does not go without, with the values they may have.
        source: Paper.
    """

    function: str
    options: Mapping[str, str | float] = field(default_factory=dict)
    scaffold: Literal["", "fixup", "skipinit", "rezero", "nf"] = ""
    linear: Literal["default", "same", "small", "zeros"] = "default"
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source: str = ""


NF_ALPHA = 0.2
"""What NF nets multiply each branch by (Brock et al. 2021, 2101.08692)."""

STEMS: dict[str, Stem] = {
    "imagenet": Stem(kernels=(7,), strides=(2,), widths=(1,), pool="max"),
    "C": Stem(kernels=(3, 3, 3), strides=(2, 1, 1), widths=(0.5, 0.5, 1), pool="max"),
    "S": Stem(kernels=(3, 3, 3), strides=(2, 1, 1), widths=(0.5, 0.5, 1), pool="max", out=2),
    "T": Stem(kernels=(3, 3, 3), strides=(2, 1, 1), widths=(0.375, 0.5, 1), pool="max"),
    "RS": Stem(kernels=(3, 3, 3), strides=(2, 1, 1), widths=(0.5, 0.5, 1), pool="conv"),
    "bit": Stem(kernels=(7,), strides=(2,), widths=(1,), pool="zero_padded_max"),
    "caffe": Stem(kernels=(7,), strides=(2,), widths=(1,), pool="ceil_max"),
    "cifar": Stem(kernels=(3,), strides=(1,), widths=(1,), pool="none", side=32),
}
BLOCKS: dict[str, Block] = {
    "basic": Block(kernels=(3, 3), expansion=1, strided={"v1": 0, "v1.5": 0}),
    "bottleneck": Block(kernels=(1, 3, 1), expansion=4, strided={"v1": 0, "v1.5": 1}),
}
ORDERS: dict[str, Order] = {
    "original": Order(before=(), after=("norm", "act"), last=("norm",), joined=("act",)),
    "norm_after_add": Order(before=(), after=("norm", "act"), last=(), joined=("norm", "act")),
    "act_before_add": Order(before=(), after=("norm", "act"), last=("norm", "act"), joined=()),
    "act_only_preact": Order(before=("act",), after=("norm",), last=("norm",), joined=()),
    # Not He's: the basic blocks of the first SE-ResNets in PyTorch have it before the squeeze.
    "act_twice": Order(before=(), after=("norm", "act"), last=("norm", "act"), joined=("act",)),
    "preact": Order(before=("norm", "act"), after=(), last=(), joined=(), preactivated=True),
}
SHORTCUTS: dict[str, Shortcut] = {
    "A": Shortcut(changing="pad", keeping="identity"),
    "B": Shortcut(changing="projection", keeping="identity"),
    "C": Shortcut(changing="projection", keeping="projection"),
    "D": Shortcut(changing="average", keeping="identity"),
    "scaled": Shortcut(changing="pad", keeping="identity", through="scale"),
    "exclusive_gate": Shortcut(changing="pad", keeping="identity", through="exclusive_gate"),
    "shortcut_gate": Shortcut(changing="pad", keeping="identity", through="shortcut_gate"),
    "dropout": Shortcut(changing="pad", keeping="identity", through="dropout"),
    "none": Shortcut(changing="none", keeping="none"),
}
STRIDES = ("v1", "v1.5")
NORMS: dict[str, Norm] = {
    "batch": Norm(params=2),
    "group": Norm(params=2),
    "group_ws": Norm(params=2, standardised=True),
    "layer": Norm(params=2),
    "none": Norm(params=0, conv_bias=True),
}
ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(module="ReLU", gain=1.7139588594436646, inplace=True),
    "leaky": Activation(
        module="LeakyReLU", gain=1.70590341091156, inplace=True, options={"negative_slope": 0.01}
    ),
    "elu": Activation(module="ELU", gain=1.2716004848480225, inplace=True),
    "gelu": Activation(module="GELU", gain=1.7015043497085571),
    "silu": Activation(module="SiLU", gain=1.7881293296813965, inplace=True),
    "tanh": Activation(module="Tanh", gain=1.5939117670059204),
    "sigmoid": Activation(module="Sigmoid", gain=4.803835391998291),
}
ATTENTIONS = ("none", "se", "eca", "cbam")
ANTIALIASES = ("none", "blur", "average")
_SKIPS = tuple(name for name in SHORTCUTS if name != "none")
INITS: dict[str, Init] = {
    "he": Init(
        function="kaiming_normal_",
        options={"mode": "fan_out", "nonlinearity": "relu"},
        source="He et al. 2015 (1502.01852)",
    ),
    "xavier": Init(function="xavier_normal_", linear="same", source="Glorot & Bengio 2010"),
    "orthogonal": Init(
        function="orthogonal_", linear="same", source="Saxe et al. 2014 (1312.6120)"
    ),
    "normal": Init(function="normal_", linear="same", source="N(0, init_std²)"),
    "fixup": Init(
        function="kaiming_normal_",
        options={"mode": "fan_out", "nonlinearity": "relu"},
        scaffold="fixup",
        linear="zeros",
        needs={"norm": ("none",), "order": ("original",), "shortcut": _SKIPS},
        source="Zhang et al. 2019 (1901.09321)",
    ),
    "skipinit": Init(
        function="kaiming_normal_",
        options={"mode": "fan_out", "nonlinearity": "relu"},
        scaffold="skipinit",
        needs={"norm": ("none",), "shortcut": _SKIPS},
        source="De & Smith 2020 (2002.10444)",
    ),
    "rezero": Init(
        function="kaiming_normal_",
        options={"mode": "fan_out", "nonlinearity": "relu"},
        scaffold="rezero",
        needs={"norm": ("none",), "shortcut": _SKIPS},
        source="Bachlechner et al. 2020 (2003.04887)",
    ),
    "nf": Init(
        function="kaiming_normal_",
        options={"mode": "fan_in", "nonlinearity": "linear"},
        scaffold="nf",
        linear="small",
        needs={"norm": ("none",), "order": ("preact",), "shortcut": ("B", "C", "D")},
        source="Brock et al. 2021 (2101.08692)",
    ),
}
