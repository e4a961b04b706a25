"""Normalisation layers that run in the wrong mode, or on too few values."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.errors import listed
from resnet_viz.core.finding import Finding, Severity
from resnet_viz.core.forward_facts import NormMode
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import count

_IOFFE = "Ioffe & Szegedy 2015: batch statistics in training, running ones at inference"


def find_wrong_norms(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """Eval mode in a training net, train mode in an eval net, statistics of two values.

    Layers in eval mode whose statistics are real are left alone where their scale is
    frozen too: that is how fine-tuning freezes them on purpose.
    """
    flow = flow_in(measurements)
    if flow is None:
        return ()
    running = [n for n in flow.norms if n.statistics == "running"]
    batch = [n for n in flow.norms if n.statistics == "batch"]
    fresh = [n for n in running if n.fresh]
    found = []
    if fresh:
        found.append(_fresh(fresh, len(flow.norms), flow.mode))
    if flow.mode == "train":
        stale = [n for n in running if not n.fresh and not n.frozen]
        if stale:
            found.append(_stale(stale, len(flow.norms)))
    else:
        loud = [n for n in batch if n.training]
        if loud:
            found.append(_loud(loud, len(flow.norms)))
    few = [n for n in batch if 0 < n.places < thresholds.norm_places]
    if few:
        found.append(_few(few, thresholds))
    return tuple(found)


def _finding(
    norms: Sequence[NormMode], severity: Severity, evidence: str, threshold: str, remedy: str
) -> Finding:
    return Finding(
        severity=severity,
        what="normalisation in the wrong mode",
        where=tuple(n.module for n in norms),
        evidence=evidence,
        threshold=threshold,
        source=_IOFFE,
        remedy=remedy,
        explains=("",) if severity == "warning" else (),
    )


def _named(norms: Sequence[NormMode]) -> str:
    return f"({listed([n.module or n.type_name for n in norms], 3)})"


def _fresh(norms: Sequence[NormMode], total: int, mode: str) -> Finding:
    return _finding(
        norms,
        "warning",
        f"{len(norms)} of {count(total, 'normalisation layer')} normalise by running statistics "
        f"that nothing has touched yet, mean 0 and variance 1 {_named(norms)}: they do nothing",
        "running statistics in use that are exactly what they start as",
        "call model.train() before training: these layers are in eval mode"
        if mode == "train"
        else "measure in train mode, or load the statistics that belong to the weights",
    )


def _stale(norms: Sequence[NormMode], total: int) -> Finding:
    return _finding(
        norms,
        "note",
        f"{len(norms)} of {count(total, 'normalisation layer')} are in eval mode within a net in "
        f"train mode, while their scale and shift are trained {_named(norms)}",
        "train mode outside, eval mode inside, affine parameters not frozen",
        "nothing, if the statistics are kept on purpose (small batches, fine-tuning); else call "
        "model.train()",
    )


def _loud(norms: Sequence[NormMode], total: int) -> Finding:
    return _finding(
        norms,
        "warning",
        f"{len(norms)} of {count(total, 'normalisation layer')} are in train mode within a net in "
        f"eval mode {_named(norms)}: each sample's result depends on its batch",
        "eval mode outside, train mode inside",
        "call model.eval()",
    )


def _few(norms: Sequence[NormMode], thresholds: Thresholds) -> Finding:
    worst = min(norms, key=lambda n: n.places)
    pair = "two values become +1 and −1 whatever they are, and pass no gradient back"
    return Finding(
        severity="warning",
        what="too few values to normalise",
        where=tuple(n.module for n in norms),
        evidence=(
            f"{count(len(norms), 'layer')} in train mode; {worst.module or worst.type_name} takes "
            f"its statistics over {count(worst.places, 'value')} per channel"
            + (f": {pair}" if worst.places == 2 else "")
        ),
        threshold=f"fewer than {thresholds.norm_places} values per channel (batch and space)",
        source=(
            "ours: of n values, mean and scale take two degrees of freedom, so that n = 2 leaves "
            "none; Wu & He 2018 (Group Normalization) show what small batches cost"
        ),
        remedy="use a larger batch or input, group norm, or running statistics",
        explains=("",),
    )
