"""What each method is told, made from what was asked: captum's arguments.

Each function takes a question whose samples come first and gives keyword arguments of
captum's ``attribute``; the rows of ``methods`` hold them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeAlias

import torch
from torch import Tensor

from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.errors import UserError
from resnet_viz.core.units import shape as shape_text

_SMOOTHGRAD_NOISE = 0.15
"""Of the input's range; Smilkov et al. 2017 find 10 to 20 % best."""
_WINDOWS, _CELLS = 8, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A question with its samples first.

    Attributes:
        inputs: x, ``(S, …)`` each.
        names: Of the inputs.
        baselines: x′, of the same shapes.
        drawn: Baselines that SHAP methods draw from, ``(B, …)`` each.
        kept: Per input the axes of one sample along which its places lie: (1, 2) of an
            image ``(C, H, W)``, one of a sequence or of features.
        whole: Per input whether neighbours belong together, as pixels and steps do.
        options: What is asked.
        rows: Rows of the batch per forward.
    """

    inputs: tuple[Tensor, ...]
    names: tuple[str, ...]
    baselines: tuple[Tensor, ...]
    drawn: tuple[Tensor, ...]
    kept: tuple[tuple[int, ...], ...]
    whole: tuple[bool, ...]
    options: AttributionOptions
    rows: int

    @property
    def samples(self) -> int:
        """How many samples."""
        return len(self.inputs[0])


Arguments: TypeAlias = Callable[[Given], Mapping[str, Any]]
Parts: TypeAlias = Callable[[Given, Mapping[str, Any]], Iterator[tuple[float, Mapping[str, Any]]]]
Passes: TypeAlias = Callable[[Given, Mapping[str, Any]], int]


def nothing(_given: Given) -> Mapping[str, Any]:
    """No argument."""
    return {}


def rectified(_given: Given) -> Mapping[str, Any]:
    """Only evidence for the target, as the Grad-CAM paper shows it."""
    return {"relu_attributions": True}


def against_baseline(given: Given) -> Mapping[str, Any]:
    """One baseline per sample."""
    return {"baselines": given.baselines}


def path(given: Given) -> Mapping[str, Any]:
    """The straight way from the baseline; its rows are taken apart by the forward itself."""
    return {"baselines": given.baselines, "n_steps": given.options.n_steps}


def layer_path(given: Given) -> Mapping[str, Any]:
    """The way from the baseline seen at a layer, in as many rows as fit."""
    # Conductance takes differences between neighbouring steps, so it needs two at least.
    return {**path(given), "internal_batch_size": max(given.rows, 2 * given.samples)}


def noise(given: Given) -> Mapping[str, Any]:
    """Draws around the input, by default as wide as SmoothGrad's authors advise."""
    options = given.options
    wide = options.stdevs
    stdevs = tuple(
        float(wide) if wide is not None else _SMOOTHGRAD_NOISE * float(t.max() - t.min())
        for t in given.inputs
    )
    return {"nt_type": options.nt_type, "nt_samples": options.n_samples, "stdevs": stdevs}


def expectation(given: Given) -> Mapping[str, Any]:
    """Draws of a baseline and of a point on the way from it."""
    return {
        "baselines": given.drawn,
        "n_samples": given.options.n_samples,
        "stdevs": float(given.options.stdevs or 0.0),
    }


def against_drawn(given: Given) -> Mapping[str, Any]:
    """Every one of the drawn baselines, for every sample."""
    return {"baselines": given.drawn}


