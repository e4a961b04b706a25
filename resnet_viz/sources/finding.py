"""An input for a model that was given none: found, tried without memory, and said."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from resnet_viz.core.errors import UserError
from resnet_viz.sources.candidates import TOKENS, candidates, options, states
from resnet_viz.sources.family.resnet_config import ResNetConfig
from resnet_viz.sources.hugging_face_inputs import config_inputs
from resnet_viz.sources.input_values import make_inputs
from resnet_viz.sources.inputs import InputSpec
from resnet_viz.sources.signatures import binds, required, signature_of
from resnet_viz.sources.trials import Trial, try_forward
from resnet_viz.tracing.trees import named_tensors

if TYPE_CHECKING:
    from resnet_viz.sources.loading import Loaded

_TRIES = 120
"""Forwards on meta before the search for several inputs gives up."""

Found = tuple[tuple[InputSpec, ...], str]
"""The inputs, and where they come from in words."""


def find_input(
    model: nn.Module, loaded: Loaded | None = None, given: Mapping[str, Any] | None = None
) -> Found:
    """Inputs that suit the model, and where they come from in words.

    What is known comes first (the variant's size, the library's data configuration, a
    Hugging Face config, Lightning's ``example_input_array``); else the first layers tell,
    and of several plausible inputs the first is taken on which ``forward`` runs. That is
    tried on the meta device: nothing is computed, no memory is taken, no hook runs.

    Args:
        model: Left as it came.
        loaded: What its source knows about it.
        given: Keyword arguments of ``forward`` that need not be found.

    Raises:
        UserError: If nothing tells, or ``forward`` wants several inputs and none of the
            likely ones fit.
    """
    given = given or {}
    signature = signature_of(model)
    if signature is not None and (not signature.parameters or _is_filled(model, given)):
        return (), "forward needs no input"
    for found in _known(model, loaded, given):
        return found
    if len(required(model, given)) > 1:
        return _several(model, given)
    return _one(model, given)


def _is_filled(model: nn.Module, given: Mapping[str, Any]) -> bool:
    """Whether what is given holds tensors, and nothing more is required."""
    return any(True for _ in named_tensors(dict(given))) and binds(model, (), given)


def _known(model: nn.Module, loaded: Loaded | None, given: Mapping[str, Any]) -> Iterator[Found]:
    """What the model's source or the model itself says."""
    if loaded is not None and loaded.input_size is not None:
        spec = InputSpec(shape=_with_channels(model, loaded.input_size))
        if len(required(model, given)) <= 1:
            yield (spec,), f"the size {loaded.name} was made for"
    config = getattr(model, "config", None)
    if isinstance(config, ResNetConfig):
        yield (InputSpec(shape=config.input_size),), "the size its stem was made for"
    example = getattr(model, "example_input_array", None)
    if example is not None:
        specs = _like(example)
        if specs:
            yield specs, f"the example_input_array of {type(model).__name__}"
    data = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    size = data.get("input_size") if isinstance(data, dict) else getattr(data, "input_size", None)
    if isinstance(size, tuple | list) and len(size) == 3 and len(required(model, given)) <= 1:
        spec = InputSpec(shape=_with_channels(model, (1, *size)))
        side = getattr(getattr(model, "patch_embed", None), "img_size", None)
        choices = [spec]
        if isinstance(side, tuple | list) and len(side) == 2:
            # ``img_size=96`` changes the model but not the configuration it came with.
            choices.insert(0, replace(spec, shape=(*spec.shape[:2], *side)))
        words = f"the data configuration of {type(model).__name__}"
        chosen = _first_that_runs(model, (((c,), words) for c in choices), given)
        if chosen is not None:
            yield chosen
    sets = config_inputs(model)
    words = f"what the config of {type(model).__name__} says"
    wanted = (tuple(s for s in specs if s.name not in given) for specs in sets)
    chosen = _first_that_runs(model, ((specs, words) for specs in wanted), given)
    if chosen is not None:
        yield chosen


def _with_channels(model: nn.Module, size: tuple[int, ...]) -> tuple[int, ...]:
    """The size with as many channels as the first convolution takes, where it says three.

    ``--arg in_chans=1`` changes the model but not the library's data configuration.
    """
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    first: Any = next((m for m in model.modules() if isinstance(m, kinds)), None)
    if first is None or size[1] != 3 or first.in_channels == 3:
        return size
    return (size[0], first.in_channels, *size[2:])


def _like(example: Any) -> tuple[InputSpec, ...]:
    """Specs of an example: a tensor, a tuple or a dict of tensors; none for others."""
    if isinstance(example, Tensor):
        example = (example,)
    if not isinstance(example, dict | tuple | list):
        return ()
    pairs = example.items() if isinstance(example, dict) else [("", e) for e in example]
    if not all(isinstance(value, Tensor) for _, value in pairs):
        return ()
    return tuple(
        InputSpec(shape=tuple(v.shape), dtype=str(v.dtype).removeprefix("torch."), name=str(name))
        for name, v in pairs
    )


def _first_that_runs(
    model: nn.Module, choices: Iterable[Found], given: Mapping[str, Any]
) -> Found | None:
    """The first on which ``forward`` runs; else the first that meta cannot decide; else the first.

    ``None`` only where there is no choice.
    """
    undecided: Found | None = None
    first: Found | None = None
    for choice in itertools.islice(choices, _TRIES):
        first = first or choice
        trial = _try(model, choice[0], given)
        if trial.runs:
            return choice
        if trial.undecided and undecided is None:
            undecided = choice
    return undecided or first


def _try(model: nn.Module, specs: tuple[InputSpec, ...], given: Mapping[str, Any]) -> Trial:
    args, kwargs = make_inputs(specs, device="meta")
    return try_forward(model, args, {**kwargs, **given})


def _one(model: nn.Module, given: Mapping[str, Any]) -> Found:
    """One input: of what the layers tell, the first that runs."""
    told = list(candidates(model))
    if not told:
        raise UserError(
            f"no layer of {type(model).__name__} tells what its input is: "
            "give it with --input, as in --input 1x3x224x224"
        )
    name = _name_of_one(model, given)
    choices = [((replace(spec, name=name),), words) for spec, words in told]
    if len(choices) == 1:
        return choices[0]
    trials: list[Trial] = []
    for choice in choices:
        trials.append(_try(model, choice[0], given))
        # What ends on a value would do so at any size.
        if trials[-1].runs or trials[-1].undecided:
            return choice
    for choice, trial in zip(choices, trials, strict=True):
        refined = _refined(model, choice[0][0], trial, given)
        if refined is not None:
            return (refined,), f"{choice[1]}, at the size that its linear layers take"
    return choices[0]


def _name_of_one(model: nn.Module, given: Mapping[str, Any]) -> str:
    """A keyword for the one input where its position is not the first; else empty."""
    missing = required(model, given)
    signature = signature_of(model)
    if signature is None or not missing:
        return ""
    only = missing[0]
    is_first = next(iter(signature.parameters)) == only.name
    if only.kind is only.POSITIONAL_ONLY or (is_first and only.kind is not only.KEYWORD_ONLY):
        return ""
    return only.name


def _refined(
    model: nn.Module, spec: InputSpec, trial: Trial, given: Mapping[str, Any]
) -> InputSpec | None:
    """The same input with the side at which the flattened features fit the linear layer.

    Features grow with the area, less what the borders take: a few corrected steps reach
    the side, or there is none.
    """
    axes = len(spec.shape) - 2
    if axes not in (1, 2) or spec.batch_axis != 0:
        return None
    tried: set[int] = set()
    for _ in range(8):
        mismatch = trial.linear_mismatch
        if mismatch is None or 0 in mismatch:
            return None
        tried.add(spec.shape[-1])
        scale = (mismatch[1] / mismatch[0]) ** (1 / axes)
        side = max(1, math.ceil(spec.shape[-1] * scale))
        step = 1 if scale > 1 else -1
        while side in tried:
            side += step
        if side < 1:
            return None
        spec = replace(spec, shape=(*spec.shape[:2], *(side,) * axes))
        trial = _try(model, (spec,), given)
        if trial.runs:
            return spec
    return None


def _several(model: nn.Module, given: Mapping[str, Any]) -> Found:
    """Several inputs: combinations of what the layers tell and the names suggest."""
    names = [p.name for p in required(model, given)]
    told, hidden = [spec for spec, _ in candidates(model)], list(states(model))
    undecided: Found | None = None
    for specs in itertools.islice(_combinations(names, told, hidden), _TRIES):
        trial = _try(model, specs, given)
        if trial.runs:
            return specs, "found by trying: forward runs on them"
        if trial.undecided and undecided is None:
            undecided = specs, "the likeliest: whether forward runs on them depends on values"
    if undecided is not None:
        return undecided
    guess = told[0].shape if told else (1, TOKENS)
    sizes = "x".join(map(str, guess))
    example = " ".join(f"--input {name}={sizes}" for name in names)
    raise UserError(
        f"forward of {type(model).__name__} takes {', '.join(names)}: give each with --input, "
        f"as in {example}"
    )


def _combinations(
    names: list[str], told: list[InputSpec], hidden: list[InputSpec]
) -> Iterator[tuple[InputSpec, ...]]:
    """Specs for all the names, those first whose parts are all likely."""
    ranked: list[tuple[int, tuple[InputSpec, ...]]] = []
    for place, first in enumerate(options(names[0], told, hidden, None)):
        others = [options(name, told, hidden, first)[:8] for name in names[1:]]
        for choice in itertools.islice(itertools.product(*map(enumerate, others)), 2000):
            rank = place + sum(i for i, _ in choice)
            specs = (first, *(spec for _, spec in choice))
            named = tuple(replace(s, name=n) for s, n in zip(specs, names, strict=True))
            ranked.append((rank, named))
    ranked.sort(key=lambda pair: pair[0])
    return (specs for _, specs in ranked)
