"""What goes into a model: said by a person, or guessed from the model itself."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from resnet_viz.core import units
from resnet_viz.core.errors import UserError, one_line
from resnet_viz.sources.config import ResNetConfig
from resnet_viz.sources.seeding import seeded

if TYPE_CHECKING:
    from resnet_viz.sources.loading import Loaded

TOKENS = 16
"""Length of a guessed sequence."""

_SIDES = {1: (28, 32, 64, 224), 3: (224, 32, 64, 96, 128, 256, 299)}
_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One input of ``forward``.

    Attributes:
        shape: With its batch axis.
        dtype: As ``torch`` names it, without the prefix.
        name: Keyword of ``forward``; empty for a positional argument.
        batch_axis: Where the batch is; 1 for recurrent nets that put time first.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    name: str = ""
    batch_axis: int = 0

    def __str__(self) -> str:
        name = f"{self.name} = " if self.name else ""
        return f"{name}{units.shape(self.shape)} {self.dtype}"


def parse_input(text: str) -> InputSpec:
    """``"1x3x224x224"``, ``"1,3,224,224:float16"`` or ``"ids=1x128:int64"`` as a spec.

    Raises:
        UserError: If the text has another form or an unknown dtype.
    """
    name, equals, rest = text.rpartition("=")
    sizes, colon, dtype = rest.partition(":")
    parts = sizes.strip().lower().strip("()[]").replace("×", "x").replace(",", "x").split("x")
    parts = [part.strip() for part in parts]
    if parts[-1] == "" and sizes.rstrip(" )]").endswith(","):
        parts.pop()  # "(16,)" is how Python writes one size.
    if (equals and not name.strip().isidentifier()) or not all(
        part.isascii() and part.isdigit() and int(part) > 0 for part in parts
    ):
        raise UserError(
            f"--input {text!r} is no input: write sizes above 0 as in 1x3x224x224, with a dtype "
            "as in 1x128:int64, with a name as in input_ids=1x128:int64"
        )
    dtype = dtype.strip().removeprefix("torch.") if colon else "float32"
    if dtype not in units.DTYPE_BYTES or not hasattr(torch, dtype):
        raise UserError(
            f"--input {text!r} has an unknown dtype {dtype!r}; known: "
            f"{', '.join(d for d in units.DTYPE_BYTES if hasattr(torch, d))}"
        )
    return InputSpec(shape=tuple(map(int, parts)), dtype=dtype, name=name.strip())


def find_input(model: nn.Module, loaded: Loaded | None = None) -> tuple[tuple[InputSpec, ...], str]:
    """Inputs that suit the model, and where they come from in words.

    What is known comes first (the variant's size, the library's data configuration, a
    Hugging Face config); else the first layer tells, and of several plausible image sizes
    the first is taken on which ``forward`` runs without raising. That is tried on a copy
    without memory (parameters on the meta device): the model itself does not run.

    Raises:
        UserError: If nothing tells, or ``forward`` wants several inputs.
    """
    known = _known_input(model, loaded)
    if known is not None:
        return known
    _refuse_several(model)
    candidates = list(_candidates(model))
    if not candidates:
        raise UserError(
            f"no layer of {type(model).__name__} tells what its input is: "
            "give it with --input, as in --input 1x3x224x224"
        )
    chosen = candidates[0]
    if len(candidates) > 1:
        chosen = next((c for c in candidates if _runs(model, c[0])), chosen)
    return (chosen[0],), chosen[1]


def _known_input(
    model: nn.Module, loaded: Loaded | None
) -> tuple[tuple[InputSpec, ...], str] | None:
    if loaded is not None and loaded.input_size is not None:
        size = loaded.input_size
        first = _first(model, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        if first is not None and first[1].in_channels != size[1] and size[1] == 3:
            # ``--arg in_chans=1`` changes the model but not the library's data configuration.
            size = (size[0], first[1].in_channels, *size[2:])
        return (InputSpec(shape=size),), f"the size {loaded.name} was made for"
    config = getattr(model, "config", None)
    if isinstance(config, ResNetConfig):
        return (InputSpec(shape=config.input_size),), "the size its stem was made for"
    return _hugging_face(model, config)


def _hugging_face(model: nn.Module, config: Any) -> tuple[tuple[InputSpec, ...], str] | None:
    """Inputs of a transformers model from its config and its own ``dummy_inputs``."""
    dummies = getattr(model, "dummy_inputs", None)
    if config is None or not isinstance(dummies, dict):
        return None
    words = f"what the config of {type(model).__name__} says"
    main = getattr(model, "main_input_name", "input_ids")
    if main == "pixel_values":
        side = getattr(config, "image_size", None) or 224
        height, width = (side, side) if isinstance(side, int) else tuple(side)[:2]
        shape = (1, getattr(config, "num_channels", 3), height, width)
        return (InputSpec(shape=shape, name=main),), words
    specs = tuple(
        InputSpec(
            shape=(1, _tokens(config), *value.shape[2:]),
            dtype=str(value.dtype).removeprefix("torch."),
            name=name,
        )
        for name, value in dummies.items()
        if isinstance(value, Tensor) and value.dim() >= 2
    )
    return (specs, words) if specs else None


def _tokens(config: Any) -> int:
    longest = getattr(config, "max_position_embeddings", None)
    return min(TOKENS, longest) if isinstance(longest, int) and longest > 0 else TOKENS


def _refuse_several(model: nn.Module) -> None:
    parameters = inspect.signature(model.forward).parameters.values()
    needed = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if len(needed) > 1:
        guess = next((spec.shape for spec, _ in _candidates(model)), (1, TOKENS))
        sizes = "x".join(map(str, guess))
        example = " ".join(f"--input {name}={sizes}" for name in needed)
        raise UserError(
            f"forward of {type(model).__name__} takes {', '.join(needed)}: give each with --input, "
            f"as in {example}"
        )


def _first(model: nn.Module, kinds: Any) -> tuple[str, Any] | None:
    """The first registered module of one of these kinds, with its path."""
    return next(((n, m) for n, m in model.named_modules() if isinstance(m, kinds)), None)


_TELLING = (
    nn.Conv1d
    | nn.Conv2d
    | nn.Conv3d
    | nn.Linear
    | nn.LSTM
    | nn.GRU
    | nn.RNN
    | nn.Embedding
    | nn.EmbeddingBag
    | nn.MultiheadAttention
)


def _candidates(model: nn.Module) -> Iterator[tuple[InputSpec, str]]:
    """Plausible inputs by what the first layers take, the likeliest first.

    Registration order is only a hint: a head may be registered before the stem. So the
    first layer of each kind is asked.
    """
    asked: set[type] = set()
    for path, layer in model.named_modules():
        if isinstance(layer, _TELLING) and type(layer) not in asked:
            asked.add(type(layer))
            yield from _inputs_of(path, layer)


def _inputs_of(path: str, layer: Any) -> Iterator[tuple[InputSpec, str]]:
    words = f"guessed from {path or 'the model'} ({type(layer).__name__},"
    dtype = str(layer.weight.dtype).removeprefix("torch.") if hasattr(layer, "weight") else ""
    if dtype not in units.DTYPE_BYTES or not getattr(torch, dtype).is_floating_point:
        dtype = "float32"
    for shape, said in _shapes(layer):
        tokens = isinstance(layer, nn.Embedding | nn.EmbeddingBag)
        time_first = isinstance(layer, (*_RECURRENT, nn.MultiheadAttention)) and (
            not layer.batch_first
        )
        yield (
            InputSpec(
                shape=(shape[1], shape[0], *shape[2:]) if time_first else shape,
                dtype="int64" if tokens else dtype,
                batch_axis=1 if time_first else 0,
            ),
            f"{words} {said})",
        )


def _shapes(layer: Any) -> Iterator[tuple[tuple[int, ...], str]]:
    """Shapes with the batch first."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        said = f"{units.count(layer.in_channels, 'input channel')}"
        if isinstance(layer, nn.Conv2d):
            for side in _SIDES.get(layer.in_channels, _SIDES[3]):
                yield (1, layer.in_channels, side, side), said
        elif isinstance(layer, nn.Conv1d):
            for length in (128, 1024, 16000):
                yield (1, layer.in_channels, length), said
        else:
            for frames, side in ((16, 112), (16, 224), (16, 32), (32, 32)):
                yield (1, layer.in_channels, frames, side, side), said
    elif isinstance(layer, nn.Linear):
        said = f"{units.count(layer.in_features, 'input feature')}"
        yield (1, layer.in_features), said
        yield (1, TOKENS, layer.in_features), said
        side = math.isqrt(layer.in_features)
        if side * side == layer.in_features:
            yield (1, 1, side, side), said
    elif isinstance(layer, _RECURRENT):
        yield (1, TOKENS, layer.input_size), f"input size {layer.input_size}"
    elif isinstance(layer, nn.MultiheadAttention):
        yield (1, TOKENS, layer.embed_dim), f"width {layer.embed_dim}"
    else:
        yield (1, TOKENS), f"{layer.num_embeddings} tokens"


