"""``AttributionOptions``: what is asked of attributions, by captum's argument names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import Any, Literal, get_args

from resnet_viz.core.errors import UserError, listed

DEFAULT_METHODS = ("integrated_gradients", "saliency", "layer_grad_cam")
Trusting = Literal["off", "quick", "full"]
NoiseType = Literal["smoothgrad", "smoothgrad_sq", "vargrad"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttributionOptions:
    """What is asked of attributions.

    Attributes:
        target: What to explain: a class index or name, one per sample, ``argmax``,
            ``top3``, ``sum``, ``mean``, ``mask:FILE``, ``box:0``, ``token:5``, a function
            or ``file.py:function``; see ``measuring.attributions.targets``. The strongest
            class of each sample if ``None``.
        methods: Names of ``measuring.attributions.methods.METHODS``.
        layer: For methods that look at a layer: module paths, or ``auto``.
        force: Whether to run what is known to be wrong; the result says so.
        n_steps: Steps of path methods.
        internal_batch_size: Rows per forward; found if ``None``.
        baselines: Where paths start and what occlusion puts in place: a number, a tensor,
            one per input, token ids; zeros (padding tokens) if ``None``.
        n_samples: Draws of methods that draw (``nt_samples`` of SmoothGrad).
        stdevs: Of the noise added to the input, in its units; of SmoothGrad 15 % of its
            range and of GradientSHAP 0 if ``None``.
        nt_type: What SmoothGrad makes of its draws.
        sliding_window_shapes: Of occlusion, of one sample; an eighth of each side if
            ``None``.
        strides: Of occlusion; half the window if ``None``.
        feature_mask: Integers that broadcast to the input: places of one number are ablated
            together; a grid of sixteenths of an image if ``None``.
        perturbations_per_eval: Ablations per forward; found if ``None``.
        autocast: Whether the model runs under bfloat16 autocast.
        channels_last: Whether the weights of images lie with channels last in memory.
        trust: How much is tested of each map: nothing, what costs little, or all.
        relevance: Whether to measure the relevance of every block and branch.
        stages: Whether to look at what each depth sees.
        extra: More arguments of captum's ``attribute``, as they are.
    """

    target: Any = None
    methods: tuple[str, ...] = DEFAULT_METHODS
    layer: str | tuple[str, ...] = "auto"
    force: bool = False
    n_steps: int = 50
    internal_batch_size: int | None = None
    baselines: Any = None
    n_samples: int = 20
    stdevs: float | None = None
    nt_type: NoiseType = "smoothgrad"
    sliding_window_shapes: Any = None
    strides: Any = None
    feature_mask: Any = None
    perturbations_per_eval: int | None = None
    autocast: bool = False
    channels_last: bool = False
    trust: Trusting = "quick"
    relevance: bool = True
    stages: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses what no method takes.

        Raises:
            UserError: For a word or a number that is none of those allowed.
        """
        for name, words in (("trust", get_args(Trusting)), ("nt_type", get_args(NoiseType))):
            if getattr(self, name) not in words:
                raise UserError(f"{name}={getattr(self, name)!r} was given: give {listed(words)}")
        for name in ("n_steps", "n_samples", "internal_batch_size", "perturbations_per_eval"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, Integral) or value < 1):
                raise UserError(f"{name}={value!r} was given: give a whole number, 1 or more")

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers asked for, one or more."""
        return (self.layer,) if isinstance(self.layer, str) else tuple(self.layer)


NAMES = frozenset(f.name for f in fields(AttributionOptions))
"""What an ``AttributionOptions`` can be told."""
