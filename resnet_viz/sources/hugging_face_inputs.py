"""Inputs of transformers models, from their configs; transformers itself is not needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from resnet_viz.sources.candidates import TOKENS
from resnet_viz.sources.inputs import InputSpec
from resnet_viz.sources.signatures import keywords

_SECOND = 16000
"""Samples of a second of sound, at the rate that speech models take."""

_PARTS = ("vision_config", "text_config", "audio_config", "encoder", "decoder", "backbone_config")
"""Configs that a config may hold."""

_COMBINATIONS = (
    (),
    ("decoder_input_ids",),
    ("pixel_values",),
    ("pixel_values", "decoder_input_ids"),
    ("input_features",),
    ("input_values",),
    ("pixel_mask",),
    ("input_ids",),
    ("bbox",),
)
"""What a model may want beside its main input, the likeliest first."""


def config_inputs(model: nn.Module) -> Iterator[tuple[InputSpec, ...]]:
    """Sets of inputs that a model's config allows, the likeliest first.

    None where the model is not of the transformers kind: a ``config``, a
    ``main_input_name`` and ``dummy_inputs``.
    """
    config = getattr(model, "config", None)
    dummies = getattr(model, "dummy_inputs", None)
    main = getattr(model, "main_input_name", None)
    if config is None or not isinstance(dummies, dict) or not isinstance(main, str):
        return
    known = keywords(model)
    if main not in known:
        main = next((name for name in known if _sizes(name, config)), main)
    if main in dummies:
        yield tuple(
            InputSpec(
                shape=(1, _tokens(config), *value.shape[2:]),
                dtype=str(value.dtype).removeprefix("torch."),
                name=name,
            )
            for name, value in dummies.items()
            if isinstance(value, Tensor) and value.dim() >= 2
        )
    for extra in _COMBINATIONS:
        names = (main, *extra)
        if len(set(names)) == len(names) and all(name in known for name in names):
            choices = [_sizes(name, config) for name in names]
            for shapes in itertools.product(*choices):
                yield tuple(
                    InputSpec(shape=shape, dtype=_dtype(name, model), name=name)
                    for name, shape in zip(names, shapes, strict=True)
                )


def _dtype(name: str, model: nn.Module) -> str:
    if name.endswith(("ids", "mask", "bbox")) or name == "inputs":
        return "int64"
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    return "float32" if weight is None else str(weight.dtype).removeprefix("torch.")


def _sizes(name: str, config: Any) -> list[tuple[int, ...]]:
    """Shapes that an argument of this name may have; none for an unknown name."""
    if name in ("input_ids", "decoder_input_ids", "inputs"):
        return [(1, _tokens(config))]
    if name == "bbox":
        return [(1, _tokens(config), 4)]
    if name in ("pixel_values", "pixel_values_videos", "pixel_mask"):
        channels = _number(config, "num_channels", "in_channels", "in_chans") or 3
        height, width = _pair(_find(config, "image_size", "img_size", "input_size"))
        if name == "pixel_mask":
            return [(1, height, width)]
        still = (1, channels, height, width)
        frames = _number(config, "num_frames", "frames_per_clip")
        moving = [(1, frames, channels, height, width)] if frames else []
        # A side that is wrong is what a model without a fixed size refuses least.
        return [*moving, still, *[(1, channels, s, s) for s in (224, 384) if s != height]]
    if name == "input_values":
        bins = _number(config, "num_mel_bins")
        spectrogram = [(1, _number(config, "max_length") or 1024, bins)] if bins else []
        channels = _number(config, "audio_channels", "num_channels") or 1
        return [*spectrogram, (1, _SECOND), (1, channels, _SECOND)]
    if name == "input_features":
        bins = _number(config, "num_mel_bins", "feature_size", "input_feat_per_channel") or 80
        frames = 2 * (_number(config, "max_source_positions") or 1500)
        return [(1, bins, frames), (1, 8 * TOKENS, bins), (1, 1, 1001, bins)]
    return []


def _pair(size: Any) -> tuple[int, int]:
    """Height and width, from one number, a pair, or a dict of them."""
    if isinstance(size, dict):
        size = (size.get("height", 224), size.get("width", 224))
    if isinstance(size, list | tuple) and len(size) >= 2:
        return int(size[-2]), int(size[-1])
    side = size if isinstance(size, int) and size > 0 else 224
    return side, side


def _tokens(config: Any) -> int:
    longest = _number(config, "max_position_embeddings", "n_positions")
    return min(TOKENS, longest) if longest else TOKENS


def _number(config: Any, *names: str) -> int | None:
    found = _find(config, *names)
    return found if isinstance(found, int) and found > 0 else None


def _find(config: Any, *names: str) -> Any:
    """The first of these settings, in the config or in one that it holds."""
    for holder in (config, *(getattr(config, part, None) for part in _PARTS)):
        for name in names:
            value = getattr(holder, name, None)
            if value is not None:
                return value
    return None
