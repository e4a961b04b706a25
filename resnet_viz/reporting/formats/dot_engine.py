"""Running Graphviz' ``dot``, which may be missing, slow or killed."""

from __future__ import annotations

import shutil
import subprocess

from resnet_viz.core.errors import UserError

_INSTALL = "install Graphviz (apt install graphviz, brew install graphviz)"
_OTHER_PDF = "write .svg, or .html and print it from a browser"


def found_dot(format: str) -> str:
    """Where ``dot`` is.

    Raises:
        UserError: If it is not installed; says what else can be done.
    """
    dot = shutil.which("dot")
    if dot is None:
        what = "pdf is drawn by dot, which" if format == "pdf" else "dot was asked for and"
        raise UserError(f"{what} is not installed: {_INSTALL}, or {_instead(format)}")
    return dot


def _instead(format: str) -> str:
    return _OTHER_PDF if format == "pdf" else "leave --engine dot out"


def run_dot(source: str, format: str, timeout: float = 60) -> bytes:
    """What ``dot -T<format>`` makes of the source.

    Args:
        source: DOT text.
        format: ``svg``, ``png``, ``pdf`` or any other that ``dot`` knows.
        timeout: Seconds after which the layout is given up.

    Raises:
        UserError: If ``dot`` is not installed, too slow, or refuses the source.
    """
    dot = found_dot(format)
    try:
        done = subprocess.run(
            [dot, f"-T{format}"], input=source.encode(), capture_output=True, timeout=timeout
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"dot did not finish the layout in {timeout:g} s; close boxes with --collapse all, "
            f"draw a part with --focus, or {_instead(format)}"
        ) from error
    if done.returncode or not done.stdout:
        said = " ".join(done.stderr.decode(errors="replace").split())[:200]
        raise UserError(f"dot -T{format} ended with {done.returncode}: {said or 'no output'}")
    return done.stdout
