"""Results of experiments by hand: shaped like real ones, made without any net."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from resnet_viz.core.experiments.common import Check, LayerNorms
from resnet_viz.core.experiments.degradation import (
    Degradation,
    Epoch,
    TrainedNet,
    Training,
    TrainingData,
)
from resnet_viz.core.experiments.depth import DepthRun, DepthStudy, FirstSteps, NetKind
from resnet_viz.core.experiments.identity import BlockMap, IdentityMapping, SilentForm
from resnet_viz.core.experiments.lesions import Lesion, LesionStudy
from resnet_viz.core.report import Provenance

HOSTILE = '=cmd()"</script><img src=x onerror=alert(1)>\x00\x1b[2J\udcff'
PROVENANCE = Provenance(tool="resnet-viz 0", seed=0, command="resnet-viz experiment")


def wobble(i: int, j: int = 0) -> float:
    """A number in [-1, 1] that looks random and never changes."""
    return math.sin(12.9898 * (i + 1) + 78.233 * (j + 1)) * 0.999


def trained(
    depth: int, residual: bool, seed: int, *, epochs: int = 20, final: float | None = None
) -> TrainedNet:
    """One net; plain nets of more than 30 layers stay bad unless ``final`` says otherwise."""
    bad = depth > 30 and not residual and final is None
    low = 0.55 + 0.05 * seed if bad else 0.0005 * (seed + 1) if final is None else final
    rows = []
    for number in range(1, epochs + 1):
        part = number / epochs
        error = low + (0.89 - low) * math.exp(-(2.5 if bad else 9) * part)
        error = max(0.0, error + 0.01 * wobble(number, seed) * (1 - part))
        rows.append(
            Epoch(
                number=number, train_loss=2.5 * error + 0.001, train_error=error,
                eval_train_loss=2.6 * error, eval_train_error=min(error * 1.1, 1.0),
                test_loss=2.8 * error + 0.05,
                test_error=min(0.95, error * 1.1 + 0.02 + 0.02 * abs(wobble(number, seed + 9))),
                learning_rate=0.05 if part < 0.75 else 0.005,
            )
        )  # fmt: skip
    rate = 1.03 if residual else 1.135
    gradients = tuple(
        LayerNorms(
            step=step,
            layers=tuple(f"layer{i}" for i in range(depth)),
            norms=tuple(
                0.1 * rate ** ((depth - i) / (1 + step / 200)) * (1 + 0.2 * wobble(i, seed))
                for i in range(depth)
            ),
        )
        for step in (0, 110, 440)
    )
    return TrainedNet(
        variant=f"{'resnet' if residual else 'plain'}{depth}", depth=depth, residual=residual,
        seed=seed, params=depth * 1000, weights_digest=f"{depth}-{seed}", gradients=gradients,
        epochs=tuple(rows), seconds=depth / 3.3,
        lesions=lesions(f"{depth}", residual, seed) if depth > 30 else None,
    )  # fmt: skip


def lesions(model: str = "resnet56", residual: bool = True, seed: int = 0) -> LesionStudy:
    """Deletions and permutations as Veit et al. report them; a plain net ends at chance."""
    blocks = tuple(f"layer{s}.{i}" for s in (1, 2, 3) for i in range(9))
    changing = ("layer2.0", "layer3.0")
    whole = 0.02 if residual else 0.55
    found = [
        Lesion(
            kind="delete", blocks=(path,), loss=1.0,
            error=min(0.93, whole + (0.12 if path in changing else 0.004 * (1 + wobble(i, seed)))
                      if residual else 0.88 + 0.03 * wobble(i, seed)),
        )
        for i, path in enumerate(blocks)
    ]  # fmt: skip
    for k in (2, 5, 10, 15):
        found += [
            Lesion(kind="delete", blocks=blocks[d : d + k], draw=d, loss=2.0,
                   error=min(0.9, whole + 0.9 * (1 - math.exp(-((k / 8) ** 2))) + 0.02 * d))
            for d in range(3)
        ]  # fmt: skip
    found += [
        Lesion(kind="permute", blocks=blocks, draw=d, tau=1 - 0.06 * d, loss=2.0,
               error=min(0.9, whole + 0.01 * d**2))
        for d in range(1, 8)
    ]  # fmt: skip
    return LesionStudy(
        model=model, data="360 test samples of digits", samples=360, classes=10, blocks=blocks,
        changing=changing, loss=0.1, error=whole, lesions=tuple(found), seed=seed,
        left_out=() if residual else ("layer2.0 changes shape and has no shortcut",),
        provenance=PROVENANCE,
    )  # fmt: skip


def degradation(seeds: tuple[int, ...] = (0, 1, 2), **finals: float) -> Degradation:
    """The experiment as He et al. saw it; ``plain56=0.0`` and the like change an ending."""
    nets = tuple(
        trained(depth, residual, seed,
                final=finals.get(f"{'residual' if residual else 'plain'}{depth}"))
        for depth in (20, 56) for residual in (False, True) for seed in seeds
    )  # fmt: skip
    return Degradation(
        data=TrainingData(name="digits", source="UCI optical digits, CC BY 4.0", shape=(1, 8, 8),
                          classes=10, train=1437, test=360),
        training=Training(seeds=seeds),
        nets=nets,
        checks=(
            Check(what="training loss of plain-56 over that of plain-20", measured=305.2,
                  allowed="more than 10", holds=True, source="He et al. 2015, figure 6"),
            Check(what="gradient factor per layer of plain-56", measured=1.13, expected=1.211,
                  allowed="within 10 %", holds=False, source="Yang et al. 2019: √(π/(π−1))"),
        ),
        provenance=PROVENANCE,
    )  # fmt: skip


def identity() -> IdentityMapping:
    """A silent net that equals its shallow twin."""
    return IdentityMapping(
        deep="resnet56", shallow="resnet20", silenced="last batch norm's weight and bias set to 0",
        copied=269_722, extra=583_296, samples=64, difference=0.0, plain_difference=2.31,
        plain_spread=0.0,
        perturbed=((0.0, 0.0), *((10.0**-k, 10.0 ** (0.3 - k)) for k in range(6, -1, -1))),
        blocks=tuple(
            BlockMap(
                path=f"layer{s}.{i}", stage=s, index=i + 1, silent=i >= 3,
                difference=0.0 if i >= 3 else (None if i == 0 and s > 1 else 1.5 + wobble(i, s)),
                singular_values=(1.0,) * 16 if i >= 3 else tuple(
                    2.5 * 0.8**k for k in range(16)),
            )
            for s in (1, 2, 3) for i in range(9)
        ),
        forms=(
            SilentForm(block="bottleneck", order="preact", silenced="last convolution set to 0",
                       difference=0.0, train_difference=0.0, positive=0.0, signed=0.0),
            SilentForm(block="basic", order="norm_after_add", silenced="last convolution set to 0",
                       difference=1.19, train_difference=1.96, positive=2.91, signed=3.55),
        ),
        checks=(
            Check(what="largest difference of logits", measured=0.0, expected=0.0,
                  allowed="exactly", holds=True, source="He et al. 2015, section 3.1"),
        ),
        provenance=PROVENANCE,
    )  # fmt: skip


def chain(kind: NetKind, depth: int, seed: int = 0) -> DepthRun:
    """A net whose blocks all multiply the gradient by about the same factor."""
    blocks = (depth - 2) // 2
    sigmoid, plain = kind.activation == "sigmoid", not kind.residual
    factor = {(True, True): 0.02, (False, True): 0.8}.get((sigmoid, plain), 1.05)
    factor = 1.4 if kind.norm == "batch" and plain else factor
    exact = [1.0]
    for i in range(blocks):
        exact.append(exact[-1] / (factor * (1 + 0.1 * wobble(i, seed))))
    top = exact[-1]
    values = tuple(x / top for x in exact)
    norms = tuple(values[min(i // 2, blocks)] for i in range(depth))
    return DepthRun(
        kind=kind, depth=depth, seed=seed, loss=2.3,
        weights=LayerNorms(step=0, layers=tuple(f"w{i}" for i in range(depth)),
                           norms=tuple(x if x > 1e-45 else 0.0 for x in norms)),
        activations=tuple(x if x > 1e-45 else 0.0 for x in values), exact=values,
        wrapped=values,
        outputs=(1.0,) * blocks, stages=tuple(1 + 3 * i // blocks for i in range(blocks)),
        slope=0.25 if sigmoid else None, forced=2 if plain else 1,
        predicted=(factor,) * blocks if not sigmoid else (), source="mean field",
        textbook=1.4669 if kind.norm == "batch" and plain else None,
    )  # fmt: skip


def depth() -> DepthStudy:
    """Three activations, two initialisations, with and without norm and shortcuts."""
    kinds = [
        NetKind(activation=a, init=i, norm=n, residual=r)
        for a in ("sigmoid", "tanh", "relu") for i in ("he", "xavier")
        for n in ("none", "batch") for r in (False, True)
    ]  # fmt: skip
    depths = (8, 20, 56, 110)
    steps = tuple(
        FirstSteps(
            kind=kind, depth=layers, optimizer=optimizer, learning_rate=rate,
            losses=tuple(2.3 * (1 - 0.02 * k * (1 + kind.residual)) for k in range(11)),
            layers=("conv1", "mid", "fc"),
            updates=tuple(
                ((0.0 if kind.activation == "sigmoid" and optimizer == "sgd" else 1e-6), 1e-4, 1e-3)
                for _ in range(10)
            ),
            seed=0, gradients=(0.0 if kind.activation == "sigmoid" else 1e-4, 1e-3, 1e-2),
        )
        for layers in (20, 56) for kind in kinds if kind.init == "he" and kind.norm == "none"
        for optimizer, rate in (("sgd", 0.1), ("momentum", 0.1), ("adam", 1e-3))
    )  # fmt: skip
    return DepthStudy(
        depths=depths, widths=(16, 32, 64), batch_size=32, data="standard normal noise, 3×16×16",
        runs=tuple(chain(kind, d) for kind in kinds for d in depths), steps=steps,
        checks=(
            Check(what="factor per block, relu, batch norm, plain", measured=1.41,
                  expected=1.4669, allowed="within 5 %", holds=True, source="Yang et al. 2019"),
        ),
        provenance=PROVENANCE,
    )  # fmt: skip


def hostile() -> list[Any]:
    """Every kind of result with hostile texts and numbers that are none."""
    bad = replace(lesions(HOSTILE), model=HOSTILE, data=HOSTILE, left_out=(HOSTILE,),
                  changing=(HOSTILE,), blocks=(HOSTILE, "b"),
                  lesions=(Lesion(kind="delete", blocks=(HOSTILE,), loss=math.nan, error=math.inf),
                           Lesion(kind="permute", blocks=("b",), tau=math.nan, loss=1.0,
                                  error=math.nan)))  # fmt: skip
    base = degradation((0,))
    epochs = tuple(
        replace(e, train_error=math.nan if e.number % 3 else math.inf, test_loss=math.inf)
        for e in base.nets[0].epochs
    )
    check = Check(what=HOSTILE, measured=math.nan, expected=math.inf, allowed=HOSTILE,
                  holds=False, source=HOSTILE)  # fmt: skip
    zero = LayerNorms(step=0, layers=(HOSTILE, "b"), norms=(0.0, math.nan))
    return [
        bad,
        replace(base, data=replace(base.data, name=HOSTILE, source=HOSTILE), checks=(check,),
                provenance=Provenance(command=HOSTILE, tool=HOSTILE),
                nets=tuple(replace(net, epochs=epochs, gradients=(zero,), lesions=bad)
                           for net in base.nets)),
        replace(identity(), deep=HOSTILE, silenced=HOSTILE, difference=math.nan,
                perturbed=((math.nan, math.inf), (0.0, -1.0)), checks=(check,),
                blocks=(BlockMap(path=HOSTILE, stage=1, index=1, silent=True, difference=math.inf,
                                 singular_values=(math.inf, 0.0, math.nan)),),
                forms=(SilentForm(block=HOSTILE, order=HOSTILE, silenced=HOSTILE,
                                  difference=math.nan, train_difference=math.inf, positive=0.0,
                                  signed=-1.0),)),
        replace(depth(), data=HOSTILE, checks=(check,),
                runs=tuple(replace(r, exact=(math.nan, *r.exact[1:]), weights=zero, source=HOSTILE)
                           for r in depth().runs[:6])),
    ]  # fmt: skip


ALL = {"degradation": degradation, "identity": identity, "depth": depth, "lesions": lesions}
