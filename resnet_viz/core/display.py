"""How values save and show themselves.

The one place in ``core`` that may import ``reporting``, and only inside the
functions: a value stays free of renderers until somebody wants to look at it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet_viz.core.report import RenderOptions, Report


class Savable:
    """Gives a report ``save`` and its notebook form."""

    __slots__ = ()

    def save(self: Report, path: str | Path, options: RenderOptions | None = None) -> Path:  # type: ignore[misc]
        """Writes the report; the suffix picks the format.

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

    def _repr_mimebundle_(self: Report, **_: Any) -> dict[str, str]:  # type: ignore[misc]
        from resnet_viz.reporting import mimebundle

        return mimebundle(self)
