"""What a renderer has to say about a picture that came out otherwise than it was asked for.

A renderer gives bytes, and a picture that was drawn smaller is no error; so it warns, as
Python does, and the command line prints the warning as a note.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class RenderWarning(UserWarning):
    """One line about what was drawn otherwise than asked for."""


def remark(text: str) -> None:
    """Warns of it, in one line."""
    warnings.warn(text, RenderWarning, stacklevel=3)


@contextmanager
def remarks() -> Iterator[list[str]]:
    """Collects what renderers remark in the block, each once; other warnings go their way."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RenderWarning)
        try:
            yield found
        finally:
            heard = list(caught)
    for warning in heard:
        if not issubclass(warning.category, RenderWarning):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
        elif str(warning.message) not in found:
            found.append(str(warning.message))
