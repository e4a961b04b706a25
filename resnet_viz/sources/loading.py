"""A model from what a person types: a variant, a library's name, a file or a module.

``LOADERS`` holds one function per kind of text, asked in order. A loader returns
``None`` where the text is not its kind, and raises where it is but does not work.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnet_viz.core.errors import UserError, listed
from resnet_viz.sources import libraries, user_models
from resnet_viz.sources.names import did_you_mean
from resnet_viz.sources.seeding import seeded
from resnet_viz.sources.user_code import import_file, import_name, on_path
from resnet_viz.sources.variants import VARIANTS, build
from resnet_viz.sources.weights import SUFFIXES, apply_weights, is_weights_file, read_weights

FORMS = (
    "a variant (resnet-viz models lists them), torchvision:NAME, timm:NAME, "
    "path/to/file.py:Name or pkg.mod:Name"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What was asked for.

    Attributes:
        text: ``resnet50``, ``torchvision:NAME``, ``timm:NAME``, ``file.py:Name`` or
            ``pkg.mod:Name``.
        args: Keyword arguments of the constructor or factory, as pairs.
        weights: A file, a tag that torchvision publishes, or ``None``.
    """

    text: str
    args: tuple[tuple[str, Any], ...] = ()
    weights: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model, and what is known about it.

    Attributes:
        model: In the mode its code left it in.
        name: Short, for titles: ``resnet50``, ``Net``.
        source: Where it came from, in words.
        weights_note: ``random``, the name of a file or tag; begins with ``random`` unless
            weights were given.
        input_size: ``(1, C, H, W)`` it was made for, where that is known.
        mean: Per channel, of the images it was trained on, where that is known.
        std: Likewise.
        folder: Folder that has to be on ``sys.path`` while it runs.
    """

    model: nn.Module
    name: str
    source: str
    weights_note: str = "random"
    input_size: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    folder: Path | None = None

    def running(self) -> AbstractContextManager[None]:
        """A context in which imports inside ``forward`` work as they did at load."""
        return on_path(self.folder)


Loader = Callable[[ModelSpec], "Loaded | None"]


def parse_arg(text: str) -> tuple[str, Any]:
    """``"depth=20"`` as ``("depth", 20)``: a Python literal, or else the text itself.

    Raises:
        UserError: Where there is no name and ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UserError(f"--arg {text!r} is no name=value pair: write it as --arg depth=20")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name, value


def load(spec: ModelSpec, *, seed: int = 0) -> Loaded:
    """The model that ``spec`` names, with its weights.

    Construction is seeded; the global generators are afterwards as they were.

    Raises:
        UserError: In one line, for whatever keeps it from loading.
    """
    with seeded(seed):
        for loader in LOADERS.values():
            loaded = loader(spec)
            if loaded is not None:
                break
        else:
            raise UserError(_unknown(spec.text))
    if isinstance(loaded.model, torch.jit.ScriptModule):
        raise UserError(
            f"{spec.text} is a ScriptModule, whose inside cannot be seen: "
            "give the Python class it was scripted from"
        )
    if spec.weights is not None and is_weights_file(spec.weights):
        file = Path(spec.weights)
        apply_weights(loaded.model, read_weights(file), source=str(file), name=loaded.name)
        return replace(loaded, weights_note=file.name)
    return loaded


def _from_variant(spec: ModelSpec) -> Loaded | None:
    if spec.text not in VARIANTS:
        return None
    model = build(spec.text, **dict(spec.args))
    loaded = Loaded(
        model=model, name=spec.text, source="resnet-viz", input_size=model.config.input_size
    )
    tag = _tag(spec)
    if tag is None:
        return loaded
    # Our ImageNet nets carry torchvision's parameter names, so its weights are theirs.
    published = libraries.torchvision_weights(spec.text, tag)
    apply_weights(model, published.state, source=tag, name=spec.text)
    return replace(loaded, weights_note=tag, mean=published.mean, std=published.std)


def _from_torchvision(spec: ModelSpec) -> Loaded | None:
    kind, _, name = spec.text.partition(":")
    if kind != "torchvision":
        return None
    made = libraries.torchvision_model(name, dict(spec.args))
    tag = _tag(spec)
    if tag is not None:
        published = libraries.torchvision_weights(name, tag)
        apply_weights(made.model, published.state, source=tag, name=name)
        made = replace(made, mean=published.mean, std=published.std)
    return Loaded(
        model=made.model,
        name=name,
        source=made.source,
        weights_note=tag or "random",
        input_size=made.input_size,
        mean=made.mean,
        std=made.std,
    )


def _from_timm(spec: ModelSpec) -> Loaded | None:
    kind, _, name = spec.text.partition(":")
    if kind != "timm":
        return None
    _only_files(spec)
    made = libraries.timm_model(name, dict(spec.args))
    return Loaded(
        model=made.model,
        name=name,
        source=made.source,
        input_size=made.input_size,
        mean=made.mean,
        std=made.std,
    )


def _from_file(spec: ModelSpec) -> Loaded | None:
    path, name = user_models.split_file(spec.text)
    if path is None:
        return None
    if path.suffix in SUFFIXES:
        raise UserError(f"{path} holds weights, not a model: give the model and --weights {path}")
    _only_files(spec)
    module, folder = import_file(path)
    with on_path(folder):
        model = user_models.make(module, name, dict(spec.args), where=str(path), folder=folder)
    return _from_user(model, name, str(path), folder)


def _from_module(spec: ModelSpec) -> Loaded | None:
    module_name, colon, name = spec.text.partition(":")
    if not colon or not all(part.isidentifier() for part in module_name.split(".")):
        return None
    _only_files(spec)
    folder = Path.cwd()
    module = import_name(module_name, folder)
    with on_path(folder):
        model = user_models.make(module, name, dict(spec.args), where=module_name, folder=folder)
    return _from_user(model, name, module_name, folder)


def _from_user(model: nn.Module, name: str, source: str, folder: Path) -> Loaded:
    note = "random" if user_models.is_untrained(model) else f"random unless {source} loads its own"
    return Loaded(
        model=model,
        name=name.rpartition(".")[2],
        source=f"{source}:{name}",
        weights_note=note,
        folder=folder,
    )


LOADERS: dict[str, Loader] = {
    "variant": _from_variant,
    "torchvision": _from_torchvision,
    "timm": _from_timm,
    "file": _from_file,
    "module": _from_module,
}


def _tag(spec: ModelSpec) -> str | None:
    return None if spec.weights is None or is_weights_file(spec.weights) else spec.weights


def _only_files(spec: ModelSpec) -> None:
    tag = _tag(spec)
    if tag is not None:
        raise UserError(
            f"--weights {tag} is no file (published tags are for torchvision: models): give one "
            f"that ends in {listed(SUFFIXES)}"
        )


def _unknown(text: str) -> str:
    if text in libraries.torchvision_names():
        near = f" (did you mean torchvision:{text}?)"
    elif text in libraries.timm_names():
        near = f" (did you mean timm:{text}?)"
    else:
        near = did_you_mean(text, VARIANTS)
    return f"unknown model {text!r}{near}; give {FORMS}"
