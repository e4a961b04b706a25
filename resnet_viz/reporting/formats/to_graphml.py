"""The report's graph as GraphML, for Gephi, yEd, igraph and other graph tools."""

from __future__ import annotations

from typing import Any

from resnet_viz.core.exchange import to_networkx
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.escaping import xml_safe


def render_graphml(report: Report, options: RenderOptions) -> bytes:
    """``to_networkx(report)`` as GraphML: every op, skips and blocks as attributes."""
    import networkx as nx

    graph = to_networkx(report)
    _clean(graph.graph)
    clean = nx.relabel_nodes(graph, {name: xml_safe(name) for name in graph})
    for _, data in clean.nodes(data=True):
        _clean(data)
    for _, _, data in clean.edges(data=True):
        _clean(data)
    return ("\n".join(nx.generate_graphml(clean)) + "\n").encode()


def _clean(data: dict[str, Any]) -> None:
    data |= {key: xml_safe(value) for key, value in data.items() if isinstance(value, str)}
