"""One run at a time in a folder: the system itself lets go of it when a process dies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from resnet_viz.core.errors import UserError, one_line

NAME = "in-use"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other runs out of the folder, which is made, while the context lasts.

    Raises:
        UserError: If another process holds it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / NAME).open("ab")
    except OSError as error:
        raise UserError(f"folder {folder} cannot be used: {one_line(error, 120)}") from error
    with file:
        if not _locked(file):
            raise UserError(
                f"folder {folder} is in use by another run: wait for its end, or give this one "
                "a folder of its own (--runs)"
            )
        yield


def _locked(file: BinaryIO) -> bool:
    """Whether the file is ours now; so it is, too, where the file system knows no locks."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
