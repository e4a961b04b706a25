"""How values save and show themselves.

The one place in ``core`` that may import ``reporting``, and only inside the
functions: a value stays free of renderers until somebody wants to look at it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet_viz.core.report import RenderOptions


class Shown:
    """Gives a value its notebook form: a page in a frame, a still picture, a line of text."""

    __slots__ = ()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """For Jupyter, VS Code and Colab, which ask through IPython."""
        from resnet_viz.reporting import mimebundle

        return mimebundle(self)

    def _mime_(self) -> tuple[str, str]:
        """For marimo, which takes one form."""
        from resnet_viz.reporting import framed_page

        return "text/html", framed_page(self)


class Savable(Shown):
    """Gives a report, a graph or an experiment's result ``save`` and its JSON as well."""

    __slots__ = ()

    def save(self, path: str | Path, options: RenderOptions | None = None) -> Path:
        """Writes it; the suffix picks the format.

        Args:
            path: Where to; ``.html``, ``.svg``, ``.png``, ``.dot``, ``.json``, …
            options: How to draw it.

        Returns:
            The path written.

        Raises:
            UserError: For an unknown suffix or a place that cannot be written.
        """
        from resnet_viz.reporting import save

        return save(self, Path(path), options=options)

    def to_json(self) -> str:
        """Versioned JSON text (``schema.from_json`` reads it back)."""
        from resnet_viz.core.schema import to_json

        return to_json(self)
