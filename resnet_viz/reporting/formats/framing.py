"""A finished sheet at the width that was asked for, with or without its ground."""

from __future__ import annotations

import re

from resnet_viz.core.report import RenderOptions

_SIZE = re.compile(r' width="([\d.]+)" height="([\d.]+)"')
_GROUND = re.compile(r'<rect class="paper"[^>]*/>\n?')


def framed(svg: str, options: RenderOptions) -> str:
    """The SVG scaled to ``options.width`` pixels, and without ground where it is transparent."""
    if options.transparent:
        svg = _GROUND.sub("", svg, count=1)
    if options.width:
        found = _SIZE.search(svg)
        assert found is not None
        height = float(found[2]) * options.width / float(found[1])
        size = f' width="{options.width:g}" height="{round(height, 2):g}"'
        svg = svg[: found.start()] + size + svg[found.end() :]
    return svg
