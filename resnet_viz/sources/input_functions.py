"""Inputs that a function of the user's makes: ``--inputs-from file.py:make_batch``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from resnet_viz.core.batch import BATCH_SIZE, Batch
from resnet_viz.core.errors import UserError, listed
from resnet_viz.sources.batches import first_batch, given_batch
from resnet_viz.sources.names import did_you_mean
from resnet_viz.sources.seeding import seeded
from resnet_viz.sources.signatures import binds
from resnet_viz.sources.user_code import blame, import_file, import_name, on_path
from resnet_viz.sources.user_models import split_file


def function_batch(
    text: str,
    model: nn.Module,
    *,
    batch_size: int | None = None,
    seed: int = 0,
    kwargs: Mapping[str, Any] | None = None,
) -> Batch:
    """What the function returns, as one batch.

    It may return whatever ``forward`` takes (a tensor, a tuple ``*args``, a dict
    ``**kwargs``), or be a loader or a generator of pairs ``(inputs, targets)``, whose first
    is taken. It may also return such a pair where that cannot be mistaken: ``inputs`` is a
    dict of ``forward``'s arguments, or ``forward`` could not take the two. Arguments called
    ``batch_size``, ``model`` and ``seed`` are filled in. Random numbers are seeded.

    Args:
        text: ``file.py:name`` or ``pkg.mod:name``; the name of a value works as well.
        model: Whose ``forward`` it is for.
        batch_size: For the function, if it takes one.
        seed: Of the random numbers it draws.
        kwargs: More keyword arguments of ``forward``.

    Raises:
        UserError: In one line, for whatever keeps it from working; with the line of the
            user's code where that raised.
    """
    what = f"--inputs-from {text}"
    module, name, folder = _module(text, what)
    if not hasattr(module, name):
        known = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise UserError(
            f"{what}: there is no {name!r}{did_you_mean(name, known)}; "
            f"its functions: {listed(known) or 'none'}"
        )
    made = getattr(module, name)
    with on_path(folder), seeded(seed):
        if inspect.isroutine(made):
            offered = {"batch_size": batch_size, "model": model, "seed": seed}
            made = _called(made, offered, what, folder)
        if made is None:
            raise UserError(f"{what} returned nothing: end it with return")
        try:
            batch = _batch(made, model, dict(kwargs or {}), seed)
        except UserError as error:
            raise UserError(f"{what}: {error}") from error
    return replace(batch, words=f"what {name} of {module.__name__.partition('.')[0]} made")


def _module(text: str, what: str) -> tuple[ModuleType, str, Path]:
    path, name = split_file(text)
    if path is not None and path.suffix == ".py":
        if not name:
            raise UserError(f"{what} needs a name behind a colon, as in {path}:make_batch")
        module, folder = import_file(path)
        return module, name, folder
    module_name, colon, name = text.partition(":")
    parts = module_name.split(".")
    if not colon or not name or not all(part.isidentifier() for part in parts):
        raise UserError(f"{what} is no function: give file.py:make_batch or pkg.mod:make_batch")
    folder = Path.cwd()
    return import_name(module_name, folder), name, folder


def _called(
    function: Callable[..., Any], offered: Mapping[str, Any], what: str, folder: Path
) -> Any:
    arguments: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        needed = parameter.default is parameter.empty
        value = offered.get(parameter.name)
        if value is None and parameter.name == "batch_size" and needed:
            value = BATCH_SIZE
        if value is not None and parameter.kind is not parameter.POSITIONAL_ONLY:
            arguments[parameter.name] = value
        elif needed:
            raise UserError(
                f"{what} needs an argument {parameter.name!r}: give it a default; "
                f"only {', '.join(offered)} are filled in"
            )
    try:
        return function(**arguments)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UserError(f"{what} raised {blame(error, folder)}") from error


def _batch(made: Any, model: nn.Module, kwargs: dict[str, Any], seed: int) -> Batch:
    if isinstance(made, Iterable) and not isinstance(made, Tensor | Mapping | tuple | list | str):
        return first_batch(made, seed=seed, model=model, kwargs=kwargs)
    if type(made) is tuple and len(made) == 2:
        inputs = given_batch(made[0], model, kwargs)
        is_plain = bool(inputs.args) and binds(model, made, kwargs)
        if not is_plain and binds(model, inputs.args, inputs.kwargs):
            return replace(inputs, targets=made[1])
    return given_batch(made, model, kwargs)
