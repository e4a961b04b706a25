"""A function or a value of the user's by its text: ``file.py:name`` or ``pkg.mod:name``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from resnet_viz.core.errors import UserError, listed
from resnet_viz.sources.names import did_you_mean
from resnet_viz.sources.user_code import blame, import_file, import_name, on_path
from resnet_viz.sources.user_models import split_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a text names.

    Attributes:
        value: The function or value.
        name: What it is called there.
        place: The module it comes from, as its author calls it.
        folder: Has to be on ``sys.path`` while its code runs.
        what: The option and its text, for messages.
    """

    value: Any
    name: str
    place: str
    folder: Path
    what: str

    @property
    def is_function(self) -> bool:
        """Whether it is to be called, as a function, a partial one or a class is."""
        return inspect.isroutine(self.value) or isinstance(self.value, partial | type)

    def parameter(self, name: str) -> inspect.Parameter | None:
        """The function's parameter of this name, if it has one."""
        return next((p for p in self._parameters() if p.name == name), None)

    def call(self, offered: Mapping[str, Any]) -> Any:
        """What the function returns; of the arguments offered it gets those it takes.

        An argument that is offered as ``None`` is filled in only by its own default.

        Raises:
            UserError: If it needs an argument that nobody offers, or raises.
        """
        arguments: dict[str, Any] = {}
        for parameter in self._parameters():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            value = offered.get(parameter.name)
            if value is not None and parameter.kind is not parameter.POSITIONAL_ONLY:
                arguments[parameter.name] = value
            elif parameter.default is parameter.empty:
                filled = f"; only {', '.join(offered)} are filled in" if offered else ""
                raise UserError(
                    f"{self.what} needs an argument {parameter.name!r}: give it a default{filled}"
                )
        try:
            with on_path(self.folder):
                return self.value(**arguments)
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise UserError(f"{self.what} raised {blame(error, self.folder)}") from error

    def _parameters(self) -> tuple[inspect.Parameter, ...]:
        try:
            return tuple(inspect.signature(self.value).parameters.values())
        except (TypeError, ValueError) as error:  # a builtin, whose arguments nobody can see
            raise UserError(f"{self.what} does not tell its arguments: wrap it in a def") from error


def names_code(text: str) -> bool:
    """Whether the text has the form ``file.py:name`` or ``pkg.mod:name``."""
    path, _ = split_file(text)
    return (path is not None and path.suffix == ".py") or _dotted(text) is not None


def find_function(text: str, option: str, example: str) -> Found:
    """What the text names, imported.

    Args:
        text: ``file.py:name`` or ``pkg.mod:name``; the name of a value works as well.
        option: Where the text comes from, as ``--loss``.
        example: A name, for messages.

    Raises:
        UserError: If it is no such text, or does not import, or there is no such name.
    """
    what = f"{option} {text}"
    module, name, folder = _module(text, what, example)
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
    return Found(
        value=getattr(module, name),
        name=name,
        place=_place(text, module),
        folder=folder,
        what=what,
    )


def _module(text: str, what: str, example: str) -> tuple[ModuleType, str, Path]:
    path, name = split_file(text)
    if path is not None and path.suffix == ".py":
        if not name:
            raise UserError(f"{what} needs a name behind a colon, as in {path}:{example}")
        module, folder = import_file(path)
        return module, name, folder
    dotted = _dotted(text)
    if dotted is None:
        raise UserError(f"{what} is no function: give file.py:{example} or pkg.mod:{example}")
    folder = Path.cwd()
    return import_name(dotted[0], folder), dotted[1], folder


def _dotted(text: str) -> tuple[str, str] | None:
    module_name, colon, name = text.partition(":")
    parts = module_name.split(".")
    is_name = bool(colon and name) and all(part.isidentifier() for part in parts)
    return (module_name, name) if is_name else None


def _place(text: str, module: ModuleType) -> str:
    path, _ = split_file(text)
    return module.__name__.partition(".")[0] if path is None else path.name
