"""resnet-viz: see a network, and where its gradient goes.

    import resnet_viz as rv
    rv.report("resnet50").save("resnet50.html")

Names load on first use, so that ``import resnet_viz`` stays free of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from resnet_viz.core.version import __version__

if TYPE_CHECKING:
    from resnet_viz.analysis.rules import Thresholds
    from resnet_viz.core.errors import ModelError, ResnetVizError, TraceError, UserError
    from resnet_viz.core.exchange import to_networkx
    from resnet_viz.core.graph import ModelGraph, OpId
    from resnet_viz.core.measurement import Attributions, Finding, GradientFlow
    from resnet_viz.core.report import RenderOptions, Report
    from resnet_viz.core.schema import from_json, to_json
    from resnet_viz.core.structure import Structure
    from resnet_viz.pipeline import (
        annotate,
        attribute,
        build,
        gradient_flow,
        load,
        render,
        report,
        trace,
    )

_HOME = {
    "annotate": "pipeline",
    "attribute": "pipeline",
    "build": "pipeline",
    "gradient_flow": "pipeline",
    "load": "pipeline",
    "render": "pipeline",
    "report": "pipeline",
    "trace": "pipeline",
    "Thresholds": "analysis.rules",
    "to_networkx": "core.exchange",
    "to_json": "core.schema",
    "from_json": "core.schema",
    "ModelGraph": "core.graph",
    "OpId": "core.graph",
    "Structure": "core.structure",
    "GradientFlow": "core.measurement",
    "Attributions": "core.measurement",
    "Finding": "core.measurement",
    "Report": "core.report",
    "RenderOptions": "core.report",
    "ResnetVizError": "core.errors",
    "UserError": "core.errors",
    "ModelError": "core.errors",
    "TraceError": "core.errors",
}

__all__ = [
    "Attributions",
    "Finding",
    "GradientFlow",
    "ModelError",
    "ModelGraph",
    "OpId",
    "RenderOptions",
    "Report",
    "ResnetVizError",
    "Structure",
    "Thresholds",
    "TraceError",
    "UserError",
    "__version__",
    "annotate",
    "attribute",
    "build",
    "from_json",
    "gradient_flow",
    "load",
    "render",
    "report",
    "to_json",
    "to_networkx",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
