"""Normalisation layers that run in the wrong mode, or on too few values."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.errors import listed
from resnet_viz.core.finding import Finding, Severity
from resnet_viz.core.forward_facts import NormMode
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.message import Message, join, say
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import count

_IOFFE = say("Ioffe & Szegedy 2015: batch statistics in training, running ones at inference")


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
    norms: Sequence[NormMode],
    severity: Severity,
    evidence: Message,
    threshold: Message,
    remedy: Message,
) -> Finding:
    return Finding(
        severity=severity,
        what=say("normalisation in the wrong mode"),
        where=tuple(n.module for n in norms),
        evidence=evidence,
        threshold=threshold,
        source=_IOFFE,
        remedy=remedy,
        explains=("",) if severity == "warning" else (),
    )


def _named(norms: Sequence[NormMode]) -> str:
    return listed([n.module or n.type_name for n in norms], 3)


def _fresh(norms: Sequence[NormMode], total: int, mode: str) -> Finding:
    return _finding(
        norms,
        "warning",
        say(
            "{n} of {layers} normalise by running statistics that nothing has touched yet, mean 0 "
            "and variance 1 ({names}): they do nothing",
            n=len(norms),
            layers=count(total, "normalisation layer"),
            names=_named(norms),
        ),
        say("running statistics in use that are exactly what they start as"),
        say("call model.train() before training: these layers are in eval mode")
        if mode == "train"
        else say("measure in train mode, or load the statistics that belong to the weights"),
    )


def _stale(norms: Sequence[NormMode], total: int) -> Finding:
    return _finding(
        norms,
        "note",
        say(
            "{n} of {layers} are in eval mode within a net in train mode, while their scale and "
            "shift are trained ({names})",
            n=len(norms),
            layers=count(total, "normalisation layer"),
            names=_named(norms),
        ),
        say("train mode outside, eval mode inside, affine parameters not frozen"),
        say(
            "nothing, if the statistics are kept on purpose (small batches, fine-tuning); else "
            "call model.train()"
        ),
    )


def _loud(norms: Sequence[NormMode], total: int) -> Finding:
    return _finding(
        norms,
        "warning",
        say(
            "{n} of {layers} are in train mode within a net in eval mode ({names}): each sample's "
            "result depends on its batch",
            n=len(norms),
            layers=count(total, "normalisation layer"),
            names=_named(norms),
        ),
        say("eval mode outside, train mode inside"),
        say("call model.eval()"),
    )


def _few(norms: Sequence[NormMode], thresholds: Thresholds) -> Finding:
    worst = min(norms, key=lambda n: n.places)
    evidence: Message = say(
        "{layers} in train mode; {worst} takes its statistics over {values} per channel",
        layers=count(len(norms), "layer"),
        worst=worst.module or worst.type_name,
        values=count(worst.places, "value"),
    )
    if worst.places == 2:
        pair = say("two values become +1 and −1 whatever they are, and pass no gradient back")
        evidence = join(": ", [evidence, pair])
    return Finding(
        severity="warning",
        what=say("too few values to normalise"),
        where=tuple(n.module for n in norms),
        evidence=evidence,
        threshold=say(
            "fewer than {n} values per channel (batch and space)", n=thresholds.norm_places
        ),
        source=say(
            "ours: of n values, mean and scale take two degrees of freedom, so that n = 2 leaves "
            "none; Wu & He 2018 (Group Normalization) show what small batches cost"
        ),
        remedy=say("use a larger batch or input, group norm, or running statistics"),
        explains=("",),
    )
