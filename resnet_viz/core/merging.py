"""Several measurements of one model as one: of many batches, and of many processes.

Means and standard deviations merge by the parallel formula (Chan, Golub & LeVeque 1983,
eq. 2.1), so that it does not matter how the batches were spread over processes: to
merge merged flows is to merge all their batches at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

from resnet_viz.core.chain import Link
from resnet_viz.core.forward_facts import Activity, NonFinite, NormMode
from resnet_viz.core.gradient_flow import (
    CallGradient,
    Cosine,
    EdgeShare,
    GradientFlow,
    GradientStats,
    Loss,
    NotSeparable,
    ParameterGradient,
    Quantile,
    UnitRatios,
)
from resnet_viz.core.keyed import united
from resnet_viz.core.magnitudes import quantiles_of
from resnet_viz.core.means import Mean, together, weighted

_SAME_WEIGHTS = 1e-4
"""Norms of equal weights differ by less than this between devices."""


def merge_flows(flows: Sequence[GradientFlow]) -> GradientFlow:
    """One flow over all batches of several, each of which counts as often as it has batches.

    What was not there in every batch counts where it was: the gradient of a parameter
    that some batches do not use, an activation function that ran in some of them. An edge
    that a batch lacks at a fork whose other edges it has counts as zero there, so that the
    shares at a fork sum to 1. A fork that some batches could not separate keeps the
    shares of the others and is listed as not separable too; ``batches`` says of how many.
    A parameter that has a gradient in any batch has no reason to have none.

    Calls and edges are ordered as in the first flow, then as in the next ones; so are notes.
    Words (data, device) are the first's. ``findings`` and ``skip_shares`` are left out: they
    are made of a structure that is not known here, and have to be made anew.

    Args:
        flows: Of one model, in order.

    Raises:
        ValueError: If there is none, or they are not of one model measured in one way.
    """
    if not flows:
        raise ValueError("there is no flow to merge: give at least one")
    return reduce(_merged, flows)


def _merged(a: GradientFlow, b: GradientFlow) -> GradientFlow:
    _check(a, b)
    total = a.batches + b.batches
    value, spread = together(
        Mean(a.loss.value, a.loss.spread, a.batches), Mean(b.loss.value, b.loss.spread, b.batches)
    )
    merged = replace(
        a,
        loss=Loss(name=a.loss.name, value=value, spread=spread),
        batch_size=max(a.batch_size, b.batch_size),
        batches=total,
        ranks=max(a.ranks, b.ranks),
        calls=united(a.calls, b.calls, lambda c: c.op, _call),
        parameters=tuple(map(_parameter, a.parameters, b.parameters)),
        shares=_shares(a.shares, b.shares),
        not_separable=united(a.not_separable, b.not_separable, lambda n: n.fork, _refused),
        activities=united(a.activities, b.activities, lambda x: x.op, _activity),
        norms=united(a.norms, b.norms, lambda n: (n.module, n.statistics, n.training), _norm),
        detached=united(a.detached, b.detached, lambda d: (d.op, d.how), lambda x, _: x),
        nonfinite=united(
            a.nonfinite,
            b.nonfinite,
            lambda n: (n.direction, n.op, n.parameter, n.value),
            _broken,
        ),
        notes=tuple(dict.fromkeys((*a.notes, *b.notes))),
        skip_shares=(),
        findings=(),
    )
    return replace(merged, chain=_chain(max(a.chain, b.chain, key=len), merged))


def _check(a: GradientFlow, b: GradientFlow) -> None:
    """Whether both are of one model, with the same weights, measured in one way."""
    for name in ("mode", "stats", "autocast", "optimizer"):
        one, other = getattr(a, name), getattr(b, name)
        if one != other:
            raise ValueError(f"flows of different {name} cannot be merged: {one!r} and {other!r}")
    if a.loss.name != b.loss.name:
        raise ValueError(
            f"flows of different losses cannot be merged: {a.loss.name} and {b.loss.name}"
        )
    if [p.name for p in a.parameters] != [p.name for p in b.parameters]:
        raise ValueError("flows of models with different parameters cannot be merged")
    for p, q in zip(a.parameters, b.parameters, strict=True):
        one, other = p.weight_l2, q.weight_l2
        if abs(one - other) > _SAME_WEIGHTS * max(one, other):
            raise ValueError(
                f"flows of different weights cannot be merged: the norm of {p.name} is "
                f"{one:.6g} and {other:.6g}"
            )


# -- means and spreads -------------------------------------------------------------


def _maybe(a: float | None, in_a: int, b: float | None, in_b: int) -> float | None:
    """The mean of what is there."""
    if a is None or b is None:
        return b if a is None else a
    return weighted(a, in_a, b, in_b)


def _extreme(
    choose: Callable[[Iterable[float]], float], a: float | None, b: float | None
) -> float | None:
    there = [x for x in (a, b) if x is not None]
    return next((x for x in there if math.isnan(x)), choose(there)) if there else None


# -- gradients ---------------------------------------------------------------------


def _call(a: CallGradient, b: CallGradient) -> CallGradient:
    return replace(a, stats=_stats(a.stats, b.stats))


def _stats(a: GradientStats, b: GradientStats) -> GradientStats:
    l2, spread = together(Mean(a.l2, a.spread, a.batches), Mean(b.l2, b.spread, b.batches))
    zeros = _maybe(a.zero_fraction, a.batches, b.zero_fraction, b.batches)
    histogram = _added(a.histogram, b.histogram)
    return GradientStats(
        # One call may see longer sequences, or fewer samples, in the next batch.
        numel=max(a.numel, b.numel),
        l2=l2,
        rms=weighted(a.rms, a.batches, b.rms, b.batches),
        low=_extreme(min, a.low, b.low),
        high=_extreme(max, a.high, b.high),
        mean=_maybe(a.mean, a.batches, b.mean, b.batches),
        mean_abs=_maybe(a.mean_abs, a.batches, b.mean_abs, b.batches),
        zero_fraction=zeros,
        quantiles=tuple(
            Quantile(p=p, value=value) for p, value in quantiles_of(histogram, zeros or 0.0)
        ),
        histogram=histogram,
        spread=spread,
        batches=a.batches + b.batches,
    )


def _added(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(int.__add__, a, b)) if a and b else a or b


def _parameter(a: ParameterGradient, b: ParameterGradient) -> ParameterGradient:
    if a.stats is None or b.stats is None:
        there, other = (a, b) if b.stats is None else (b, a)
        if there.stats is None:
            return a
        return replace(there, cosine=_cosine(there.cosine, other.cosine))
    in_a, in_b = a.stats.batches, b.stats.batches
    stats = _stats(a.stats, b.stats)
    return replace(
        a,
        stats=stats,
        reason=a.reason if stats.vanished else "",
        units=_units(a.units, in_a, b.units, in_b),
        update_ratio=_maybe(a.update_ratio, in_a, b.update_ratio, in_b),
        cosine=_cosine(a.cosine, b.cosine),
    )


def _units(a: UnitRatios | None, in_a: int, b: UnitRatios | None, in_b: int) -> UnitRatios | None:
    if a is None or b is None:
        return b if a is None else a
    return UnitRatios(
        units=a.units,
        median=weighted(a.median, in_a, b.median, in_b),
        high=math.nan if math.isnan(a.high + b.high) else max(a.high, b.high),
        above=weighted(a.above, in_a, b.above, in_b),
    )


def _cosine(a: Cosine | None, b: Cosine | None) -> Cosine | None:
    if a is None or b is None:
        return b if a is None else a
    return Cosine(mean=weighted(a.mean, a.count, b.mean, b.count), count=a.count + b.count)


# -- edges -------------------------------------------------------------------------


def _shares(a: tuple[EdgeShare, ...], b: tuple[EdgeShare, ...]) -> tuple[EdgeShare, ...]:
    in_a, in_b = ({edge.src: edge.batches for edge in side} for side in (a, b))
    first, second = ({(edge.src, edge.dst): edge for edge in side} for side in (a, b))

    def merged(src: Any, dst: Any) -> EdgeShare:
        one, other = (
            side.get((src, dst))
            or EdgeShare(
                src=src, dst=dst, share=0.0, norm_ratio=0.0, cosine=0.0, batches=count.get(src, 0)
            )
            for side, count in ((first, in_a), (second, in_b))
        )
        n, m = one.batches, other.batches
        share, spread = together(Mean(one.share, one.spread, n), Mean(other.share, other.spread, m))
        return EdgeShare(
            src=src,
            dst=dst,
            share=share,
            norm_ratio=weighted(one.norm_ratio, n, other.norm_ratio, m),
            cosine=weighted(one.cosine, n, other.cosine, m),
            spread=spread,
            batches=n + m,
            fork_l2=_maybe(one.fork_l2, n, other.fork_l2, m),
        )

    return tuple(merged(src, dst) for src, dst in dict.fromkeys((*first, *second)))


def _refused(a: NotSeparable, b: NotSeparable) -> NotSeparable:
    return replace(a, batches=a.batches + b.batches)


# -- what the forward showed -------------------------------------------------------


def _activity(a: Activity, b: Activity) -> Activity:
    n, m = a.batches, b.batches
    return replace(
        a,
        active=_maybe(a.active, n, b.active, m),
        dead=_maybe(a.dead, n, b.dead, m),
        saturated=_maybe(a.saturated, n, b.saturated, m),
        exact=a.exact and b.exact,
        batches=n + m,
    )


def _norm(a: NormMode, b: NormMode) -> NormMode:
    return replace(a, places=min(a.places, b.places))


def _broken(a: NonFinite, b: NonFinite) -> NonFinite:
    return replace(
        a,
        low=_extreme(min, a.low, b.low),
        high=_extreme(max, a.high, b.high),
        later=max(a.later, b.later),
    )


def _chain(links: tuple[Link, ...], flow: GradientFlow) -> tuple[Link, ...]:
    """The links between the same places, of the merged norms."""
    found = []
    for link in links:
        start, end, last = (flow[op].l2 for op in (link.start, link.end, links[-1].end))
        found.append(
            replace(
                link,
                gradient_in=start,
                gradient_out=end,
                gain=_ratio(start, end),
                product=_ratio(start, last),
            )
        )
    return tuple(found)


def _ratio(above: float, below: float) -> float:
    return above / below if below and math.isfinite(below) else math.nan
