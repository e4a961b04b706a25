"""Weights from a file or a published tag into a model, or one line that says why not."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.core import units
from resnet_viz.core.errors import UserError, listed, one_line
from resnet_viz.sources.family.key_maps import translated
from resnet_viz.sources.family.net_config import NetConfig

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")
_INSTEAD = (
    "save its state_dict() with safetensors.torch.save_file where you trust it, and give that, "
    "or give --unsafe-load"
)
_WRAPPERS = ("state_dict", "model_state_dict", "model", "model_state", "net", "module")
PREFIXES = ("module.", "_orig_mod.")
"""Which DataParallel and ``torch.compile`` put before every name."""


def is_weights_file(text: str) -> bool:
    """Whether ``--weights TEXT`` means a file rather than a published tag."""
    return text.endswith(SUFFIXES) or "/" in text or "\\" in text or Path(text).is_file()


def read_weights(path: Path, *, unsafe: bool = False) -> dict[str, Tensor]:
    """The tensors of a safetensors file, a torch file or a program, by name, on the CPU.

    A checkpoint that keeps its state dict under ``state_dict`` or ``model`` is unwrapped,
    and the prefixes of DataParallel and ``torch.compile`` are taken off.

    Args:
        path: The file.
        unsafe: Whether pickled objects besides tensors may be made, which can run code.

    Raises:
        UserError: If the file does not exist, holds no state dict, or holds pickled
            objects other than tensors.
    """
    path = path.expanduser()
    if not path.is_file():
        raise UserError(f"weights file {path} does not exist")
    content = load_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path, unsafe)
    content = innermost(content)[0]
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(
            f"weights file {path} holds no state dict; its entries are: {listed(content)}"
        )
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def innermost(content: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], tuple[str, ...]]:
    """The state dict inside a checkpoint, and the keys it was found under."""
    keys: tuple[str, ...] = ()
    for _ in range(3):
        key = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if key is None:
            break
        content, keys = content[key], (*keys, key)
    return content, keys


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        UserError: If it is no such file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is no safetensors file: {one_line(error, 120)}") from error
    return tensors


def _read_torch(path: Path, unsafe: bool) -> Mapping[str, Any]:
    if path.suffix == ".pt2":
        from resnet_viz.sources.programs import load_program

        weights: Mapping[str, Any] = load_program(path, unsafe=unsafe).state_dict
        return weights
    content = load_torch(path, unsafe=unsafe)
    state: Any = content.state_dict() if isinstance(content, nn.Module) else content
    if not isinstance(state, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a state dict")
    return state


def load_torch(
    path: Path, *, unsafe: bool = False, device: str = "cpu", instead: str = _INSTEAD
) -> Any:
    """What ``torch.save`` wrote: tensors in plain containers, and no other objects.

    Args:
        path: The file.
        unsafe: Whether any objects may be made, which can run code.
        device: Where to put the tensors; on ``meta`` they are only described.
        instead: What to do, in words, where it holds other objects.

    Raises:
        UserError: If it is no such file, or holds other objects.
    """
    try:
        return torch.load(path, map_location=device, weights_only=not unsafe)
    except Exception as error:  # Bytes that are no pickle break the reader in any way.
        # The words of torch's refusal of a class or function it does not know as harmless.
        refused = isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower()
        if "TorchScript" in str(error):
            raise UserError(
                f"{path} is a TorchScript archive, not a state dict: where you trust it, save "
                "torch.jit.load(…).state_dict() and give that"
            ) from error
        if not refused:
            raise UserError(
                f"{path} is no torch file: reading it ends in {type(error).__name__}"
            ) from error
        raise UserError(
            f"{path} holds pickled Python objects besides tensors, which could run code: {instead}"
        ) from error


def apply_weights(model: nn.Module, state: Mapping[str, Tensor], *, source: str, name: str) -> None:
    """Loads a state dict that must fit the model exactly.

    A net of our own also takes what timm and transformers save for the same net.

    Args:
        model: Gets the weights.
        state: Tensors by name.
        source: What to call the weights in an error: a file or a tag.
        name: What to call the model.

    Raises:
        UserError: With the first missing and unexpected keys and the first mismatched shapes.
    """
    config = getattr(model, "config", None)
    if isinstance(config, NetConfig):
        state = translated(config, state)
    own = model.state_dict(keep_vars=True)
    problems = [
        f"{key} is {units.shape(tuple(value.shape))} there and "
        f"{units.shape(tuple(own[key].shape))} in the model"
        for key, value in state.items()
        if key in own and _is_sized(own[key]) and value.shape != own[key].shape
    ]
    present = {id(own[key]) for key in state if key in own}
    missing = [
        key
        for key, value in own.items()
        # A file may hold tied weights once; old files have no counters of batches.
        if key not in state and id(value) not in present and not key.endswith("num_batches_tracked")
    ]
    unexpected = [key for key in state if key not in own]
    if missing or unexpected or problems:
        parts = [
            f"missing: {listed(missing, 3)}" if missing else "",
            f"unexpected: {listed(unexpected, 3)}" if unexpected else "",
            f"shapes: {listed(problems, 2)}" if problems else "",
        ]
        raise UserError(
            f"weights {source} do not fit {name}; {'; '.join(part for part in parts if part)}"
        )
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(f"weights {source} do not fit {name}; {one_line(error)}") from error


def _is_sized(value: Any) -> bool:
    """False for parameters of lazy modules and for extra state that is no tensor."""
    return isinstance(value, Tensor) and not nn.parameter.is_lazy(value)
