"""A model from what a person types: a variant, a library's name, a file or a module.

``LOADERS`` holds one function per kind of text, asked in order. A loader returns
``None`` where the text is not its kind, and raises where it is but does not work.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import UserError, listed
from resnet_viz.sources import config_files, libraries, user_models
from resnet_viz.sources.family.net_config import NetConfig
from resnet_viz.sources.labels import IMAGENET_CLASSES, imagenet_labels
from resnet_viz.sources.names import did_you_mean
from resnet_viz.sources.seeding import seeded
from resnet_viz.sources.trained import nets
from resnet_viz.sources.unwrapping import unwrap
from resnet_viz.sources.user_code import import_file, import_name, on_path
from resnet_viz.sources.variants import VARIANTS, build, configure
from resnet_viz.sources.weights import SUFFIXES, apply_weights, is_weights_file, read_weights
from resnet_viz.tracing.opened import eager

FORMS = (
    "a variant (resnet-viz models lists them), net.toml, torchvision:NAME, timm:NAME, "
    "hf:PATH_OR_ID, path/to/file.py:Name, pkg.mod:Name or model.pt2"
)
_OWN = "resnet-viz"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What was asked for.

    Attributes:
        text: ``resnet50``, ``net.toml``, ``torchvision:NAME``, ``timm:NAME``, ``hf:PATH_OR_ID``,
            ``file.py:Name``, ``pkg.mod:Name`` or ``model.pt2``.
        args: Keyword arguments of the constructor or factory (entries of the config for
            ``hf:``), as pairs.
        weights: A file, a tag that torchvision publishes, or ``None``.
        unsafe_load: Whether files may be unpickled that run code then.
        trust_remote_code: Whether Python code that comes with a ``hf:`` config may run.
        meta: Build it on the meta device, without memory, where its code allows.
    """

    text: str
    args: tuple[tuple[str, Any], ...] = ()
    weights: str | None = None
    unsafe_load: bool = False
    trust_remote_code: bool = False
    meta: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model, and what is known about it.

    Attributes:
        model: In the mode its code left it in; the module inside, where it is wrapped.
        name: Short, for titles: ``resnet50``, ``Net``.
        source: Where it came from, in words.
        weights_note: ``random``, the name of a file or tag; begins with ``random`` unless
            weights were given.
        input_size: ``(1, C, H, W)`` it was made for, where that is known.
        mean: Per channel, of the images it was trained on, where that is known.
        std: Likewise.
        labels: Names of its classes, by index, where they are known.
        images: Pictures of its own data, to explain where none are given.
        data: The data it was trained on, which gradients are measured on where nothing is
            given; empty where that is not at hand.
        folder: Folder that has to be on ``sys.path`` while it runs.
        notes: One line each: what was taken off it, what it lacks.
        hollow: Why it has no values, where its wrapper keeps them elsewhere; else empty.
        example: Inputs that came with it, or ``None``.
        replicated: Whether it came in DDP, as one of several copies.
        sharded: What runs in its place where FSDP2 spreads the parameters, else ``None``.
    """

    model: nn.Module
    name: str
    source: str
    weights_note: str = "random"
    input_size: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()
    data: str = ""
    folder: Path | None = None
    notes: tuple[str, ...] = ()
    hollow: str = ""
    example: Batch | None = None
    replicated: bool = False
    sharded: nn.Module | None = None

    def why_hollow(self) -> str:
        """Why nothing can be computed with it; empty where that is possible."""
        if self.hollow or all(p.device.type != "meta" for p in self.model.parameters()):
            return self.hollow
        return "it is on the meta device, without values; build it with memory to measure it"

    @contextmanager
    def running(self) -> Iterator[None]:
        """A context for its forward: imports work as at load, nothing runs compiled."""
        with on_path(self.folder), eager():
            yield


Loader = Callable[[ModelSpec], "Loaded | None"]


def parse_arg(text: str) -> tuple[str, Any]:
    """``"depth=20"`` as ``("depth", 20)``: a Python literal, or else the text itself.

    ``true`` and ``false`` are read as TOML and JSON write them, too.

    Raises:
        UserError: Where there is no name and ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UserError(f"--arg {text!r} is no name=value pair: write it as --arg depth=20")
    if value in ("true", "false"):
        return name, value == "true"
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
    loaded = look_inside(loaded, spec.text)
    if spec.weights is not None and is_weights_file(spec.weights):
        file = Path(spec.weights)
        state = read_weights(file, unsafe=spec.unsafe_load)
        apply_weights(loaded.model, state, source=str(file), name=loaded.name)
        return replace(loaded, weights_note=file.name)
    return loaded