def _runs(model: nn.Module, spec: InputSpec) -> bool:
    """Whether ``forward`` takes this input, tried on a copy that holds no memory."""
    # The copy's forward may draw from global generators; those are not ours to advance.
    with seeded(0), torch.no_grad(), torch.device("meta"):
        try:
            copied = _on_meta(model).eval()
            copied(torch.empty(spec.shape, dtype=getattr(torch, spec.dtype)))
        except Exception:  # The user's forward may raise anything; that is the answer.
            return False
    return True


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy without the model's memory and hooks."""
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [v for m in model.modules() for v in vars(m).values() if isinstance(v, Tensor)]
    memo: dict[int, Any] = {}
    for tensor in tensors:
        meta = tensor.detach().to("meta")
        parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(meta, tensor.requires_grad) if parameter else meta
    copied = copy.deepcopy(model, memo)
    for module in copied.modules():
        # A hook may write to the user's own lists.
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return copied


def make_inputs(
    specs: tuple[InputSpec, ...],
    *,
    batch_size: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    model: nn.Module | None = None,
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Positional and keyword inputs: N(0, 1) floats, uniform integers, masks of ones.

    Values come from a generator of their own on the CPU: the same on every device, and
    torch's global generator is not touched.

    Args:
        specs: What to make.
        batch_size: Replaces the size of each batch axis.
        seed: Of the values.
        device: Where to put them.
        model: Integers stay below the size of its first embedding; without one they are 0
            or 1.

    Raises:
        UserError: If there is no memory for them.
    """
    generator = torch.Generator().manual_seed(seed)
    high = _vocabulary(model)
    args: list[Tensor] = []
    kwargs: dict[str, Tensor] = {}
    for spec in specs:
        if batch_size is not None:
            axis = spec.batch_axis
            shape = (*spec.shape[:axis], batch_size, *spec.shape[axis + 1 :])
            spec = replace(spec, shape=shape)
        try:
            value = _values(spec, high, generator).to(device)
        except RuntimeError as error:  # torch's words for a size that overflows or finds no memory
            raise UserError(f"input {spec} cannot be made: {one_line(error, 120)}") from error
        if spec.name:
            kwargs[spec.name] = value
        else:
            args.append(value)
    return tuple(args), kwargs


def _vocabulary(model: nn.Module | None) -> int:
    """Exclusive upper bound of token numbers."""
    found = None if model is None else _first(model, nn.Embedding | nn.EmbeddingBag)
    return 2 if found is None else int(found[1].num_embeddings)


def _values(spec: InputSpec, high: int, generator: torch.Generator) -> Tensor:
    dtype: torch.dtype = getattr(torch, spec.dtype)
    # torch.device contexts of the caller must not move the draw off the generator.
    if dtype.is_floating_point or dtype.is_complex:
        base = dtype if dtype.is_complex else torch.float32
        drawn = torch.randn(spec.shape, generator=generator, dtype=base, device="cpu")
        return drawn.to(dtype)
    if "mask" in spec.name:
        return torch.ones(spec.shape, dtype=dtype, device="cpu")
    if dtype is torch.bool:
        high = 2
    elif "type" in spec.name:
        high = 1
    else:
        high = min(high, torch.iinfo(dtype).max)
    return torch.randint(high, spec.shape, generator=generator, device="cpu").to(dtype)
