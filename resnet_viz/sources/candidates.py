"""Plausible inputs of a model, by what its first layers take and what its arguments are called.

These are guesses, the likeliest first; ``finding`` tries them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from resnet_viz.core import units
from resnet_viz.sources.inputs import InputSpec

TOKENS = 16
"""Length of a guessed sequence."""

_SIDES = {1: (28, 32, 64, 224), 3: (224, 32, 64, 96, 128, 256, 299)}
_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)
_CELLS = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
_TABLES = (nn.Embedding, nn.EmbeddingBag)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_TELLING = (
    *_CONVOLUTIONS,
    nn.ConvTranspose2d,
    nn.Linear,
    nn.Bilinear,
    *_RECURRENT,
    *_CELLS,
    *_TABLES,
    nn.MultiheadAttention,
    nn.Transformer,
    *_NORMS,
    nn.LayerNorm,
)

Candidate = tuple[InputSpec, str]
"""An input, and why it is plausible."""


def candidates(model: nn.Module) -> Iterator[Candidate]:
    """Inputs that the first layers would take.

    Registration order is only a hint: a head may be registered before the stem. So the
    first layer of each kind is asked. Norms are asked last: they follow what tells more.
    """
    asked: set[type] = set()
    late: list[tuple[str, nn.Module]] = []
    for path, layer in model.named_modules():
        if isinstance(layer, _TELLING) and type(layer) not in asked:
            asked.add(type(layer))
            if isinstance(layer, (*_NORMS, nn.LayerNorm)):
                late.append((path, layer))
            else:
                yield from _inputs_of(path, layer)
    for path, layer in late:
        yield from _inputs_of(path, layer)


def states(model: nn.Module) -> Iterator[InputSpec]:
    """Hidden states that the recurrent layers would take."""
    for layer in model.modules():
        if isinstance(layer, _CELLS):
            shape: tuple[int, ...] = (1, layer.hidden_size)
        elif isinstance(layer, _RECURRENT):
            shape = (layer.num_layers * (1 + layer.bidirectional), 1, layer.hidden_size)
        else:
            continue
        yield InputSpec(shape=shape, dtype=_dtype_of(layer), batch_axis=len(shape) - 2)


def _inputs_of(path: str, layer: Any) -> Iterator[Candidate]:
    words = f"guessed from {path or 'the model'} ({type(layer).__name__},"
    dtype = _dtype_of(layer)
    for shape, said in _shapes(layer):
        time_first = isinstance(layer, (*_RECURRENT, nn.MultiheadAttention, nn.Transformer)) and (
            not layer.batch_first
        )
        yield (
            InputSpec(
                shape=(shape[1], shape[0], *shape[2:]) if time_first else shape,
                dtype="int64" if isinstance(layer, _TABLES) else dtype,
                batch_axis=1 if time_first else 0,
            ),
            f"{words} {said})",
        )


def _dtype_of(layer: nn.Module) -> str:
    """The floating dtype that a layer computes in."""
    weight = next(layer.parameters(), None)
    dtype = "" if weight is None else str(weight.dtype).removeprefix("torch.")
    known = dtype in units.DTYPE_BYTES and getattr(torch, dtype).is_floating_point
    return dtype if known and not dtype.startswith("float8") else "float32"


def _shapes(layer: Any) -> Iterator[tuple[tuple[int, ...], str]]:
    """Shapes with the batch first."""
    if isinstance(layer, (*_CONVOLUTIONS, nn.ConvTranspose2d)):
        channels = layer.in_channels or 3  # a lazy layer takes any number
        said = f"{units.count(channels, 'input channel')}"
        if isinstance(layer, nn.Conv1d):
            sizes: tuple[tuple[int, ...], ...] = ((128,), (1024,), (16000,))
        elif isinstance(layer, nn.Conv3d):
            sizes = ((16, 112, 112), (16, 224, 224), (16, 32, 32), (32, 32, 32))
        elif isinstance(layer, nn.ConvTranspose2d):
            sizes = ((1, 1), (4, 4), (32, 32))  # a generator grows its picture from a point
        else:
            sizes = tuple((side, side) for side in _SIDES.get(channels, _SIDES[3]))
        for size in sizes:
            yield (1, channels, *size), said
    elif 0 in (getattr(layer, "in_features", 1), getattr(layer, "num_features", 1)):
        return  # lazy: it takes what comes, and tells nothing
    elif isinstance(layer, nn.Linear):
        said = f"{units.count(layer.in_features, 'input feature')}"
        yield (1, layer.in_features), said
        yield (1, TOKENS, layer.in_features), said
        for channels in (1, 3):  # a picture that forward flattens
            side = math.isqrt(layer.in_features // channels)
            if channels * side * side == layer.in_features:
                yield (1, channels, side, side), said
    elif isinstance(layer, nn.Bilinear):
        for features in (layer.in1_features, layer.in2_features):
            yield (1, features), f"{units.count(features, 'input feature')}"
    elif isinstance(layer, (*_RECURRENT, *_CELLS)):
        said = f"input size {layer.input_size}"
        yield (1, *(() if isinstance(layer, _CELLS) else (TOKENS,)), layer.input_size), said
    elif isinstance(layer, nn.MultiheadAttention):
        yield (1, TOKENS, layer.embed_dim), f"width {layer.embed_dim}"
    elif isinstance(layer, nn.Transformer):
        yield (1, TOKENS, layer.d_model), f"width {layer.d_model}"
    elif isinstance(layer, _NORMS):
        axes = next(n for n, kind in enumerate(_NORMS, 1) if isinstance(layer, kind))
        if axes == 1:
            yield (1, layer.num_features), f"{layer.num_features} features"
        yield (1, layer.num_features, *(8,) * axes), f"{layer.num_features} channels"
    elif isinstance(layer, nn.LayerNorm):
        said = f"normalised shape {units.shape(tuple(layer.normalized_shape))}"
        yield (1, *layer.normalized_shape), said
        yield (1, TOKENS, *layer.normalized_shape), said
    else:
        yield (1, TOKENS), f"{layer.num_embeddings} tokens"


def options(
    name: str, told: list[InputSpec], hidden: list[InputSpec], first: InputSpec | None
) -> list[InputSpec]:
    """Specs for one of several arguments of ``forward``, the likeliest first.

    Args:
        name: Of the argument: habits tell a mask from an image.
        told: What the layers take.
        hidden: What recurrent layers take as their state.
        first: What the first argument is in this attempt; ``None`` for the first itself.
    """
    pictures = [spec for spec in told if len(spec.shape) >= 4]
    tokens = [spec for spec in told if spec.dtype == "int64"]
    floats = [spec for spec in told if spec.dtype != "int64"]
    like = first or (told[0] if told else InputSpec(shape=(1, TOKENS)))
    batch = like.batch_size or 1
    one = InputSpec(shape=(batch,), dtype="int64")
    sequence = InputSpec(shape=(batch, TOKENS), dtype="int64")
    everything = [first, *told] if first else told
    low = name.lower()
    if "mask" in low or "pad" in low:
        length = like.shape[0 if like.batch_axis else 1] if len(like.shape) > 1 else TOKENS
        square = InputSpec(shape=(length, length), batch_axis=None)
        flat = InputSpec(shape=(batch, length))
        shapes = [flat, like, square, InputSpec(shape=(batch, 1, *like.shape[2:]))]
        kinds = ("bool", "float32", "int64")
        ordered = [replace(spec, dtype=dtype) for spec in shapes for dtype in kinds]
    elif low.endswith(("ids", "tokens", "token", "text", "words")):
        ordered = [*tokens, sequence, one, *everything]
    elif low in ("t", "time", "times", "timestep", "timesteps", "step", "sigma", "noise_level"):
        floating = replace(one, dtype="float32")
        ordered = [one, floating, replace(floating, shape=(batch, 1)), *everything]
    elif low.startswith(("y", "label", "target", "class")):
        ordered = [one, *everything[:1], sequence, *everything]
    elif "len" in low:
        ordered = [one, *everything]
    elif low.endswith(("idx", "id", "index", "user", "item")):
        ordered = [one, sequence, *everything]
    elif low.startswith(("im", "pix", "frame", "photo", "left", "right", "rgb")):
        ordered = [*([first] if first and first in pictures else ()), *pictures, *everything]
    elif low.startswith(("h", "state", "hidden", "feat", "cond", "context", "z", "noise")):
        ordered = [*hidden, *floats, *everything, one]
    else:
        ordered = [*everything, one, sequence]
    return list(dict.fromkeys(ordered))
