"""Everything that can be measured of a gradient, made up: what the pages of it are tested with.

``equipped`` adds it to a synthetic report; names in it may be anybody's text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from math import comb
from typing import Any

from resnet_viz.analysis.chain import chain_of
from resnet_viz.core.comparison import Alignment, Comparison, Difference, Pair
from resnet_viz.core.finding import Finding
from resnet_viz.core.forward_facts import Activity, Detached, NonFinite, NormMode
from resnet_viz.core.gradient_flow import Cosine, GradientFlow, UnitRatios
from resnet_viz.core.graph import OpId
from resnet_viz.core.history import (
    History,
    Step,
    StepFinding,
    WatchedActivation,
    WatchedParameter,
)
from resnet_viz.core.op_times import OpTime, OpTimes
from resnet_viz.core.paths import PathGradients, PathLengths, SampledLength
from resnet_viz.core.propagation import (
    BlockSignal,
    LayerSignal,
    Moments,
    Shattering,
    SignalPropagation,
    Spectrum,
)
from resnet_viz.core.report import Provenance, Report
from tests.reporting import synthetic


def flow(report: Report, *, evil: str = "") -> GradientFlow:
    """The report's flow with everything an optimizer and several batches add."""
    found = report.gradient_flow
    assert found is not None
    name = evil or "layer1.0.relu"
    parameters = tuple(
        replace(
            p,
            stats=replace(p.stats, spread=p.stats.l2 * 0.1) if p.stats else None,
            update_ratio=1e-3 * (1 + 0.5 * math.sin(i)),
            units=UnitRatios(units=64, median=0.004, high=0.02 + 0.001 * i, above=0.1),
            cosine=Cosine(mean=0.1 * math.cos(i), count=3),
        )
        for i, p in enumerate(found.parameters)
    )
    acts = [op.id for op in report.graph.ops if op.kind == "relu"]
    return replace(
        found,
        chain=chain_of(report.graph, report.structure, found),
        parameters=parameters,
        batches=4,
        ranks=2,
        stats="full",
        autocast="bfloat16",
        optimizer=f"SGD(lr=0.1) {evil}".strip(),
        activities=tuple(
            Activity(op=op, units=64, active=0.5, dead=0.02 * (i % 5))
            for i, op in enumerate(acts)
        ),
        norms=(
            NormMode(module=name, type_name="BatchNorm2d", statistics="batch", training=True,
                     places=1568, steps=0),
        ),
        detached=(Detached(op=OpId(f"{name}/detach#0"), how="detach", parameters=("a", "b")),),
        nonfinite=(
            NonFinite(direction="forward", op=OpId(f"{name}/log#0"), value="NaN", later=12),
        ),
        notes=(f"The model was measured eagerly{evil and ': ' + evil}.",),
    )  # fmt: skip


def paths(n: int = 54, r: float = 0.35, *, sampled: bool = True, evil: str = "") -> PathGradients:
    """A net of ``n`` equal blocks: binomial path counts, and a factor ``r`` per branch."""
    counts = tuple(comb(n, k) for k in range(n + 1))
    norms = tuple(1e-4 * count * r**k for k, count in enumerate(counts))
    total = sum(norms)
    draws = tuple(
        SampledLength(
            length=k,
            draws=20,
            mean_norm=1.3e-4 * r**k,
            norm_error=2e-5 * r**k,
            mass=1.3e-4 * comb(n, k) * r**k,
            vector_norm=1.02e-4 * comb(n, k) * r**k,
            vector_error=3e-5 * comb(n, k) * r**k,
        )
        for k in range(2, n, 6)
    )
    return PathGradients(
        model=evil or "resnet110",
        at=evil or "input#0",
        loss=f"cross entropy on seeded labels {evil}".strip(),
        mode="eval",
        batch_size=4,
        data=f"seeded N(0, 1) inputs {evil}".strip(),
        lengths=PathLengths(unit="block", counts=counts),
        norms=norms,
        shares=tuple(x / total for x in norms),
        norm=total,
        residual=3.2e-7,
        sampled=draws if sampled else (),
        seconds=23.0,
    )


