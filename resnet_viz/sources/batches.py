"""Batches: from what the user gives, from input specs, or from photographs."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import UserError
from resnet_viz.core.message import say
from resnet_viz.core.pictures import Picture
from resnet_viz.sources.data import as_taken, default_photograph, load_image
from resnet_viz.sources.finding import find_input
from resnet_viz.sources.input_values import make_inputs
from resnet_viz.sources.inputs import InputSpec
from resnet_viz.sources.loading import Loaded
from resnet_viz.sources.seeding import seeded
from resnet_viz.sources.signatures import binds, check_keywords
from resnet_viz.tracing.trees import named_tensors


def given_batch(
    data: Any, model: nn.Module | None = None, kwargs: Mapping[str, Any] | None = None
) -> Batch:
    """What a person gives to ``forward``, as a batch.

    A tuple is ``*args``, a mapping is ``**kwargs``, anything else (a list, a NamedTuple)
    is one argument. Where ``forward`` of ``model`` could not even be called that way but
    could the other way, the other way is meant: a dict for ``forward(batch)``, a list for
    ``forward(x, mask)``.

    Args:
        data: Any value.
        model: Whose ``forward`` it is for.
        kwargs: More keyword arguments.
    """
    kwargs = dict(kwargs or {})
    readings = list(_readings(data))
    chosen = next(
        (r for r in readings if model is not None and binds(model, r[0], {**r[1], **kwargs})),
        readings[0],
    )
    return Batch(args=chosen[0], kwargs={**chosen[1], **kwargs})


def _readings(data: Any) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Positional and keyword arguments that a value may stand for, the plainest first."""
    one: tuple[tuple[Any, ...], dict[str, Any]] = ((data,), {})
    if isinstance(data, Mapping) and all(isinstance(key, str) for key in data):
        yield (), dict(data)
        yield one
    elif isinstance(data, tuple) and not hasattr(data, "_fields"):
        yield data, {}
        yield one
    else:
        yield one
        if isinstance(data, tuple | list):
            yield tuple(data), {}


def first_batch(
    data: Any,
    *,
    seed: int = 0,
    model: nn.Module | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Batch:
    """One batch: ``(inputs, targets)`` itself, or the first of an iterable of them.

    A mapping is a batch of inputs alone, as Hugging Face collates them (labels among
    them), and so is a tensor; a loader may yield either.

    Args:
        data: A tuple is one batch; of anything else that can be iterated the first is taken.
        seed: Of a loader that shuffles; the global generators are left as they were.
        model: Whose ``forward`` it is for; see ``given_batch``.
        kwargs: More keyword arguments of ``forward``.

    Raises:
        UserError: If it is neither, or the iterable is empty.
    """
    batch = data
    if not isinstance(data, tuple | Mapping | Tensor):
        if not isinstance(data, Iterable) or isinstance(data, str):
            raise UserError("data is a pair (inputs, targets) or an iterable of such pairs")
        with seeded(seed):
            batch = next(iter(data), None)
        if batch is None:
            raise UserError("data is empty: give at least one pair (inputs, targets)")
    return data_batch(batch, model=model, kwargs=kwargs, of_list=isinstance(data, list))


def data_batch(
    batch: Any,
    *,
    model: nn.Module | None = None,
    kwargs: Mapping[str, Any] | None = None,
    of_list: bool = False,
    words: str = "the data given",
) -> Batch:
    """What a loader yielded: a pair ``(inputs, targets)``, or a mapping or tensor of inputs.

    Args:
        batch: What it yielded.
        model: Whose ``forward`` it is for; see ``given_batch``.
        kwargs: More keyword arguments of ``forward``.
        of_list: Whether it stood in a list, where a tensor is no batch.
        words: What it is.

    Raises:
        UserError: If it is anything else.
    """
    if isinstance(batch, Mapping) or (isinstance(batch, Tensor) and not of_list):
        return replace(given_batch(batch, model, kwargs), words=words)
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise UserError("a batch is a pair (inputs, targets); give data as (x, y) or [(x, y), …]")
    inputs, targets = batch
    return replace(given_batch(inputs, model, kwargs), targets=targets, words=words)


def input_specs(
    loaded: Loaded, given: Sequence[InputSpec] = (), kwargs: Mapping[str, Any] | None = None
) -> tuple[tuple[InputSpec, ...], str, bool]:
    """What to feed the model: as given, or found. With words, and whether it was given.

    Args:
        loaded: The model.
        given: What the user asked for; found if there is nothing.
        kwargs: Plain values for ``forward`` beside the tensors.

    Raises:
        UserError: If a name is none of ``forward``'s, or nothing can be found.
    """
    kwargs = kwargs or {}
    check_keywords(loaded.model, [*kwargs, *(spec.name for spec in given if spec.name)], "input")
    values = [f"{name} = {value}" for name, value in kwargs.items() if not _holds_tensors(value)]
    if given:
        return tuple(given), ", ".join([*map(str, given), *values]), True
    specs, words = find_input(loaded.model, loaded, kwargs)
    said = ", ".join([*map(str, specs), *values])
    return specs, f"{said}: {words}" if said else words, bool(kwargs)


def _holds_tensors(value: Any) -> bool:
    return any(True for _ in named_tensors(value))


def made_batch(
    loaded: Loaded,
    specs: Sequence[InputSpec],
    *,
    batch_size: int | None = None,
    seed: int = 0,
    was_given: bool = False,
    kwargs: Mapping[str, Any] | None = None,
) -> Batch:
    """Seeded values for the specs, each with ``batch_size`` samples if that is given.

    Until it is filled its tensors are on the meta device: what only traces needs no
    values, and an input of 1×3×100000×100000 no memory.
    """
    given = dict(kwargs or {})
    specs = tuple(specs)
    floating = any(getattr(torch, spec.dtype).is_floating_point for spec in specs)
    words = say("seeded N(0, 1) inputs") if floating else say("seeded random tokens")
    words = words if specs else say("no input")

    def made(device: str) -> Batch:
        args, named = make_inputs(
            specs,
            batch_size=batch_size,
            seed=seed,
            device=device,
            model=loaded.model,
            given=given,
        )
        return Batch(args=args, kwargs={**named, **given}, words=words, was_given=was_given)

    return replace(made("meta"), fill=lambda: made("cpu"))


def takes_photographs(specs: Sequence[InputSpec]) -> bool:
    """Whether the model has one input, and that an image of one or three channels."""
    return len(specs) == 1 and len(specs[0].shape) == 4 and specs[0].shape[1] in (1, 3)


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
        loaded: Brings mean and std where its source publishes them, and pictures of its own.
        spec: The model's image input, ``(N, 1, H, W)`` or ``(N, 3, H, W)``.
        paths: Files; the model's own pictures, or else the default photograph, where there
            are none.
        size: Side of the crop; the input's own size if ``None``.
        mean: Per channel; the model's, else ImageNet's, if ``None``.
        std: Likewise.

    Raises:
        UserError: If a file is missing or is no image.
    """
    files = [Path(p) for p in paths] or loaded.images or [default_photograph()]
    crop = (size, size) if size else (spec.shape[2], spec.shape[3])
    tensors, pictures = [], []
    for file in files:
        tensor, shown = as_taken(
            load_image(file), spec.shape[1], crop, mean or loaded.mean, std or loaded.std
        )
        tensors.append(tensor)
        data = io.BytesIO()
        shown.save(data, "WEBP", lossless=shown.width * shown.height <= 64 * 64, quality=85)
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
