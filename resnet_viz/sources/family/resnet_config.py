"""``ResNetConfig``: one frozen value that says all there is to say about a ResNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from resnet_viz.core.errors import UserError
from resnet_viz.sources.family.combinations import ONLY_WITH, check_together
from resnet_viz.sources.family.net_config import (
    NetConfig,
    check_count,
    check_known,
    check_number,
    check_sizes,
    dashed,
)
from resnet_viz.sources.family.parts import (
    ACTIVATIONS,
    ANTIALIASES,
    ATTENTIONS,
    BLOCKS,
    INITS,
    NORMS,
    ORDERS,
    SHORTCUTS,
    STEMS,
    STRIDES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResNetConfig(NetConfig):
    """A ResNet (He et al. 2015, arXiv 1512.03385; 2016, 1603.05027), or its plain twin.

    Attributes:
        blocks: Blocks per stage. Each stage but the first halves the resolution.
        block: The residual branch, one of ``BLOCKS``; ``preact_basic`` and
            ``preact_bottleneck`` are these with ``order="preact"``.
        order: Where norm and activation stand, one of ``ORDERS``.
        widths: Width of each stage; a block puts out ``width · expansion`` channels.
        stem: One of ``STEMS``.
        stem_width: Channels of the stem; the first stage's width if ``None``.
        cardinality: Groups of the 3×3 convolution of a bottleneck (ResNeXt).
        base_width: Inner channels of a bottleneck per group, for each 64 of the stage's
            width (ResNeXt's d; 128 is Wide ResNet-50-2).
        shortcut: One of ``SHORTCUTS``: A pads with zeros, B projects where the shape
            changes, C projects everywhere, D averages before it projects, none makes a
            plain net; the others are table 1 of He et al. 2016.
        shortcut_scale: What ``shortcut="scaled"`` multiplies the shortcut by.
        branch_scale: What it multiplies the branch by.
        gate_bias: First bias of the gates.
        shortcut_dropout: Probability of ``shortcut="dropout"``.
        stride: Where a bottleneck takes its stride: ``v1`` in the first 1×1 (the
            paper), ``v1.5`` in the 3×3 (torchvision). Basic blocks have it in their first
            3×3 either way.
        norm: One of ``NORMS``; without one, convolutions have a bias.
        activation: One of ``ACTIVATIONS``.
        attention: On the branch before the addition: ``none``, ``se`` (1709.01507),
            ``eca`` (1910.03151) or ``cbam`` (1807.06521).
        attention_reduction: Channels over the channels inside ``se`` and ``cbam``.
        attention_divisor: What these inner channels are rounded to a multiple of.
        dropout: Probability of dropout between the convolutions of a branch (Wide
            ResNet).
        stochastic_depth: Probability of dropping the last block's branch; earlier ones
            fall linearly to 0 (Huang et al. 2016, 1603.09382).
        antialias: What strided convolutions and pools become: ``none``, ``blur``
            (Zhang 2019, 1904.11486) or ``average``.
        output_stride: Input over output resolution of the last stage; later stages
            dilate instead of stride. The natural one if ``None``.
        zero_gamma: Whether the last norm of each branch begins with 0, or its last
            convolution where no norm comes behind.
        init: One of ``INITS``.
        init_std: Standard deviation of ``init="normal"``.

    Raises:
        UserError: For a part that is not in its dict, a size that is not positive, or
            options that do not go together or have no effect beside the others.
    """

    family: ClassVar[str] = "resnet"
    only_with: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]] = ONLY_WITH
    headlined: ClassVar[tuple[str, ...]] = ("blocks", "block", "widths")

    blocks: tuple[int, ...]
    block: str = "basic"
    order: str = "original"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: str = "imagenet"
    stem_width: int | None = None
    cardinality: int = 1
    base_width: int = 64
    shortcut: str = "B"
    shortcut_scale: float = 0.5
    branch_scale: float = 1.0
    gate_bias: float = -6.0
    shortcut_dropout: float = 0.5
    stride: str = "v1.5"
    norm: str = "batch"
    activation: str = "relu"
    attention: str = "none"
    attention_reduction: float = 16
    attention_divisor: int = 1
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    antialias: str = "none"
    output_stride: int | None = None
    zero_gamma: bool = False
    init: str = "he"
    init_std: float = 0.01

    def __post_init__(self) -> None:
        if str(self.block).startswith("preact_"):
            if self.order not in ("original", "preact"):
                raise UserError(
                    f"block={self.block!r} means order='preact' and order is {self.order!r}: "
                    f"give block={self.block.removeprefix('preact_')!r} with that order"
                )
            object.__setattr__(self, "block", self.block.removeprefix("preact_"))
            object.__setattr__(self, "order", "preact")
        for option, known in _PARTS.items():
            object.__setattr__(self, option, check_known(option, getattr(self, option), known))
        for option in ("blocks", "widths"):
            object.__setattr__(self, option, check_sizes(option, getattr(self, option)))
        for option in _COUNTS:
            check_count(option, getattr(self, option))
        for option in ("stem_width", "output_stride"):
            if getattr(self, option) is not None:
                check_count(option, getattr(self, option))
        for option, bounds in _NUMBERS.items():
            check_number(option, getattr(self, option), *bounds)
        if not isinstance(self.zero_gamma, bool):
            raise UserError(f"zero_gamma={self.zero_gamma!r} is not allowed: give true or false")
        self.check_effects()
        check_together(self)

    @property
    def depth(self) -> int:
        """Weighted layers as He et al. count them, a deep stem as one; many nets' number."""
        return sum(self.blocks) * len(BLOCKS[self.block].kernels) + 2

    @property
    def side(self) -> int:
        """Height and width of the images it was made for."""
        return STEMS[self.stem].side

    @property
    def block_name(self) -> str:
        """The block, with ``preact_`` before it where norm and activation come first."""
        return f"preact_{self.block}" if self.order == "preact" else self.block

    @property
    def shortcut_name(self) -> str:
        """The shortcut option."""
        return self.shortcut

    @property
    def stem_channels(self) -> int:
        """Channels that the first stage gets."""
        return self.stem_width or self.widths[0] * STEMS[self.stem].out

    @property
    def conv_bias(self) -> bool:
        """Whether convolutions have a bias: without a norm, but Fixup has its own."""
        return NORMS[self.norm].conv_bias and INITS[self.init].scaffold != "fixup"

    def inner_channels(self, width: int) -> int:
        """Channels of the 3×3 convolution in a bottleneck of a stage of ``width``."""
        return width * self.base_width // 64 * self.cardinality

    def attention_channels(self, channels: int) -> int:
        """Channels inside SE and CBAM over ``channels``: the nearest multiple allowed."""
        divisor = self.attention_divisor
        wanted = channels / self.attention_reduction + divisor / 2
        return max(divisor, int(wanted) // divisor * divisor)

    @property
    def headline(self) -> str:
        """Kind, depth and sizes, in words."""
        return (
            f"{'plain' if self.shortcut == 'none' else 'residual'} net of depth {self.depth}: "
            f"{self.block} blocks {dashed(self.blocks)}, widths {dashed(self.widths)}"
        )


_PARTS: dict[str, tuple[str, ...]] = {
    "block": tuple(BLOCKS),
    "order": tuple(ORDERS),
    "stem": tuple(STEMS),
    "shortcut": tuple(SHORTCUTS),
    "stride": STRIDES,
    "norm": tuple(NORMS),
    "activation": tuple(ACTIVATIONS),
    "attention": ATTENTIONS,
    "antialias": ANTIALIASES,
    "init": tuple(INITS),
}
_COUNTS = ("num_classes", "in_channels", "cardinality", "base_width", "attention_divisor")
_NUMBERS: dict[str, tuple[float | None, float | None]] = {
    "dropout": (0, 1),
    "stochastic_depth": (0, 1),
    "shortcut_dropout": (0, 1),
    "shortcut_scale": (None, None),
    "branch_scale": (None, None),
    "gate_bias": (None, None),
    "attention_reduction": (0, None),
    "init_std": (0, None),
}
