"""``hf:PATH_OR_ID``: a transformers model built from its config, with random weights.

A config is a few kilobytes: nothing else is read or downloaded. Code that comes with
a config is run only where the user says so.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from torch import nn

from resnet_viz.core.errors import UserError, listed, one_line
from resnet_viz.core.units import nbytes
from resnet_viz.sources.labels import transformers_labels
from resnet_viz.sources.libraries import Made, import_library
from resnet_viz.sources.names import did_you_mean
from resnet_viz.sources.user_code import blame
from resnet_viz.sources.user_models import construct, without_memory

_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def transformers_model(
    place: str, args: Mapping[str, Any], *, trust: bool = False, meta: bool = False
) -> Made:
    """A model of transformers with random weights, in evaluation dtype and size of its config.

    Args:
        place: A folder with ``config.json``, such a file, or an id of the Hugging Face Hub.
        args: Entries of the config to set otherwise.
        trust: Whether Python code that comes with the config may run.
        meta: Build it without memory.

    Raises:
        UserError: Without transformers, where the config cannot be read, wants code of its
            own that is not trusted, or builds nothing.
    """
    what = f"hf:{place}"
    transformers = import_library("transformers", what)
    if not place:
        raise UserError("hf: needs a folder with config.json or an id, as in hf:gpt2")
    raw, local = _config_dict(transformers, place)
    raw = _changed(transformers, raw, args, what)
    own, names, kind = _said(raw)
    if kind in transformers.CONFIG_MAPPING and not _needs_own_code(transformers, names, own):
        config = _config(transformers.CONFIG_MAPPING[kind], raw, what)
        builder = _builder(transformers, names)
        own_code = False
    elif own:
        if not trust:
            raise UserError(
                f"{what} wants to run Python code that comes with it "
                f"({listed(_code_files(own), 4)}): give --trust-remote-code if you trust it"
            )
        own_code = True
        config, builder = _own_code(transformers, place, own, names, local, what)
        for name, value in args.items():
            setattr(config, name, value)
    else:
        known = f"{what} has the unknown model_type {kind[:80]!r}" if kind else what
        raise UserError(
            f"{known}{did_you_mean(kind[:80], transformers.CONFIG_MAPPING) if kind else ''}: "
            "its config.json must name a model_type that this transformers "
            f"({transformers.__version__}) knows"
        )
    trial = None if meta else without_memory(lambda: builder(config))
    if trial is not None:
        _check_memory(trial, what)
    model = construct(lambda: builder(config), what=what, meta=meta)
    return Made(
        model=model,
        source=f"transformers {transformers.__version__}" + (", own code" if own_code else ""),
        labels=transformers_labels(config),
    )


def model_name(place: str) -> str:
    """What to call it: the folder's or the id's last part."""
    path = Path(place)
    if path.suffix == ".json":
        path = path.parent
    return path.name or path.resolve().name or "model"


def _config_dict(transformers: Any, place: str) -> tuple[dict[str, Any], bool]:
    """The config as it is written, and whether it lies on this machine."""
    path = Path(place).expanduser()
    local = path.exists()
    if not local and (place[0] in "./~" or place.endswith(".json") or not _ID.fullmatch(place)):
        raise UserError(f"hf:{place}: {path} does not exist; give a folder with config.json")
    if path.is_dir() and not (path / "config.json").is_file():
        raise UserError(f"hf:{place}: there is no config.json in {path}")
    # Without a network the Hub's client would try for half a minute.
    offline = not local and not _reaches_hub()
    try:
        raw, _ = transformers.PretrainedConfig.get_config_dict(
            str(path) if local else place, local_files_only=local or offline
        )
    except (OSError, ValueError, RecursionError) as error:
        if local:
            raise UserError(f"hf:{place}: no config there: {one_line(error, 160)}") from error
        why = "no network" if offline else one_line(error, 120)
        raise UserError(
            f"hf:{place}: its config could not be read from the Hugging Face Hub ({why}): give a "
            "folder with config.json"
        ) from error
    if not isinstance(raw, dict) or not raw:
        raise UserError(f"hf:{place}: config.json holds no config")
    return raw, local


def _said(raw: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str], str]:
    """Code of its own, class names and model type, whatever the file holds in their place."""
    own, names, kind = raw.get("auto_map"), raw.get("architectures"), raw.get("model_type")
    return (
        own if isinstance(own, dict) else {},
        [name for name in names if isinstance(name, str)] if isinstance(names, list) else [],
        kind if isinstance(kind, str) else "",
    )


def _check_memory(model: nn.Module, what: str) -> None:
    """Refuses a model that this machine has no room for, before anybody kills us for it."""
    try:
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return  # Only POSIX tells.
    needed = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    if needed > room > 0:
        raise UserError(
            f"{what} needs {nbytes(needed)} for its parameters and this machine has "
            f"{nbytes(room)}: summary and diagram need no memory"
        )


def _reaches_hub() -> bool:
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname or "", port), timeout=4).close()
    except (OSError, ValueError):
        return False
    return True


def _changed(
    transformers: Any, raw: dict[str, Any], args: Mapping[str, Any], what: str
) -> dict[str, Any]:
    """The config with the entries that ``--arg`` names; those must exist."""
    if not args:
        return raw
    kind = _said(raw)[2]
    known = set(raw)
    if kind in transformers.CONFIG_MAPPING:
        known |= set(transformers.CONFIG_MAPPING[kind]().to_dict())
    for name in args:
        if name not in known:
            raise UserError(
                f"{what} has no config entry {name!r}{did_you_mean(name, known)}; "
                "--arg sets entries of its config"
            )
    return {**raw, **args}


def _config(kind: Any, raw: dict[str, Any], what: str) -> Any:
    try:
        return kind.from_dict(raw)
    except Exception as error:  # Configs check themselves in any way they like.
        raise UserError(f"{what}: its config is refused: {one_line(error, 200)}") from error


def _class(transformers: Any, name: str) -> Any:
    """The model class of this name; ``None`` for any other name of the library."""
    found = getattr(transformers, name, None) if name.isidentifier() else None
    is_model = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)
    return found if is_model else None


def _needs_own_code(transformers: Any, names: list[str], own: Mapping[str, Any]) -> bool:
    """Whether the class it names comes with it and the library has none of that name."""
    return bool(own and names) and _class(transformers, names[0]) is None


def _builder(transformers: Any, names: list[str]) -> Any:
    found = _class(transformers, names[0]) if names else None
    return transformers.AutoModel.from_config if found is None else found._from_config


def _code_files(own: Mapping[str, Any]) -> list[str]:
    texts = [t for v in own.values() for t in (v if isinstance(v, list | tuple) else (v,))]
    return sorted({f"{str(t).rpartition('.')[0]}.py" for t in texts if t})


def _own_code(
    transformers: Any, place: str, own: Mapping[str, Any], names: list[str], local: bool, what: str
) -> tuple[Any, Any]:
    """The config and the builder that come with it; runs their code."""
    keys = [key for key in own if key.startswith("AutoModel")]
    keys.sort(key=lambda key: str(own[key]).rpartition(".")[2] not in names)
    if not keys:
        raise UserError(f"{what} brings code for {listed(own)}, but for no model")
    options = {"trust_remote_code": True, "local_files_only": local}
    try:
        place = str(Path(place).expanduser()) if local else place
        config = transformers.AutoConfig.from_pretrained(place, **options)
        auto = getattr(transformers, keys[0])
    except Exception as error:  # Anybody's code may raise anything.
        raise UserError(f"{what}: its code does not run: {blame(error, None)}") from error

    def build(config: Any) -> nn.Module:
        model: nn.Module = auto.from_config(config, trust_remote_code=True)
        return model

    return config, build
