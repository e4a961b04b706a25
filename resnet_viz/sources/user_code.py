"""Imports of the user's own files: what is on ``sys.path``, and what to say on failure.

A file runs as its author runs it (its folder first on ``sys.path``; inside a package
by its package name), and two files whose neighbours share a name do not see each
other's.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from types import ModuleType

from resnet_viz.core.errors import UserError, one_line

_FRAME = re.compile(r'^ *File "([^<].*)", line (\d+), in ', re.MULTILINE)

_NEIGHBOURS: dict[Path, dict[str, ModuleType]] = {}
"""Modules imported from each folder that was on the path."""


@contextmanager
def on_path(folder: Path | None) -> Iterator[None]:
    """Puts ``folder`` first on ``sys.path`` while it lasts; ``None`` does nothing.

    Modules that came from other such folders are out of sight meanwhile, because
    ``import layers`` must find this folder's ``layers.py``.
    """
    if folder is None:
        yield
        return
    entry = str(folder)
    hidden = {
        name: module
        for other, modules in _NEIGHBOURS.items()
        if other != folder
        for name, module in modules.items()
        if sys.modules.get(name) is module
    }
    for name in hidden:
        del sys.modules[name]
    sys.modules.update(_NEIGHBOURS.get(folder, {}))
    before = set(sys.modules)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)
        new = {
            name: module
            for name, module in list(sys.modules.items())
            if name not in before and _belongs(module, folder)
        }
        _NEIGHBOURS.setdefault(folder, {}).update(new)
        for name, module in hidden.items():
            sys.modules.setdefault(name, module)


def _belongs(module: ModuleType, folder: Path) -> bool:
    """Whether ``import`` found the module in ``folder`` itself, not in an environment below it."""
    file = getattr(module, "__file__", None)
    if not file or not Path(file).is_relative_to(folder):
        return False
    parts = Path(file).relative_to(folder).parts
    return parts[0].removesuffix(".py") == module.__name__.partition(".")[0]


def import_file(path: Path) -> tuple[ModuleType, Path]:
    """The file as a module, and the folder that has to be on the path while it runs.

    A file whose folder has an ``__init__.py`` is imported by its package name. Any other
    is run anew each time, as a module whose name no other file shares.

    Raises:
        UserError: If the file does not exist or does not import: one line with file and
            line.
    """
    path = path.expanduser()
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {kind}: give the path of a Python file, as in net.py:Net")
    path = path.resolve()
    root, name = _package(path)
    if name is not None:
        module = import_name(name, root, what=str(path))
        found = getattr(module, "__file__", None)
        if found is None or Path(found).resolve() != path:
            raise UserError(
                f"{path} is {name} of a package, but Python already has another {name} "
                f"from {found}: rename one of them"
            )
        return module, root
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    name = f"{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    earlier = sys.modules.get(name)
    sys.modules[name] = module
    with on_path(root):
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            if earlier is None:
                del sys.modules[name]
            else:
                sys.modules[name] = earlier
            raise UserError(f"{path} does not import: {blame(error, root)}") from error
    return module, root


def import_name(name: str, root: Path, *, what: str = "") -> ModuleType:
    """The module called ``name``, with ``root`` first on the path.

    Raises:
        UserError: If it does not exist or does not import: one line with file and line.
    """
    what = what or f"module {name}"
    with on_path(root):
        try:
            return importlib.import_module(name)
        except (Exception, SystemExit) as error:
            if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
                raise UserError(
                    f"there is no module {error.name!r} to import {name} from: "
                    "install it or run from the folder that holds it"
                ) from error
            raise UserError(f"{what} does not import: {blame(error, root)}") from error


def _package(path: Path) -> tuple[Path, str | None]:
    """The folder to put on the path, and the dotted name inside it if it is a package."""
    folder, names = path.parent, [] if path.stem == "__init__" else [path.stem]
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        names.insert(0, folder.name)
        folder = folder.parent
    is_package = folder != path.parent and all(name.isidentifier() for name in names)
    return (folder, ".".join(names)) if is_package else (path.parent, None)


def blame(error: BaseException, root: Path | None) -> str:
    """The error in one line, with the last line of the user's code that it passed.

    ``root`` is the folder of the user's code; where no frame lies in it, the innermost
    frame outside this package is named.
    """
    if isinstance(error, SystemExit):
        text = f"it calls sys.exit({error.code!r})"
    elif isinstance(error, SyntaxError) and error.filename:
        return f"SyntaxError: {error.msg} ({error.filename}:{error.lineno})"
    elif told := _told_by_worker(error):
        # The last lines stand free: the error itself.
        text = " ".join(list(takewhile(lambda line: line[:1] != " ", reversed(told)))[::-1])[:300]
    else:
        text = one_line(error)
    if isinstance(error, ImportError) and "relative import" in str(error):
        text += " (add an __init__.py to its folder to make it part of a package)"
    where = _where(error, root)
    return f"{text} ({where})" if where else text


def _where(error: BaseException, root: Path | None) -> str:
    ours = Path(__file__).resolve().parent.parent
    told = _FRAME.findall("\n".join(_told_by_worker(error)))
    frames = [(Path(name), int(line)) for name, line in told] or [
        (Path(frame.filename), frame.lineno or 0)
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<")
    ]
    users = [f for f in frames if root and f[0].is_relative_to(root) and not _installed(f[0])]
    outside = [f for f in frames if not f[0].is_relative_to(ours)]
    chosen = users or outside
    return f"{chosen[-1][0]}:{chosen[-1][1]}" if chosen else ""


def _told_by_worker(error: BaseException) -> list[str]:
    """The traceback that a worker of a ``DataLoader`` hands over as text, if it is one's."""
    message = next(iter(error.args), None)
    if not isinstance(message, str) or not message.startswith("Caught "):
        return []
    return message.partition("Original Traceback (most recent call last):")[2].splitlines()


def _installed(path: Path) -> bool:
    return "site-packages" in path.parts or "dist-packages" in path.parts
