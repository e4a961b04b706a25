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
    from resnet_viz.core.experiments.degradation import Training
    from resnet_viz.core.foreign import from_networkx
    from resnet_viz.core.graph import ModelGraph, OpId
    from resnet_viz.core.measurement import Attributions, Finding, GradientFlow
    from resnet_viz.core.report import RenderOptions, Report
    from resnet_viz.core.schema import from_json, to_json
    from resnet_viz.core.structure import Costs, Structure
    from resnet_viz.experiments.degradation.run import run_degradation
    from resnet_viz.experiments.depth.run import run_depth
    from resnet_viz.experiments.identity.run import run_identity
    from resnet_viz.pipeline import (
        annotate,
        attribute,
        build,
        gradient_flow,
        lesion_study,
        load,
        measure_costs,
        render,
        report,
        trace,
        verify,
    )
    from resnet_viz.sources.family.densenet_config import DenseNetConfig
    from resnet_viz.sources.family.highway_config import HighwayConfig
    from resnet_viz.sources.family.resnet_config import ResNetConfig
    from resnet_viz.sources.variants import configure

_HOME = {
    "annotate": "pipeline",
    "attribute": "pipeline",
    "build": "pipeline",
    "gradient_flow": "pipeline",
    "lesion_study": "pipeline",
    "load": "pipeline",
    "measure_costs": "pipeline",
    "render": "pipeline",
    "report": "pipeline",
    "run_degradation": "experiments.degradation.run",
    "run_depth": "experiments.depth.run",
    "run_identity": "experiments.identity.run",
    "trace": "pipeline",
    "verify": "pipeline",
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
    "GradientFlow": "core.measurement",
    "Proof": "core.proof",
    "Attributions": "core.measurement",
    "Finding": "core.measurement",
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
    "build",
    "configure",
    "from_json",
    "from_networkx",
    "gradient_flow",
    "lesion_study",
    "load",
    "measure_costs",
    "render",
    "report",
    "run_degradation",
    "run_depth",
    "run_identity",
    "to_json",
    "to_networkx",
    "trace",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
