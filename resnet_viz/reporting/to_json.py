"""The report as versioned JSON, for other programs; ``rv.from_json`` reads it back."""

from __future__ import annotations

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.schema import to_json


def render_json(report: Report, options: RenderOptions) -> bytes:
    """The whole report as UTF-8 JSON text; options change how things look, not facts."""
    return (to_json(report, indent=1) + "\n").encode()
