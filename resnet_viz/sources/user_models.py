"""A model out of a module the user names: found, called, and explained where it fails."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from resnet_viz.core.errors import UserError, listed
from resnet_viz.sources.names import did_you_mean
from resnet_viz.sources.user_code import blame
from resnet_viz.sources.weights import SUFFIXES

_SUFFIXES = "|".join(map(re.escape, (".py", *SUFFIXES)))
_FILE = re.compile(rf"(?P<path>.+(?:{_SUFFIXES}))(?::(?P<name>[^:]*))?")


def split_file(text: str) -> tuple[Path | None, str]:
    """``"a/b.py:Net"`` as its path and name; no path where the text names no file."""
    match = _FILE.fullmatch(text)
    if match is None:
        return None, ""
    return Path(match["path"]), match["name"] or ""


def make(
    module: ModuleType,
    name: str,
    args: Mapping[str, Any],
    *,
    where: str,
    folder: Path,
    meta: bool = False,
) -> Any:
    """The Module or program called ``name``, or what the class or factory of that name makes.

    Args:
        module: Where to look.
        name: May be dotted; empty lists what there is.
        args: Keyword arguments of the class or factory.
        where: What to call the module in an error.
        folder: Folder of the user's code, to name lines of it.
        meta: Build it without memory where its code allows.

    Raises:
        UserError: In one line, for whatever goes wrong.
    """
    modules, factories = offers(module)
    if not name:
        kinds = [("Modules", modules), ("factories", factories)]
        has = "; ".join(f"{kind}: {listed(names)}" for kind, names in kinds if names)
        example = (*modules, *factories, "Name")[0]
        raise UserError(
            f"{where} needs a name behind a colon, as in {where}:{example}; "
            f"it has {has or 'no Modules and no factories'}"
        )
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = (*modules, *factories)
            raise UserError(
                f"{where} has no {name!r}{did_you_mean(name, known)}; "
                f"it has: {listed(known) or 'no Modules and no factories'}"
            )
        found = getattr(found, part)
    what = f"{where}:{name}"
    if isinstance(found, nn.Module) or is_program(found):
        if args:
            raise UserError(f"{what} is a Module already, so it takes no --arg")
        return found
    if not callable(found):
        raise UserError(
            f"{what} is of type {type(found).__name__}, not a Module or a factory of one"
        )
    return call(found, args, what=what, folder=folder, meta=meta)


def offers(module: ModuleType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Public names of the Modules (classes and instances) and factories a module defines."""
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    modules = [
        name
        for name, value in public.items()
        if isinstance(value, nn.Module)
        or (isinstance(value, type) and issubclass(value, nn.Module) and _is_own(value, module))
    ]
    factories = [
        name
        for name, value in public.items()
        if inspect.isfunction(value) and _is_own(value, module) and _may_return_module(value)
    ]
    return tuple(modules), tuple(factories)


def _is_own(value: Any, module: ModuleType) -> bool:
    """Whether the module defines it, or its package does and the module passes it on."""
    home = str(value.__module__)
    return home == module.__name__ or home.startswith(f"{module.__name__}.")


def _may_return_module(function: Callable[..., Any]) -> bool:
    returned = function.__annotations__.get("return", nn.Module)
    if isinstance(returned, str):
        return returned not in ("None", "int", "float", "str", "bool", "Tensor", "torch.Tensor")
    return isinstance(returned, type) and issubclass(returned, nn.Module)


def is_program(value: Any) -> bool:
    """Whether it is a program of ``torch.export``; asks without importing that."""
    exporter = sys.modules.get("torch.export")
    return exporter is not None and isinstance(value, exporter.ExportedProgram)


def call(
    factory: Callable[..., Any],
    args: Mapping[str, Any],
    *,
    what: str,
    folder: Path | None,
    meta: bool = False,
) -> Any:
    """The Module or program that a class or factory makes of these arguments.

    Args:
        factory: The class or function.
        args: Its keyword arguments.
        what: What to call it in an error.
        folder: Folder of the user's code, to name lines of it.
        meta: Build it without memory where its code allows.

    Raises:
        UserError: For arguments that are missing or unknown, for an exception on the way
            (with file and line), and for a result that is no Module.
    """
    _check_arguments(factory, args, what)
    return construct(lambda: factory(**args), what=what, folder=folder, meta=meta)


def construct(
    build: Callable[[], Any], *, what: str, folder: Path | None = None, meta: bool = False
) -> Any:
    """What ``build`` returns, a Module or a program; see ``call``."""
    model = without_memory(build) if meta else None
    if model is None:
        try:
            model = build()
        except (Exception, SystemExit) as error:
            raise UserError(f"{what} could not be built: {blame(error, folder)}") from error
    if not isinstance(model, nn.Module) and not is_program(model):
        raise UserError(
            f"{what} returned a {type(model).__name__}, not a torch.nn.Module: "
            "give a class or a function that returns the model"
        )
    return model


def without_memory(build: Callable[[], Any]) -> Any:
    """What ``build`` makes on the meta device; ``None`` where its code needs values."""
    try:
        with torch.device("meta"):
            return build()
    except (Exception, SystemExit):  # Whatever it is, the build with memory will tell.
        return None


def _check_arguments(factory: Callable[..., Any], args: Mapping[str, Any], what: str) -> None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return  # Some classes written in C show no signature; the call itself will tell.
    positional_only = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]
    takes = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    unknown = [name for name in args if name not in takes]
    if unknown and not takes_any:
        raise UserError(
            f"{what} has no argument {unknown[0]!r}{did_you_mean(unknown[0], takes)}; "
            f"it takes: {listed(takes, 20) or 'none'}"
        )
    missing = [
        p.name
        for p in parameters
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY, p.POSITIONAL_ONLY)
        and p.name not in args
    ]
    if missing:
        hint = (
            "write a factory without them"
            if positional_only
            else " ".join(f"--arg {name}=…" for name in missing)
        )
        raise UserError(f"{what} needs arguments: {', '.join(missing)}; give {hint}")


def is_untrained(model: nn.Module) -> bool:
    """Whether batch norms prove that the model never saw data; False where nothing tells."""
    counters = [
        buffer for name, buffer in model.named_buffers() if name.endswith("num_batches_tracked")
    ]
    if any(counter.device.type == "meta" for counter in counters):
        return False
    return bool(counters) and all(int(counter) == 0 for counter in counters)
