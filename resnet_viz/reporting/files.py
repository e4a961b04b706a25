"""Writing a file as a whole or not at all.

A report takes a minute to make, and Ctrl-C, a full disk or a renderer that
raises must not leave half of it under the name that was asked for. So bytes go
to a temporary file in the same folder, and a rename puts them in place.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from resnet_viz.core.errors import UserError


def check_writable(path: str | Path) -> Path:
    """The path, after proof that a file can be written there.

    Meant to be called before long work: a report that cannot be saved should
    fail in its first second.

    Raises:
        UserError: If the folder is missing or cannot be written, or the path is a
            folder or a file that cannot be written.
    """
    path = Path(path)
    try:
        _check_target(path)
        if _is_special(path):
            return path
        probe = _temporary(path.resolve())
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        probe.unlink()
    except (OSError, ValueError) as error:
        raise _refusal(path, error) from error
    return path


def write_atomically(path: str | Path, data: bytes) -> Path:
    """The path, after all of ``data`` is there; on any exception nothing has changed.

    An existing file keeps its permissions, a symbolic link keeps pointing where it
    pointed, and a device or pipe (``/dev/null``) is written to and not replaced.

    Raises:
        UserError: If the file cannot be written.
    """
    path = Path(path)
    try:
        _check_target(path)
        if _is_special(path):
            path.write_bytes(data)
        else:
            _replace(path.resolve(), data)
    except (OSError, ValueError) as error:
        raise _refusal(path, error) from error
    return path


def _replace(target: Path, data: bytes) -> None:
    temporary = _temporary(target)
    try:
        # mkstemp would make a private file; a report gets what the umask allows.
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _temporary(target: Path) -> Path:
    return target.parent / f".resnet-viz-{secrets.token_hex(8)}.tmp"


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _check_target(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; add a file name")
    folder = path.parent
    if not folder.exists():
        raise UserError(
            f"cannot write {path}: folder {folder} does not exist; create it with mkdir -p"
        )
    if not folder.is_dir():
        raise UserError(f"cannot write {path}: {folder} is not a folder")
    # A rename would silently replace a file that its owner made read-only.
    if path.exists() and not os.access(path, os.W_OK):
        raise UserError(f"cannot write {path}: it is read-only; choose another path")
    if not os.access(folder, os.W_OK | os.X_OK) and not _is_special(path):
        raise UserError(f"cannot write {path}: folder {folder} is not writable")


def _refusal(path: Path, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UserError(f"cannot write {str(path)[:200]!r}: {reason}; choose another path")
