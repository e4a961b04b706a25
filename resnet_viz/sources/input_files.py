"""Inputs that lie in files: torch, safetensors and NumPy, none of which may run code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import UserError, listed, one_line
from resnet_viz.sources.batches import given_batch
from resnet_viz.sources.signatures import check_keywords
from resnet_viz.sources.weights import load_safetensors, load_torch

_INSTEAD = "save tensors, lists and dicts, or give a function with --inputs-from"
SUFFIXES = (".pt", ".pth", ".safetensors", ".npz", ".npy")


def file_batch(
    texts: Iterable[str], model: nn.Module, kwargs: Mapping[str, Any] | None = None
) -> Batch:
    """The inputs in one or more files, as ``--input-file`` names them.

    A dict is ``**kwargs``, whose keys are names of ``forward``'s arguments; a tensor, a
    tuple or a list is read as ``batches.given_batch`` reads it; of several files each is
    one argument. ``name=file`` gives the content to one of them by name; of a file of
    named arrays (safetensors, npz) the array of that name, or the only one. NumPy's own
    names for arrays without one (``arr_0``) stand for positions.

    Args:
        texts: Paths, or ``name=path``.
        model: Whose ``forward`` they are for.
        kwargs: More keyword arguments.

    Raises:
        UserError: In one line, for a file that is missing or cannot be read without
            running code, and for names that ``forward`` does not have.
    """
    places: list[Any] = []
    named = dict(kwargs or {})
    words: list[str] = []
    for text in texts:
        name, path = _split(text)
        content = read_input(path)
        words.append(f"{name} = {path.name}" if name else path.name)
        new: dict[str, Any] = {}
        if name:
            new = {name: _one(name, path, content)}
        elif isinstance(content, Mapping):
            new = dict(content)
        else:
            places.append(content)
        check_keywords(model, new, f"--input-file {text}")
        twice = [key for key in new if key in named]
        if twice:
            raise UserError(f"--input-file {text}: {twice[0]} was given before")
        named |= new
    if len(places) == 1:
        batch = given_batch(places[0], model, named)
    else:
        batch = Batch(args=tuple(places), kwargs=named)
    return replace(batch, words=", ".join(words))


def _one(name: str, path: Path, content: Any) -> Any:
    """What a file holds for one argument."""
    if path.suffix not in (".safetensors", ".npz") or not isinstance(content, Mapping | tuple):
        return content
    held = content if isinstance(content, Mapping) else dict(enumerate(content))
    if name in held:
        return held[name]
    if len(held) == 1:
        return next(iter(held.values()))
    raise UserError(
        f"--input-file {name}={path}: it holds {listed(held)}, none of them called {name!r}: "
        "give the file without a name, or save one array"
    )


def _split(text: str) -> tuple[str, Path]:
    name, equals, rest = text.partition("=")
    if equals and name.strip().isidentifier() and not Path(text).is_file():
        return name.strip(), Path(rest.strip()).expanduser()
    return "", Path(text).expanduser()


def read_input(path: Path) -> Any:
    """What a file holds: a tensor, or tensors and plain values in tuples, lists and dicts.

    Raises:
        UserError: If it is missing, of another kind, damaged, or holds pickled objects.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"input file {path}: its suffix must be one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"input file {path} {kind}")
    content: Any
    if path.suffix == ".safetensors":
        content = load_safetensors(path)
    elif path.suffix in (".npz", ".npy"):
        content = _numpy(path)
    else:
        content = load_torch(path, instead=_INSTEAD)
    if isinstance(content, Mapping | tuple) and not content:
        raise UserError(f"input file {path} is empty")
    return content


def _numpy(path: Path) -> Tensor | dict[str, Tensor] | tuple[Tensor, ...]:
    try:
        import numpy as np
    except ImportError as error:
        raise UserError(f"{path} needs numpy, which is not installed: pip install numpy") from error
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return torch.from_numpy(content)
        with content:
            named = {name: torch.from_numpy(content[name]) for name in content.files}
    except (ValueError, OSError, EOFError, TypeError, SyntaxError) as error:
        if "allow_pickle" in str(error) or "pickled" in str(error):
            raise UserError(
                f"{path} holds pickled Python objects, which could run code: save arrays of numbers"
            ) from error
        raise UserError(f"{path} is no NumPy file: {one_line(error, 120)}") from error
    # ``np.savez(file, a, b)`` calls arrays without a name so.
    places = [f"arr_{i}" for i in range(len(named))]
    return tuple(map(named.__getitem__, places)) if set(places) == set(named) else named
