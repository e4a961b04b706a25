"""A report as bytes, in any format: ``RENDERERS`` maps each suffix to its renderer.

Renderers are named, not imported: what draws HTML is loaded when somebody wants
HTML, so that importing this package costs nothing. To add a format, put a
``Renderer`` into ``RENDERERS``; outsiders name theirs, ``--format pkg.mod:obj``.
"""

from __future__ import annotations

from resnet_viz.reporting.files import check_writable
from resnet_viz.reporting.notebook import framed_page, mimebundle
from resnet_viz.reporting.registry import (
    ATTRIBUTION_RENDERERS,
    EXPERIMENT_RENDERERS,
    RENDERERS,
    Renderer,
    RenderFunction,
    attribute_renderers,
    known_formats,
    register,
    renderer_for,
    renderers_of,
    resolve_renderer,
)
from resnet_viz.reporting.show import render, save

__all__ = [
    "ATTRIBUTION_RENDERERS",
    "EXPERIMENT_RENDERERS",
    "RENDERERS",
    "RenderFunction",
    "Renderer",
    "attribute_renderers",
    "check_writable",
    "framed_page",
    "known_formats",
    "mimebundle",
    "register",
    "render",
    "renderer_for",
    "renderers_of",
    "resolve_renderer",
    "save",
]
