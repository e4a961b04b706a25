"""Options of a drawing that nobody can draw are refused before anything is drawn."""

from __future__ import annotations

from typing import get_args

from resnet_viz.core.errors import UserError, listed
from resnet_viz.core.report import Collapse, ColorBy, Direction, RenderOptions, Theme

_WORDS: dict[str, tuple[str, ...]] = {
    "theme": get_args(Theme),
    "collapse": get_args(Collapse),
    "engine": ("own", "dot"),
    "color_by": get_args(ColorBy),
    "direction": get_args(Direction),
}
_RANGES = {
    "scale": (0.01, 50, None),
    "width": (100, 20_000, 0),
    "font_size": (4, 72, None),
    "dpi": (10, 2400, 0),
}
"""Field -> least, most, and what else is allowed."""


def checked(options: RenderOptions) -> RenderOptions:
    """The same options.

    Raises:
        UserError: For a word that is none of those allowed, or a number out of its range.
    """
    for name, words in _WORDS.items():
        if getattr(options, name) not in words:
            raise UserError(
                f"{name}={getattr(options, name)!r} was given: it is one of {listed(words)}"
            )
    for name, (low, high, unset) in _RANGES.items():
        value = getattr(options, name)
        if value != unset and not low <= value <= high:
            other = ", or 0" if unset == 0 else ""
            raise UserError(
                f"{name}={value:g} was given: it is between {low:g} and {high:g}{other}"
            )
    if options.depth is not None and options.depth < 0:
        raise UserError(f"depth={options.depth} was given: it is 0 or more, or None")
    return options