def windows(given: Given) -> Mapping[str, Any]:
    """Windows that slide over the input.

    Raises:
        UserError: If those given do not fit the input.
    """
    asked = given.options
    shapes = _per_input(given, asked.sliding_window_shapes, _window, _place_window)
    strides = _per_input(given, asked.strides, None, _place_window)
    steps = tuple(
        tuple(max(1, side // 2) for side in shape) if stride is None else stride
        for shape, stride in zip(shapes, strides, strict=True)
    )
    for name, tensor, shape, step in zip(given.names, given.inputs, shapes, steps, strict=True):
        sides = tuple(tensor.shape[1:])
        fits = all(1 <= w <= side for w, side in zip(shape, sides, strict=True))
        if not fits or any(
            s < 1 or (s > w and w < side) for s, w, side in zip(step, shape, sides, strict=True)
        ):
            raise UserError(
                f"a window of {shape_text(shape)} in steps of {shape_text(step)} does not cover "
                f"the input {name} of {shape_text(sides)}: give a window no larger than the input "
                "and strides no larger than the window"
            )
    return {
        "sliding_window_shapes": shapes,
        "strides": steps,
        "baselines": given.baselines,
        "perturbations_per_eval": _perturbations(given, _windows_in(given, shapes, steps)),
    }


def features(given: Given) -> Mapping[str, Any]:
    """Groups of places that are ablated together.

    Raises:
        UserError: If the mask given does not fit the input.
    """
    wish = given.options.feature_mask
    if wish is None:
        masks, count = [], 0
        for tensor, axes in zip(given.inputs, given.kept, strict=True):
            mask = _cells(tensor, axes) + count
            count = int(mask.max()) + 1
            masks.append(mask)
    else:
        several = wish if isinstance(wish, tuple | list) else (wish,) * len(given.inputs)
        if len(several) != len(given.inputs):
            raise UserError(
                f"{len(several)} feature masks for {len(given.inputs)} inputs: give one each"
            )
        masks = [
            _mask(tensor, given_mask, name)
            for tensor, given_mask, name in zip(given.inputs, several, given.names, strict=True)
        ]
    return {
        "feature_mask": tuple(masks),
        "baselines": given.baselines,
        "perturbations_per_eval": _perturbations(given, _groups_in(masks)),
    }


def at_once(_given: Given, told: Mapping[str, Any]) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """All of it."""
    yield 1.0, told


def some_baselines(
    given: Given, told: Mapping[str, Any]
) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """As many baselines as fit, each beside its input for every sample."""
    total = len(told["baselines"][0])
    count = max(1, given.rows // (2 * given.samples))
    for start in range(0, total, count):
        some = [b[start : start + count] for b in told["baselines"]]
        # Captum wants two, and the mean of two that are equal is either.
        alone = len(some[0]) == 1
        baselines = tuple(torch.cat([b, b]) if alone else b for b in some)
        yield len(some[0]) / total, {**told, "baselines": baselines}


def once(_given: Given, _told: Mapping[str, Any]) -> int:
    """One pass of the samples."""
    return 1


def passed(_given: Given, told: Mapping[str, Any]) -> int:
    """One pass per step."""
    return int(told["n_steps"])


def drawn(_given: Given, told: Mapping[str, Any]) -> int:
    """One pass per draw."""
    return int(told.get("nt_samples", 0) or told["n_samples"])


def paired(given: Given, told: Mapping[str, Any]) -> int:
    """Input and baseline, for every baseline."""
    return 2 * max(1, len(told["baselines"][0]) // given.samples)


def covered(given: Given, told: Mapping[str, Any]) -> int:
    """The input, and one pass per window."""
    return 1 + _windows_in(given, told["sliding_window_shapes"], told["strides"])


def ablated(_given: Given, told: Mapping[str, Any]) -> int:
    """The input, and one pass per group."""
    return 1 + _groups_in(told["feature_mask"])


def _perturbations(given: Given, groups: int) -> int:
    """How many go through the model at once; captum makes room for all of them beforehand."""
    wish = given.options.perturbations_per_eval or max(1, given.rows // given.samples)
    return min(wish, groups)


def _windows_in(
    given: Given, shapes: Sequence[tuple[int, ...]], strides: Sequence[tuple[int, ...]]
) -> int:
    total = 0
    for tensor, shape, step in zip(given.inputs, shapes, strides, strict=True):
        sides = zip(tensor.shape[1:], shape, step, strict=True)
        total += math.prod(-(-(side - w) // s) + 1 for side, w, s in sides)
    return total


def _groups_in(masks: Sequence[Tensor]) -> int:
    return len({number for mask in masks for number in mask.flatten().tolist()})


def _per_input(
    given: Given,
    wish: Any,
    default: Callable[[Tensor, tuple[int, ...], bool], tuple[int, ...]] | None,
    place: Callable[[Tensor, tuple[int, ...], Any, str], tuple[int, ...]],
) -> tuple[Any, ...]:
    """A shape per input: the one asked for, or the default."""
    nested = isinstance(wish, tuple | list) and any(isinstance(w, tuple | list) for w in wish)
    each = tuple(wish) if nested else (wish,) * len(given.inputs)
    if len(each) != len(given.inputs):
        raise UserError(f"{len(each)} windows for {len(given.inputs)} inputs: give one each")
    found: list[tuple[int, ...] | None] = []
    for tensor, axes, whole, one, name in zip(
        given.inputs, given.kept, given.whole, each, given.names, strict=True
    ):
        if one is not None:
            found.append(place(tensor, axes, one, name))
        else:
            found.append(default(tensor, axes, whole) if default else None)
    return tuple(found)


def _window(tensor: Tensor, axes: tuple[int, ...], whole: bool) -> tuple[int, ...]:
    """An eighth of each side along which places lie, all of the other axes."""
    return tuple(
        (max(1, side // _WINDOWS) if whole else 1) if axis in axes else side
        for axis, side in enumerate(tensor.shape[1:])
    )


def _place_window(tensor: Tensor, axes: tuple[int, ...], wish: Any, name: str) -> tuple[int, ...]:
    """One number for every kept axis, one per kept axis, or one per axis."""
    sides = tuple(tensor.shape[1:])
    numbers = (wish,) * len(axes) if isinstance(wish, Integral) else tuple(wish)
    if not all(isinstance(n, Integral) for n in numbers) or len(numbers) not in (
        len(axes),
        len(sides),
    ):
        raise UserError(
            f"{wish!r} is no window of the input {name} of {shape_text(sides)}: give a whole "
            f"number, {len(axes)} of them, or {len(sides)}"
        )
    if len(numbers) == len(sides):
        return tuple(int(n) for n in numbers)
    along = dict(zip(axes, numbers, strict=True))
    return tuple(int(along.get(axis, side)) for axis, side in enumerate(sides))


def _cells(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    """A number per place; of an image per cell of a grid of sixteenths."""
    sides = tuple(tensor.shape[1:])
    mask = torch.zeros((1,) * tensor.ndim, dtype=torch.int64, device=tensor.device)
    for axis in axes:
        side = sides[axis]
        cells = min(side, _CELLS) if len(axes) > 1 else side
        index = torch.arange(side, device=tensor.device) * cells // side
        shape = [1] * tensor.ndim
        shape[axis + 1] = side
        mask = mask * cells + index.view(shape)
    return mask


def _mask(tensor: Tensor, wish: Any, name: str) -> Tensor:
    try:
        mask = torch.as_tensor(wish, device=tensor.device)
        if mask.is_floating_point() or mask.is_complex():
            raise ValueError
        mask.expand_as(tensor)
    except (RuntimeError, TypeError, ValueError):
        raise UserError(
            f"the feature mask does not fit the input {name} of shape "
            f"{shape_text(tuple(tensor.shape))}: give integers that broadcast to it"
        ) from None
    return mask.to(torch.int64).view((1,) * (tensor.ndim - mask.ndim) + tuple(mask.shape))
