"""Gradients that vanish or explode along the depth; see ``analysis.depth`` for the fit."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.analysis.depth import DepthSlope, depth_slope
from resnet_viz.analysis.findings.zeros import zero_parameters
from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.finding import Finding
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.message import Message, say
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import scientific

# Smallest number above zero of each dtype; bfloat16 and float32 have the same exponents.
_SMALLEST = {"float16": 6e-8, "bfloat16": 9.2e-41, "float32": 1.4e-45, "float64": 4.9e-324}
_NEAR = 1e3


def find_depth_slope(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """Exploding or vanishing gradient along the depth."""
    flow = flow_in(measurements)
    slope = flow and depth_slope(graph, structure, flow, thresholds.depth_layers)
    if not flow or not slope:
        return ()
    grows = slope.factor > 1
    factor = slope.factor if grows else 1 / slope.factor
    span = slope.span if grows else 1 / slope.span
    if factor < thresholds.depth_factor or span < thresholds.depth_range:
        return ()
    return (
        Finding(
            severity="warning",
            what=say("exploding gradient") if grows else say("vanishing gradient"),
            where=(slope.ops[0], slope.ops[-1]),
            evidence=_evidence(slope, grows, factor),
            threshold=say(
                "a fitted factor of at least {factor} per layer and {range} over the whole depth",
                factor=f"{thresholds.depth_factor:g}",
                range=f"{thresholds.depth_range:g}",
            ),
            source=_GROWS_SOURCE if grows else _SHRINKS_SOURCE,
            remedy=(
                say(
                    "add skip paths around every two or three layers; without them use warm-up "
                    "and a smaller learning rate, or an initialisation that makes up for batch "
                    "norm"
                )
                if grows
                else say("use ReLU with He initialisation, normalisation or skip paths")
            ),
            explains=_odd_steps(flow) + (() if grows else _underflow(graph, slope, flow)),
        ),
    )


def _evidence(slope: DepthSlope, grows: bool, factor: float) -> Message:
    facts = {
        "n": slope.depths[-1] - slope.depths[0],
        "factor": f"{factor:.3g}",
        "last": scientific(slope.norms[-1]),
        "last_at": slope.ops[-1],
        "first": scientific(slope.norms[0]),
        "first_at": slope.ops[0],
    }
    if grows:
        return say(
            "on the way back through {n} layers the gradient norm grows by a factor of {factor} "
            "per layer: {last} at {last_at}, {first} at {first_at}",
            **facts,
        )
    return say(
        "on the way back through {n} layers the gradient norm shrinks by a factor of {factor} "
        "per layer: {last} at {last_at}, {first} at {first_at}",
        **facts,
    )


def _odd_steps(flow: GradientFlow) -> tuple[str, ...]:
    """Parameters that move: steps of odd sizes are what a gradient of odd sizes gives."""
    return tuple(p.name for p in flow.parameters if p.stats is not None and not p.stats.vanished)


def _underflow(graph: ModelGraph, slope: DepthSlope, flow: GradientFlow) -> tuple[str, ...]:
    """Parameters before the place where the shrinking gradient is too small for its dtype."""
    alive = next((graph[op] for op in slope.ops if not flow[op].vanished), None)
    if alive is None or alive.id == slope.ops[0]:
        return ()
    stats = flow[alive.id]
    largest = max(abs(stats.low or 0.0), abs(stats.high or 0.0), stats.rms)
    if largest > _NEAR * _SMALLEST.get(alive.outputs[0].dtype, 0.0):
        return ()
    early = {name for op in graph.ops[: graph.position(alive.id)] for name in op.parameters}
    return tuple(name for name in zero_parameters(flow) if name in early)


_GROWS_SOURCE = say(
    "Yang et al. 2019 (A Mean Field Theory of Batch Normalization): batch norm and ReLU "
    "multiply the squared norm by π/(π−1) = 1.467 per layer, the norm by 1.211; a step that "
    "is right for one end (update 1e-3 of the weights, cs231n) is as large as the weights "
    "themselves where the gradient is 1e3 times larger"
)
_SHRINKS_SOURCE = say(
    "Glorot & Bengio 2010; Schoenholz et al. 2017 (Deep Information Propagation): below "
    "χ = 1 the gradient shrinks exponentially with depth; the sigmoid's slope is at most 1/4; "
    "a step that is right for one end (update 1e-3 of the weights, cs231n) leaves the other "
    "where it is if its gradient is 1e3 times smaller"
)
