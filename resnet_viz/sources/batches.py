"""Batches: from what the user gives, from input specs, or from photographs."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import UserError
from resnet_viz.core.measurement import Picture
from resnet_viz.sources.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    default_photograph,
    load_image,
    preprocess,
)
from resnet_viz.sources.inputs import InputSpec, find_input, make_inputs
from resnet_viz.sources.loading import Loaded
from resnet_viz.sources.seeding import seeded


def given_batch(data: Any) -> Batch:
    """A tensor, a tuple (``*args``) or a dict (``**kwargs``) as a batch."""
    if isinstance(data, dict):
        return Batch(kwargs=dict(data))
    if isinstance(data, tuple):
        return Batch(args=data)
    return Batch(args=(data,))


def first_batch(data: Any, *, seed: int = 0) -> Batch:
    """One batch: ``(inputs, targets)`` itself, or the first of an iterable of them.

    Args:
        data: A tuple is one batch; of anything else that can be iterated the first is taken.
        seed: Of a loader that shuffles; the global generators are left as they were.

    Raises:
        UserError: If it is neither, or the iterable is empty.
    """
    pair = data
    if not isinstance(data, tuple):
        if not isinstance(data, Iterable) or isinstance(data, Tensor):
            raise UserError("data is a pair (inputs, targets) or an iterable of such pairs")
        with seeded(seed):
            pair = next(iter(data), None)
        if pair is None:
            raise UserError("data is empty: give at least one pair (inputs, targets)")
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise UserError("a batch is a pair (inputs, targets); give data as (x, y) or [(x, y), …]")
    inputs, targets = pair
    batch = given_batch(inputs)
    return Batch(args=batch.args, kwargs=batch.kwargs, targets=targets, words="the data given")


def input_specs(
    loaded: Loaded, given: Sequence[InputSpec] = ()
) -> tuple[tuple[InputSpec, ...], str, bool]:
    """What to feed the model: as given, or found. With words, and whether it was given."""
    if given:
        return tuple(given), ", ".join(map(str, given)), True
    specs, words = find_input(loaded.model, loaded)
    return specs, f"{', '.join(map(str, specs))}: {words}", False


def made_batch(
    loaded: Loaded,
    specs: Sequence[InputSpec],
    *,
    batch_size: int | None = None,
    seed: int = 0,
    was_given: bool = False,
) -> Batch:
    """Seeded values for the specs, each with ``batch_size`` samples if that is given."""
    args, kwargs = make_inputs(tuple(specs), batch_size=batch_size, seed=seed, model=loaded.model)
    tensors = [*args, *kwargs.values()]
    kind = "N(0, 1) inputs" if any(t.is_floating_point() for t in tensors) else "random tokens"
    return Batch(args=args, kwargs=kwargs, words=f"seeded {kind}", was_given=was_given)


def takes_photographs(specs: Sequence[InputSpec]) -> bool:
    """Whether the model has one input, and that a 3-channel image."""
    return len(specs) == 1 and len(specs[0].shape) == 4 and specs[0].shape[1] == 3


def photographs(
    loaded: Loaded,
    spec: InputSpec,
    paths: Sequence[Path] = (),
    *,
    size: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Batch:
    """Photographs as the model sees them, and as a person does.

    Args:
        loaded: Brings mean, std and size where its source publishes them.
        spec: The model's image input ``(N, 3, H, W)``.
        paths: Files; the default photograph where there are none.
        size: Side of the crop; the input's own size if ``None``.
        mean: Per channel; the model's, else ImageNet's, if ``None``.
        std: Likewise.

    Raises:
        UserError: If a file is missing or is no image.
    """
    files = [Path(p) for p in paths] or [default_photograph()]
    crop = size or (spec.shape[2], spec.shape[3])
    tensors, pictures = [], []
    for file in files:
        tensor, shown = preprocess(
            load_image(file),
            crop,
            mean or loaded.mean or IMAGENET_MEAN,
            std or loaded.std or IMAGENET_STD,
        )
        tensors.append(tensor)
        data = io.BytesIO()
        shown.save(data, "WEBP", quality=85)
        pictures.append(
            Picture(
                name=file.name,
                width=shown.width,
                height=shown.height,
                media_type="image/webp",
                data=data.getvalue(),
            )
        )
    stack = torch.stack(tensors)
    return Batch(
        args=() if spec.name else (stack,),
        kwargs={spec.name: stack} if spec.name else {},
        words=", ".join(p.name for p in pictures),
        pictures=tuple(pictures),
        was_given=bool(paths),
    )
