"""A value as versioned JSON, for other programs; ``rv.from_json`` reads it back."""

from __future__ import annotations

from resnet_viz.core.display import Savable
from resnet_viz.core.report import RenderOptions
from resnet_viz.core.schema import to_json


def render_json(value: Savable, options: RenderOptions) -> bytes:
    """The whole value as UTF-8 JSON text; options change how things look, not facts."""
    return (to_json(value, indent=1) + "\n").encode()
