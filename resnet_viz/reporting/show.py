"""Rendering, saving and showing a report: the verbs behind ``rv.render`` and ``.save``."""

from __future__ import annotations

import html
from pathlib import Path

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.units import count, si
from resnet_viz.reporting.cost_wording import total_text
from resnet_viz.reporting.files import check_writable, write_atomically
from resnet_viz.reporting.raised import in_sight
from resnet_viz.reporting.registry import Renderer, renderer_for, resolve_renderer

_FRAME_HEIGHT = 640


def render(report: Report, format: str | Renderer, options: RenderOptions | None = None) -> bytes:
    """The report's bytes in this format.

    Args:
        report: What to draw.
        format: A name (``svg``), a suffix (``.svg``), ``pkg.mod:obj`` or a ``Renderer``.
        options: How to draw it. ``engine="dot"`` lets Graphviz draw svg and png.

    Raises:
        UserError: For an unknown format, or where ``dot`` is needed and missing.
    """
    options = options or RenderOptions()
    renderer = resolve_renderer(format) if isinstance(format, str) else format
    if options.engine == "dot" and renderer.name in ("svg", "png"):
        from resnet_viz.reporting.to_dot import render_dot, run_dot

        source = render_dot(report, in_sight(report, options))
        return run_dot(source.decode(), renderer.name)
    return renderer(report, options)


def save(
    report: Report,
    path: str | Path,
    options: RenderOptions | None = None,
    format: str | Renderer | None = None,
) -> Path:
    """The path, after the whole report is in it; a failure leaves nothing behind.

    Args:
        report: What to write.
        path: Where to; the suffix picks the format unless ``format`` does.
        options: How to draw it.
        format: See ``render``; for files whose suffix says nothing.

    Raises:
        UserError: For an unknown suffix or a place that cannot be written; both are
            found before anything is drawn.
    """
    renderer = renderer_for(path) if format is None else format
    check_writable(path)
    return write_atomically(path, render(report, renderer, options))


def summary_line(report: Report) -> str:
    """What the report is about, in one line: name, costs, structure, findings."""
    graph, structure = report.graph, report.structure
    bottlenecks = len(structure.blocks_of("bottleneck"))
    return (
        f"{graph.name}: {count(len(graph), 'op')}, {si(graph.total_params)} params, "
        f"{total_text(graph.total_macs, len(graph.uncounted))}, "
        f"{count(len(structure.skips), 'skip')}, "
        f"{count(bottlenecks, 'bottleneck')}, {count(len(report.findings), 'finding')}"
    )


def mimebundle(report: Report) -> dict[str, str]:
    """The report for a notebook: interactive HTML, a still SVG and one line of text.

    The page lives in a sandboxed frame: its scripts run, but cannot reach the
    notebook, and the notebook's styles cannot reach the page.
    """
    page = html.escape(render(report, "html").decode())
    title = html.escape(report.graph.name)
    frame = (
        f'<iframe sandbox="allow-scripts" title="{title}" srcdoc="{page}" '
        f'style="width:100%;height:{_FRAME_HEIGHT}px;border:0"></iframe>'
    )
    return {
        "text/html": frame,
        "image/svg+xml": render(report, "svg").decode(),
        "text/plain": summary_line(report),
    }