def given(model: Any, name: str = "") -> Loaded:
    """A model that Python has at hand: a Module, wrapped or not, or an exported program.

    Raises:
        UserError: For anything else, a ScriptModule among it.
    """
    if not isinstance(model, nn.Module) and not user_models.is_program(model):
        kind = type(model).__name__
        raise UserError(
            f"a {kind} was given: give a torch.nn.Module, a program of torch.export or text"
            + (" (a function has no modules: put it into one)" if callable(model) else "")
        )
    source = "the program given" if user_models.is_program(model) else "the module given"
    loaded = Loaded(model=model, name=name, source=source, weights_note="as given")
    loaded = look_inside(loaded, name or f"the {type(model).__name__} given")
    return loaded if name else replace(loaded, name=type(loaded.model).__name__)


def look_inside(loaded: Loaded, what: str) -> Loaded:
    """The same with wrappers taken off, and with an exported program as a module.

    Raises:
        UserError: For a ScriptModule.
    """
    if user_models.is_program(loaded.model):
        from resnet_viz.sources.archives import exported

        module, example, notes = exported(loaded.model)  # type: ignore[arg-type]
        return replace(loaded, model=module, example=example, notes=notes)
    found = unwrap(loaded.model)
    if isinstance(found.model, torch.jit.ScriptModule):
        raise UserError(
            f"{what} is a ScriptModule, whose inside cannot be seen: "
            "give the Python class it was made from"
        )
    return replace(
        loaded,
        model=found.model,
        notes=found.notes,
        hollow=found.hollow,
        replicated=found.replicated,
        sharded=found.sharded,
    )


def _from_trained(spec: ModelSpec) -> Loaded | None:
    # Changed, or with weights from elsewhere, it is a variant like any other.
    if spec.text not in nets.NETS or spec.args or spec.weights is not None:
        return None
    loaded = _from_config(spec, VARIANTS[spec.text], variant=spec.text, name=spec.text, source=_OWN)
    facts = nets.read_facts(spec.text)
    if not spec.meta:
        apply_weights(loaded.model, nets.read_tensors(spec.text), source=_OWN, name=spec.text)
    return replace(
        loaded,
        weights_note=facts.note,
        mean=facts.mean,
        std=facts.std,
        labels=facts.labels,
        images=nets.own_pictures(spec.text),
        data=facts.data,
    )


def _from_variant(spec: ModelSpec) -> Loaded | None:
    if spec.text not in VARIANTS:
        return None
    config = configure(spec.text, **dict(spec.args))
    return _from_config(spec, config, variant=spec.text, name=spec.text, source=_OWN)


def _from_config_file(spec: ModelSpec) -> Loaded | None:
    path = Path(spec.text).expanduser()
    if path.suffix.lower() not in config_files.SUFFIXES:
        return None
    config, variant = config_files.read_config(path, dict(spec.args))
    return _from_config(spec, config, variant=variant, name=path.stem, source=path.name)


def _from_config(
    spec: ModelSpec, config: NetConfig, *, variant: str, name: str, source: str
) -> Loaded:
    with torch.device("meta") if spec.meta else nullcontext():
        model = build(config)
    named = variant and config.num_classes == IMAGENET_CLASSES
    loaded = Loaded(
        model=model,
        name=name,
        source=source,
        input_size=config.input_size,
        labels=imagenet_labels() if named else (),
    )
    tag = _tag(spec)
    if tag is None:
        return loaded
    if not variant:
        _only_files(spec)
    # torchvision's nets have the same names here, and its weights their parameters.
    published = libraries.torchvision_weights(variant, tag)
    apply_weights(model, published.state, source=tag, name=name)
    return replace(loaded, weights_note=tag, mean=published.mean, std=published.std)