def propagation(n: int = 16, *, loss: bool = True, evil: str = "") -> SignalPropagation:
    """Signals that grow within a stage and start anew with the next."""

    def moments(mean: float, variance: float) -> Moments:
        return Moments(squared_mean=mean, variance=variance, second=mean + variance)

    starts = (0, 3, 7, 13)
    blocks, variance = [], 1.0
    for i in range(n):
        changes = i in starts
        variance = 1.3 if changes else variance + 0.8
        stage = f"layer{sum(i >= s for s in starts)}{evil}"
        blocks.append(
            BlockSignal(
                name=f"{stage}.{i}",
                join=OpId(f"{stage}/add#{i}"),
                stage=stage,
                changes=changes,
                output=moments(0.4 * variance, variance),
                branch=moments(0.01, 0.6),
                ratio=0.8 / math.sqrt(variance),
                grad_output=moments(1e-9, 1e-6 * 1.3**-i) if loss else None,
                grad_input=moments(1e-9, 1.3e-6 * 1.3**-i) if loss else None,
                grad_ratio=0.5 + 0.02 * i if loss else None,
            )
        )
    layers = tuple(
        LayerSignal(
            op=OpId(f"conv{evil}#{i}"),
            output=moments(0.0, 1 + 0.1 * i),
            grad_output=moments(0.0, 1e-6 * 1.1**-i) if loss else None,
        )
        for i in range(53)
    )
    return SignalPropagation(
        model=evil or "resnet50",
        mode="train",
        batch_size=8,
        data=f"seeded {evil}".strip(),
        loss=f"cross entropy {evil}".strip() if loss else "",
        blocks=tuple(blocks),
        layers=layers,
        spectra=(
            Spectrum(
                start=f"input{evil}", end="fc", rows=1000, columns=150_528, mean_square=0.034,
                mean_square_error=0.001, mean_fourth=0.004, mean_fourth_error=0.0005,
                largest=1.83, smallest=3e-4, probes=8, steps=30, samples=2,
            ),
        ),
        shattering=Shattering(
            places=tuple(f"b{i}{evil}" for i in range(17)),
            correlations=tuple(0.9 * 0.85**i for i in range(17)),
            samples=8,
        )
        if loss
        else None,
        skipped=(f"block Jacobians were not asked for {evil}".strip(),),
    )  # fmt: skip


def op_times(n: int = 70, evil: str = "") -> OpTimes:
    """Times of a small net whose every fifth call is slow."""
    ops = tuple(
        OpTime(op=OpId(f"layer{i}{evil}/conv2d#0"), seconds=(1 + 9 * (i % 5 == 0)) * 1e-4)
        for i in range(n)
    )
    return OpTimes(
        model=evil or "resnet20", mode="eval", data=f"x 1×3×32×32 {evil}".strip(), device="cpu",
        threads=2, repeats=5, forward=0.03, watched=0.033, ops=ops,
    )  # fmt: skip


def equipped(report: Report, *, evil: str = "") -> Report:
    """The report with everything that can be measured."""
    rest = report.measurements[1:]
    return replace(
        report,
        measurements=(
            flow(report, evil=evil),
            paths(evil=evil),
            propagation(evil=evil),
            *rest,
        ),
    )


