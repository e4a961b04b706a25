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
    from resnet_viz.core.attribution import Attributions
    from resnet_viz.core.attribution_options import AttributionOptions
    from resnet_viz.core.errors import ModelError, ResnetVizError, TraceError, UserError
    from resnet_viz.core.exchange import to_networkx
    from resnet_viz.core.experiments.degradation import Training
    from resnet_viz.core.finding import Finding
    from resnet_viz.core.foreign import from_networkx
    from resnet_viz.core.gradient_flow import GradientFlow
    from resnet_viz.core.graph import ModelGraph, OpId
    from resnet_viz.core.report import RenderOptions, Report
    from resnet_viz.core.schema import from_json, to_json
    from resnet_viz.core.structure import Costs, Structure
    from resnet_viz.experiments.degradation.run import run_degradation
    from resnet_viz.experiments.depth.run import run_depth
    from resnet_viz.experiments.identity.run import run_identity
    from resnet_viz.pipeline.choices import attribution_layers, attribution_methods
    from resnet_viz.pipeline.gradients import (
        gradient_flow,
        lesion_study,
        path_gradients,
        signal_propagation,
    )
    from resnet_viz.pipeline.graphs import annotate, measure_costs, path_lengths, trace, verify
    from resnet_viz.pipeline.models import build, load
    from resnet_viz.pipeline.reports import attribute, compare, render, report
    from resnet_viz.sources.family.densenet_config import DenseNetConfig
    from resnet_viz.sources.family.highway_config import HighwayConfig
    from resnet_viz.sources.family.resnet_config import ResNetConfig
    from resnet_viz.sources.variants import configure
    from resnet_viz.watching.watcher import watch

_HOME = {
    "annotate": "pipeline.graphs",
    "attribute": "pipeline.reports",
    "build": "pipeline.models",
    "gradient_flow": "pipeline.gradients",
    "lesion_study": "pipeline.gradients",
    "path_gradients": "pipeline.gradients",
    "path_lengths": "pipeline.graphs",
    "signal_propagation": "pipeline.gradients",
    "compare": "pipeline.reports",
    "watch": "watching.watcher",
    "load": "pipeline.models",
    "measure_costs": "pipeline.graphs",
    "attribution_layers": "pipeline.choices",
    "attribution_methods": "pipeline.choices",
    "render": "pipeline.reports",
    "report": "pipeline.reports",
    "run_degradation": "experiments.degradation.run",
    "run_depth": "experiments.depth.run",
    "run_identity": "experiments.identity.run",
    "trace": "pipeline.graphs",
    "verify": "pipeline.graphs",
    "Thresholds": "analysis.rules",
    "ResNetConfig": "sources.family.resnet_config",
    "DenseNetConfig": "sources.family.densenet_config",
    "HighwayConfig": "sources.family.highway_config",
    "configure": "sources.variants",
    "Training": "core.experiments.degradation",
    "to_networkx": "core.exchange",
    "from_networkx": "core.foreign",
    "to_json": "core.schema",
    "from_json": "core.schema",
    "ModelGraph": "core.graph",
    "OpId": "core.graph",
    "Costs": "core.structure",
    "Structure": "core.structure",
    "GradientFlow": "core.gradient_flow",
    "Proof": "core.proof",
    "AttributionOptions": "core.attribution_options",
    "Attributions": "core.attribution",
    "Finding": "core.finding",
    "Report": "core.report",
    "RenderOptions": "core.report",
    "ResnetVizError": "core.errors",
    "UserError": "core.errors",
    "UnfaithfulError": "core.errors",
    "UnprovableError": "core.errors",
    "ModelError": "core.errors",
    "TraceError": "core.errors",
}

__all__ = [
    "AttributionOptions",
    "Attributions",
    "Costs",
    "DenseNetConfig",
    "Finding",
    "GradientFlow",
    "HighwayConfig",
    "ModelError",
    "ModelGraph",
    "OpId",
    "Proof",
    "RenderOptions",
    "Report",
    "ResNetConfig",
    "ResnetVizError",
    "Structure",
    "Thresholds",
    "TraceError",
    "Training",
    "UnfaithfulError",
    "UnprovableError",
    "UserError",
    "__version__",
    "annotate",
    "attribute",
    "attribution_layers",
    "attribution_methods",
    "build",
    "compare",
    "configure",
    "from_json",
    "from_networkx",
    "gradient_flow",
    "lesion_study",
    "load",
    "measure_costs",
    "path_gradients",
    "path_lengths",
    "render",
    "report",
    "run_degradation",
    "run_depth",
    "run_identity",
    "signal_propagation",
    "to_json",
    "to_networkx",
    "trace",
    "verify",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
