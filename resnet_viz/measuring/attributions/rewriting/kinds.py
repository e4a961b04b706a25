"""Which calls captum's hooks can follow, and the type of module it knows them by.

Captum chooses a rule by the type of a module: DeepLift by exact types, Guided Backprop and
Deconvolution by ``nn.ReLU``, LRP by its list of layers. A module made here has such a type and
runs the call that the model made, so a rule reaches every call it is right for: the rescale
rule (Shrikumar et al. 2017, 2.4) all functions that work element by element, the ε-rule (Bach
et al. 2015, eq. 58) all linear ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.analysis.kinds import words

ELEMENTWISE = words(
    """relu relu6 leaky_relu rrelu prelu elu selu celu gelu silu mish hardswish hardsigmoid
    hardtanh sigmoid logsigmoid log_sigmoid tanh softplus softsign clamp clamp_min clamp_max clip
    threshold erf softshrink hardshrink tanhshrink exp expm1 log log1p sqrt rsqrt square abs pow
    reciprocal sin cos"""
)
"""Nonlinear functions of one tensor, each element for itself."""

ZERO_AT_ZERO = words(
    """relu relu6 leaky_relu rrelu prelu elu selu celu gelu silu mish hardswish tanh softsign"""
)
"""Those of them through which relevance can pass as it is."""

MAX_POOLS = words("max_pool1d max_pool2d max_pool3d")

RECTIFIERS = words("relu relu6 hardtanh clamp clamp_min clip threshold")
"""What may be a ReLU, or one that stops growing; see ``rectifies``."""

_POOLS: dict[str, type[nn.Module]] = {
    "max_pool1d": nn.MaxPool1d,
    "max_pool2d": nn.MaxPool2d,
    "max_pool3d": nn.MaxPool3d,
}

LINEAR = words(
    """linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d batch_norm
    avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    mean"""
)
"""Linear functions of their first argument, up to a constant."""

HOOKED = words("ReLU ELU LeakyReLU Sigmoid Tanh Softplus Softmax MaxPool1d MaxPool2d MaxPool3d")
"""Types of modules that captum hooks by itself, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a captum class must see of a model.

    Attributes:
        kinds: Kinds of calls that get a module.
        apart: Whether overlapping windows of a max pooling are laid side by side first.
    """

    kinds: frozenset[str]
    apart: bool = False


_RESCALE = Rules(kinds=ELEMENTWISE | MAX_POOLS, apart=True)
_RECTIFY = Rules(kinds=RECTIFIERS)

RULES: dict[str, Rules] = {
    "DeepLift": _RESCALE,
    "DeepLiftShap": _RESCALE,
    "GuidedBackprop": _RECTIFY,
    "Deconvolution": _RECTIFY,
    "GuidedGradCam": _RECTIFY,
    "LRP": Rules(kinds=ZERO_AT_ZERO | MAX_POOLS | LINEAR),
}
"""By captum's class; the others hook no activations."""


def rectifies(kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call cuts off what is below 0 and keeps what is just above it.

    Args:
        kind: Kind of the call.
        args: Arguments after the tensor.
        kwargs: Keyword arguments.
    """
    if kind in ("relu", "relu6"):
        return True
    if kind not in RECTIFIERS:
        return False
    if kind == "threshold":
        given = (*args, kwargs.get("threshold"), kwargs.get("value"))
        return [v for v in given if isinstance(v, int | float)][:2] == [0, 0]
    low = args[0] if args else kwargs.get("min", kwargs.get("min_val"))
    return isinstance(low, int | float) and low == 0


def shell(kind: str, rest: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module:
    """A module of the type captum knows such a call by; the call itself comes with each forward.

    Args:
        kind: One of a ``Rules``.
        rest: Arguments after the tensor.
        kwargs: Keyword arguments.
    """
    if kind in MAX_POOLS:
        window = Window.of(kind, rest, kwargs)
        made: nn.Module = _POOLS[kind](
            window.kernel, window.stride, window.padding, window.dilation, ceil_mode=window.ceil
        )
    elif rectifies(kind, rest, kwargs):
        made = nn.ReLU()
    elif kind in LINEAR:
        # One type stands for all: the ε-rule reads what goes in and out, and no weight.
        made = nn.AvgPool2d(1)
    else:
        # Has the rescale rule, and passes relevance on; Guided Backprop leaves it alone.
        made = nn.Tanh()
    return made.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a max pooling looks at, per axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil: bool

    @classmethod
    def of(cls, kind: str, rest: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Window:
        """The window in the arguments of a call."""
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        given = {**dict(zip(names, rest, strict=False)), **kwargs}
        axes = int(kind[-2])

        def each(name: str, default: Any) -> tuple[int, ...]:
            value = given.get(name)
            if value is None or value == [] or value == ():
                value = default
            values = tuple(value) if isinstance(value, list | tuple) else (value,)
            return values * axes if len(values) == 1 else values

        return cls(
            kernel=each("kernel_size", 1),
            stride=each("stride", given["kernel_size"]),
            padding=each("padding", 0),
            dilation=each("dilation", 1),
            ceil=bool(given.get("ceil_mode")),
        )

    @property
    def overlaps(self) -> bool:
        """Whether an element can lie in two windows, or between the elements of one."""
        sizes = zip(self.kernel, self.stride, self.dilation, strict=True)
        return any(stride < kernel or dilation > 1 for kernel, stride, dilation in sizes)

    def apart(self, x: Tensor) -> Tensor:
        """Every window for itself, side by side: ``(N, C, places · kernel, …)``.

        A pooling with ``stride = kernel`` gives then what this one gives. Captum's rule puts
        back what each window took with ``max_unpool``, where the last of two windows that took
        the same element wins and the sum is lost.

        Args:
            x: ``(N, C, …)``.
        """
        lowest = torch.finfo(x.dtype).min
        for axis, (kernel, stride, padding, dilation) in enumerate(
            zip(self.kernel, self.stride, self.padding, self.dilation, strict=True), start=2
        ):
            size, reach = x.shape[axis], dilation * (kernel - 1) + 1
            places = (size + 2 * padding - reach + self.ceil * (stride - 1)) // stride + 1
            if self.ceil and (places - 1) * stride >= size + padding:
                places -= 1
            after = max(0, (places - 1) * stride + reach - size - padding)
            edges = [0, 0] * (x.ndim - 1 - axis) + [padding, after]
            x = nn.functional.pad(x, edges, value=lowest)
            x = x.unfold(axis, reach, stride).narrow(axis, 0, places)[..., ::dilation]
            x = x.movedim(-1, axis + 1).flatten(axis, axis + 1)
        return x