def history(steps: int = 40, layers: int = 20, *, evil: str = "") -> History:
    """A training whose gradient shrinks towards the input, is clipped, and breaks once."""
    found = []
    for i in range(steps):
        parameters = tuple(
            WatchedParameter(
                name=f"layer{k}{evil}.weight",
                l2=None
                if k == 3
                else math.inf
                if (i, k) == (steps // 2, 1)
                else 10 ** (-4 + 3 * k / layers - 1.5 * i / steps),
                rms=1e-5,
                weight_l2=3.0,
                update_ratio=1e-3 * 10 ** (-i / steps),
                cosine=0.3,
            )
            for k in range(layers)
        )
        total = 4.0 * 10 ** (-i / steps)
        found.append(
            Step(
                step=100 * i,
                loss=2.3 * 0.95**i,
                lr=0.1 if i < steps // 2 else 0.01,
                l2=total,
                clipped_l2=min(total, 1.0),
                nonfinite=(f"layer1{evil}.weight",) if i == steps // 2 else (),
                parameters=parameters,
                activations=tuple(
                    WatchedActivation(name=f"relu{k}{evil}", dead=min(1.0, 0.02 * i * k / layers))
                    for k in range(5)
                ),
                seconds=float(i),
            )
        )
    finding = Finding(
        severity="warning", what="vanishing gradient", where=(f"layer0{evil}.weight",),
        evidence="slope -0.2 decades per layer", threshold="less than -0.1", source="He 2015",
        remedy="add shortcuts",
    )  # fmt: skip
    return History(
        model=evil or "resnet20",
        every=100,
        optimizers=(f"SGD(lr=0.1, momentum=0.9) {evil}".strip(),),
        steps=tuple(found),
        findings=(StepFinding(finding=finding, first=1000, last=3000, steps=12),),
        overhead=1.2,
        provenance=Provenance(tool="resnet-viz 0", model=evil or "resnet20"),
    )


def comparison(a: Report | None = None, b: Report | None = None, *, evil: str = "") -> Comparison:
    """A plain net beside a residual one, block by block as far as both go."""
    a = a or equipped(synthetic.resnet18(), evil=evil)
    b = b or equipped(synthetic.resnet50(), evil=evil)
    ours, theirs = a.structure.blocks, b.structure.blocks
    pairs = [
        Pair(
            a=x.module + evil, b=y.module, a_ops=x.ops, b_ops=y.ops, a_kind=x.title,
            b_kind=y.title, same="equal" if i == 0 else "changed",
            changes=() if i == 0 else (f"{x.title} → {y.title}", f"64 → 256 channels {evil}"),
        )
        for i, (x, y) in enumerate(zip(ours, theirs, strict=False))
    ]  # fmt: skip
    pairs += [
        Pair(a="", b=y.module, b_ops=y.ops, b_kind=y.title, same="only")
        for y in theirs[len(ours) :]
    ]
    told = [
        Difference(
            kind="changed",
            path_a=pair.a,
            path_b=pair.b,
            what=what,
            a=before,
            b=after,
            delta=delta,
            pair=k,
        )
        for k, pair in enumerate(pairs)
        if pair.same == "changed"
        for what, before, after, delta in (
            ("block", pair.a_kind, pair.b_kind, None),
            ("channels", "64", f"256{evil}", None),
            ("params", "73984", "75008", 1024),
        )
    ]
    told += [
        Difference(kind="added", path_a="", path_b=pair.b, what="part", b=pair.b_kind,
                   delta=70400, pair=k)
        for k, pair in enumerate(pairs) if pair.same == "only"
    ]  # fmt: skip
    return Comparison(
        a=a, b=b, alignment=Alignment(pairs=tuple(pairs)), differences=tuple(told),
        provenance=Provenance(tool="resnet-viz 0", input="1×3×224×224"),
    )  # fmt: skip


def broken_flow(evil: str) -> GradientFlow:
    """Hostile names and statistics that are no numbers."""
    found = flow(synthetic.resnet18(), evil=evil)
    bad = replace(found.calls[0].stats, l2=math.nan, spread=math.inf, rms=math.inf)
    return replace(
        found,
        loss=replace(found.loss, name=evil, value=math.inf, spread=math.nan),
        chain=(
            replace(found.chain[0], name=evil, start=OpId(evil), gain=math.nan, product=math.inf),
            replace(found.chain[1], name=evil, end=OpId(evil), gain=0.0, product=0.0),
            *found.chain[2:],
        ),
        parameters=(
            replace(found.parameters[0], name=evil, stats=bad, update_ratio=math.nan),
            replace(found.parameters[1], name=evil, stats=None, reason=evil),
            *found.parameters[2:],
        ),
        findings=(
            Finding(severity="error", what=evil, where=(evil,), evidence=evil, threshold=evil,
                    source=evil, remedy=evil),
        ),
    )  # fmt: skip


def hostile(evil: str) -> list[Any]:
    """Every kind of measurement with hostile texts and numbers that are none."""
    lengths, signals, past = paths(evil=evil), propagation(evil=evil), history(12, 4, evil=evil)
    steps = (
        replace(past.steps[0], loss=math.nan, lr=math.inf, l2=math.nan, clipped_l2=math.inf,
                optimizer=evil),
        *past.steps[1:],
    )  # fmt: skip
    bad = replace(signals.blocks[0].output, variance=math.nan, squared_mean=-1.0, second=math.inf)
    return [
        broken_flow(evil),
        replace(op_times(evil=evil), forward=0.0, watched=math.inf, ops=op_times(6, evil).ops),
        replace(lengths, norms=(math.nan, math.inf, 0.0, *lengths.norms[3:]), residual=math.nan),
        replace(
            signals,
            blocks=(replace(signals.blocks[0], output=bad, ratio=math.inf), *signals.blocks[1:]),
        ),
        replace(past, steps=steps),
        comparison(evil=evil),
    ]


VALUES: dict[str, Callable[[], Any]] = {
    "gradient flow": lambda: flow(synthetic.resnet18()),
    "path gradients": paths,
    "signal propagation": propagation,
    "op times": op_times,
    "history": lambda: history(12, 6),
    "comparison": comparison,
}
"""One of each kind, by name."""
