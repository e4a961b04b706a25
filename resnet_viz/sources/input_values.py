"""Values for inputs of which only shape and dtype are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.core.errors import UserError, one_line
from resnet_viz.sources.inputs import InputSpec
from resnet_viz.sources.trials import Role, roles, try_forward
from resnet_viz.tracing.trees import input_tensors

_NO_ROLE = Role()


def make_inputs(
    specs: tuple[InputSpec, ...],
    *,
    batch_size: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    model: nn.Module | None = None,
    given: Mapping[str, Any] | None = None,
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Positional and keyword inputs: N(0, 1) floats, uniform integers, masks that show all.

    Values come from a generator of their own on the CPU: the same on every device, and
    torch's global generator is not touched. On the meta device there are no values, and
    no memory is taken.

    Args:
        specs: What to make.
        batch_size: Replaces the size of each batch axis.
        seed: Of the values.
        device: Where to put them.
        model: Integers stay below the rows of the embedding that looks them up, or of the
            first one where that cannot be seen; without one they are 0 or 1.
        given: Keyword arguments that go to ``forward`` beside these.

    Raises:
        UserError: If there is no memory for them.
    """
    if batch_size is not None:
        specs = tuple(spec.with_batch(batch_size) for spec in specs)
    if torch.device(device).type == "meta":
        return _arranged(specs, [_made(spec, _empty) for spec in specs])
    known = _known_roles(model, specs, given or {})
    fallback = 2 if model is None else _first_table(model)
    generator = torch.Generator().manual_seed(seed)

    def draw(spec: InputSpec) -> Tensor:
        role = known.get(id(spec), _NO_ROLE)
        return _values(spec, role, fallback, generator).to(device)

    return _arranged(specs, [_made(spec, draw) for spec in specs])


def _arranged(
    specs: tuple[InputSpec, ...], tensors: list[Tensor]
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    pairs = list(zip(specs, tensors, strict=True))
    args = tuple(tensor for spec, tensor in pairs if not spec.name)
    return args, {spec.name: tensor for spec, tensor in pairs if spec.name}


def _made(spec: InputSpec, make: Any) -> Tensor:
    try:
        tensor: Tensor = make(spec)
    except RuntimeError as error:  # torch's words for a size that overflows or finds no memory
        raise UserError(f"input {spec} cannot be made: {one_line(error, 120)}") from error
    return tensor


def _empty(spec: InputSpec) -> Tensor:
    return torch.empty(spec.shape, dtype=getattr(torch, spec.dtype), device="meta")


def _known_roles(
    model: nn.Module | None, specs: tuple[InputSpec, ...], given: Mapping[str, Any]
) -> dict[int, Role]:
    """What the values of each integer or boolean input stand for, by ``id`` of its spec."""
    if model is None or not any(_is_discrete(spec) for spec in specs):
        return {}
    tensors = [_made(spec, _empty) for spec in specs]
    args, kwargs = _arranged(specs, tensors)
    graph = try_forward(model, args, {**given, **kwargs}).graph
    if graph is None:
        return {}
    found = roles(graph)
    labels = {
        id(tensor): label for label, tensor in input_tensors(model, args, {**given, **kwargs})
    }
    return {
        id(spec): found[labels[id(tensor)]]
        for spec, tensor in zip(specs, tensors, strict=True)
        if labels.get(id(tensor)) in found
    }


def _is_discrete(spec: InputSpec) -> bool:
    dtype: torch.dtype = getattr(torch, spec.dtype)
    return not (dtype.is_floating_point or dtype.is_complex)


def _first_table(model: nn.Module) -> int:
    """Rows of the first embedding."""
    tables = (m for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag))
    first = next(tables, None)
    return 2 if first is None else int(first.num_embeddings)


def _values(spec: InputSpec, role: Role, fallback: int, generator: torch.Generator) -> Tensor:
    dtype: torch.dtype = getattr(torch, spec.dtype)
    # torch.device contexts of the caller must not move the draw off the generator.
    if not _is_discrete(spec) and "mask" not in spec.name:
        base = dtype if dtype.is_complex else torch.float32
        drawn = torch.randn(spec.shape, generator=generator, dtype=base, device="cpu")
        return drawn.to(dtype)
    if "mask" in spec.name or role.blocks:
        # Everything is to be seen: what True means depends on who asks, torch's own
        # padding masks mean the opposite of everyone else's.
        hides = role.blocks or "padding_mask" in spec.name
        return torch.full(spec.shape, 0 if hides else 1, dtype=dtype, device="cpu")
    if role.limit is not None:
        high = role.limit
    elif dtype is torch.bool:
        high = 2
    elif "type" in spec.name:
        high = 1
    elif "len" in spec.name:
        return torch.ones(spec.shape, dtype=dtype, device="cpu")
    else:
        high = fallback
    high = max(1, min(high, 2 if dtype is torch.bool else torch.iinfo(dtype).max))
    return torch.randint(high, spec.shape, generator=generator, device="cpu").to(dtype)
