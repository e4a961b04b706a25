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

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "model_state", "net", "module")
_PREFIXES = ("module.", "_orig_mod.")


def is_weights_file(text: str) -> bool:
    """Whether ``--weights TEXT`` means a file rather than a published tag."""
    return text.endswith(SUFFIXES) or "/" in text or "\\" in text or Path(text).is_file()


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a torch file, by name, on the CPU.

    A checkpoint that keeps its state dict under ``state_dict`` or ``model`` is unwrapped,
    and the prefixes of DataParallel and ``torch.compile`` are taken off.

    Raises:
        UserError: If the file does not exist, holds no state dict, or holds pickled
            objects other than tensors.
    """
    path = path.expanduser()
    if not path.is_file():
        raise UserError(f"weights file {path} does not exist")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for _ in range(3):
        inner = next(
            (content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None
        )
        if inner is None:
            break
        content = inner
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(
            f"weights file {path} holds no state dict; its entries are: {listed(content)}"
        )
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: Mapping[str, Any] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is no safetensors file: {one_line(error)}") from error
    return tensors


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Bytes that are no pickle break the reader in any way.
        # The words of torch's refusal of a class or function it does not know as harmless.
        refused = isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower()
        if "TorchScript" in str(error):
            raise UserError(f"{path} is a TorchScript archive, not a state dict") from error
        if not refused:
            raise UserError(
                f"{path} is no torch file: reading it ends in {type(error).__name__}"
            ) from error
        raise UserError(
            f"{path} holds pickled Python objects besides tensors, which could run code: save "
            "its state_dict() with safetensors.torch.save_file where you trust it, and give that"
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a state dict")
    return content


def apply_weights(model: nn.Module, state: Mapping[str, Tensor], *, source: str, name: str) -> None:
    """Loads a state dict that must fit the model exactly.

    Args:
        model: Gets the weights.
        state: Tensors by name.
        source: What to call the weights in an error: a file or a tag.
        name: What to call the model.

    Raises:
        UserError: With the first missing and unexpected keys and the first mismatched shapes.
    """
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
