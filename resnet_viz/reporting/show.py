"""Rendering, saving and showing: the verbs behind ``rv.render`` and ``.save``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from resnet_viz.analysis import annotate
from resnet_viz.core.attribution import Attribution, Attributions
from resnet_viz.core.display import Savable, Shown
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.units import count, si
from resnet_viz.reporting.checking import checked
from resnet_viz.reporting.files import check_writable, write_atomically
from resnet_viz.reporting.language import speaking
from resnet_viz.reporting.page.cost_wording import total_text
from resnet_viz.reporting.raised import in_sight
from resnet_viz.reporting.registry import (
    RENDERERS,
    Renderer,
    renderer_for,
    renderers_of,
    resolve_renderer,
)


def as_savable(value: Shown) -> Savable:
    """What is drawn for a value: of a bare graph its report, of one map a sheet of it alone."""
    if isinstance(value, ModelGraph):
        return Report(graph=value, structure=annotate(value))
    if isinstance(value, Attribution):
        return Attributions(pictures=(), maps=(value,))
    assert isinstance(value, Savable)
    return value


def render(value: Savable, format: str | Renderer, options: RenderOptions | None = None) -> bytes:
    """The bytes of a report, a graph, attributions or an experiment's result in this format.

    Args:
        value: What to draw.
        format: A name (``svg``), a suffix (``.svg``), ``pkg.mod:obj`` or a ``Renderer``.
        options: How to draw it. ``engine="dot"`` lets Graphviz draw a report's svg and png.

    Raises:
        UserError: For a format that this kind of value does not have, or where ``dot`` is
            needed and missing.
    """
    options = checked(options or RenderOptions())
    value = as_savable(value)
    known = renderers_of(value)
    if isinstance(format, Renderer) and format in RENDERERS.values():
        format = format.name  # an experiment has a renderer of its own under this name
    renderer = resolve_renderer(format, known) if isinstance(format, str) else format
    drawn_by_dot = [RENDERERS[suffix] for suffix in (".svg", ".png")]
    if isinstance(value, Report) and options.engine == "dot" and renderer in drawn_by_dot:
        from resnet_viz.reporting.formats.dot_engine import run_dot
        from resnet_viz.reporting.formats.to_dot import render_dot

        if renderer.name == "svg":
            options = replace(options, dpi=0)  # dot would take it for a scale
        elif not options.dpi:
            options = replace(options, dpi=96 * options.scale)
        with speaking(options.lang):
            source = render_dot(value, in_sight(value, options))
        return run_dot(source.decode(), renderer.name)
    return renderer(value, options)


def save(
    value: Savable,
    path: str | Path,
    options: RenderOptions | None = None,
    format: str | Renderer | None = None,
) -> Path:
    """The path, after the whole value is in it; a failure leaves nothing behind.

    Args:
        value: What to write.
        path: Where to; the suffix picks the format unless ``format`` does.
        options: How to draw it.
        format: See ``render``; for files whose suffix says nothing.

    Raises:
        UserError: For an unknown suffix or a place that cannot be written; both are
            found before anything is drawn.
    """
    value = as_savable(value)
    renderer = renderer_for(path, renderers_of(value)) if format is None else format
    check_writable(path)
    return write_atomically(path, render(value, renderer, options))


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