def _from_torchvision(spec: ModelSpec) -> Loaded | None:
    kind, _, name = spec.text.partition(":")
    if kind != "torchvision":
        return None
    made = libraries.torchvision_model(name, dict(spec.args), meta=spec.meta)
    tag = _tag(spec)
    if tag is not None:
        published = libraries.torchvision_weights(name, tag)
        apply_weights(made.model, published.state, source=tag, name=name)
        labels = published.labels if made.labels else ()
        made = replace(made, mean=published.mean, std=published.std, labels=labels)
    return Loaded(
        model=made.model,
        name=name,
        source=made.source,
        weights_note=tag or "random",
        input_size=made.input_size,
        mean=made.mean,
        std=made.std,
        labels=made.labels,
    )


def _from_timm(spec: ModelSpec) -> Loaded | None:
    kind, _, name = spec.text.partition(":")
    if kind != "timm":
        return None
    _only_files(spec)
    made = libraries.timm_model(name, dict(spec.args), meta=spec.meta)
    return Loaded(
        model=made.model,
        name=name,
        source=made.source,
        input_size=made.input_size,
        mean=made.mean,
        std=made.std,
        labels=made.labels,
    )


def _from_transformers(spec: ModelSpec) -> Loaded | None:
    kind, _, place = spec.text.partition(":")
    if kind != "hf":
        return None
    _only_files(spec)
    from resnet_viz.sources.hugging_face_models import model_name, transformers_model

    made = transformers_model(place, dict(spec.args), trust=spec.trust_remote_code, meta=spec.meta)
    return Loaded(model=made.model, name=model_name(place), source=made.source, labels=made.labels)


def _from_archive(spec: ModelSpec) -> Loaded | None:
    path = Path(spec.text).expanduser()
    if path.suffix not in (*SUFFIXES, ".pt2"):
        return None
    _only_files(spec)
    if spec.args:
        raise UserError(f"{path} holds no constructor, so it takes no --arg")
    from resnet_viz.sources.archives import read_model

    # Its folder is on the path: a pickled model needs the code of its classes.
    with on_path(path.parent.resolve()):
        model = read_model(path, unsafe=spec.unsafe_load)
    return Loaded(
        model=model,  # type: ignore[arg-type]
        name=path.stem,
        source=path.name,
        weights_note=path.name,
        folder=path.parent.resolve(),
    )


def _from_file(spec: ModelSpec) -> Loaded | None:
    path, name = user_models.split_file(spec.text)
    if path is None:
        return None
    if path.suffix in SUFFIXES:
        raise UserError(f"{path} is no Python file, so nothing in it is called {name!r}")
    _only_files(spec)
    module, folder = import_file(path)
    with on_path(folder):
        model = user_models.make(
            module, name, dict(spec.args), where=str(path), folder=folder, meta=spec.meta
        )
    return _from_user(model, name, str(path), folder)


def _from_module(spec: ModelSpec) -> Loaded | None:
    module_name, colon, name = spec.text.partition(":")
    if not colon or not all(part.isidentifier() for part in module_name.split(".")):
        return None
    _only_files(spec)
    folder = Path.cwd()
    module = import_name(module_name, folder)
    with on_path(folder):
        model = user_models.make(
            module, name, dict(spec.args), where=module_name, folder=folder, meta=spec.meta
        )
    return _from_user(model, name, module_name, folder)


def _from_user(model: Any, name: str, source: str, folder: Path) -> Loaded:
    if user_models.is_program(model):
        note = "those of the export"
    elif user_models.is_untrained(model):
        note = "random"
    else:
        note = f"random unless {source} loads its own"
    return Loaded(
        model=model,
        name=name.rpartition(".")[2],
        source=f"{source}:{name}",
        weights_note=note,
        folder=folder,
    )


LOADERS: dict[str, Loader] = {
    "trained": _from_trained,
    "variant": _from_variant,
    "torchvision": _from_torchvision,
    "timm": _from_timm,
    "hf": _from_transformers,
    "config": _from_config_file,
    "archive": _from_archive,
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
