"""Attributions with everything a run can say, made up: what the views of them draw."""

from __future__ import annotations

import io
import math
from dataclasses import replace

from PIL import Image

from resnet_viz.core.attribution import Attribution, Attributions, Bar
from resnet_viz.core.depth_views import DepthView, FeatureMap, Kernels, ReceptiveField, StageView
from resnet_viz.core.graph import OpId
from resnet_viz.core.pictures import Heatmap, Picture
from resnet_viz.core.relevance import Amount, OperandRelevance, OpRelevance, Relevance
from resnet_viz.core.report import Report
from resnet_viz.core.trust import Agreement, CascadeStep, Curve, Trust
from resnet_viz.core.values import Values

NAMES = ("tabby.png", "<img src=x onerror=alert(1)>.png")
TARGETS = ("class 281 (tabby)", 'class 282 ("tiger & cat" </td><script>)')


def photo(name: str, width: int = 96, height: int = 96, hue: int = 0) -> Picture:
    """A picture of two soft spots."""
    image = Image.new("RGB", (width, height))
    image.putdata(
        [
            (
                int(90 + 120 * spot(x / width, y / height, 0.35, 0.4)),
                int(110 + 100 * spot(x / width, y / height, 0.6, 0.55)),
                (60 + hue + 90 * y // height) % 256,
            )
            for y in range(height)
            for x in range(width)
        ]
    )
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return Picture(
        name=name, width=width, height=height, media_type="image/png", data=buffer.getvalue()
    )


def spot(x: float, y: float, at_x: float, at_y: float, size: float = 0.03) -> float:
    """A soft spot in the unit square."""
    return math.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / size)


def heat(side: int, *, signed: bool = False, shift: float = 0.0) -> Heatmap:
    """A spot, and where ``signed`` a negative one beside it."""
    data = bytes(
        round(
            (127 if signed else 255) * spot(x / side, y / side, 0.35 + shift, 0.4)
            + (128 - 110 * spot(x / side, y / side, 0.7, 0.7) if signed else 0)
        )
        for y in range(side)
        for x in range(side)
    )
    return Heatmap(width=side, height=side, low=-0.031 if signed else 0.0, high=0.031, data=data)


def values(*shape: int, seed: int = 0) -> Values:
    """Numbers of this shape."""
    import numpy as np

    data = np.random.default_rng(seed).normal(size=shape).astype("<f4").tobytes()
    return Values(shape=shape, dtype="float32", data=data)


def curve(falls: bool) -> Curve:
    """A curve of eleven places."""
    fractions = tuple(i / 10 for i in range(11))
    scores = tuple(0.9 * (math.exp(-4 * f) if falls else 1 - math.exp(-4 * f)) for f in fractions)
    return Curve(fractions=fractions, scores=scores, auc=sum(scores) / 11, random_auc=0.5)


def trust(good: bool) -> Trust:
    """All that can be tested of a map."""
    steps = ("fc", "layer4", "layer3", "layer2.0.downsample.0", "conv1")
    return Trust(
        infidelity=0.12 if good else 0.97,
        max_sensitivity=0.08,
        deletion=curve(good),
        insertion=curve(not good),
        cascade=tuple(
            CascadeStep(layer=layer, rank_correlation=0.4 - 0.08 * i if good else 0.97 - 0.01 * i)
            for i, layer in enumerate(steps)
        ),
        depends_on_weights=good,
        verdict="Changes with the weights, as it must."
        if good
        else "It hardly changes when the weights are drawn anew: it shows the image, not the net.",
    )


def _maps(index: int, rank: int) -> list[Attribution]:
    common = {
        "input": index, "target": TARGETS[rank], "rank": rank, "score": 12.3 - rank,
        "probability": 0.81 if not rank else 0.07,
    }  # fmt: skip
    return [
        Attribution(
            method="integrated gradients", name="integrated_gradients", source="x",
            heatmap=heat(96, signed=True, shift=0.1 * index), signed=True,
            delta=0.011 * (1 + rank), relative_delta=0.009, trust=trust(True),
            values=values(3, 96, 96, seed=index), verdict="Complete to 0.9 %.", **common,
        ),
        Attribution(
            method="guided backprop", name="guided_backprop", source="x", heatmap=heat(96),
            trust=trust(False), values=values(3, 96, 96, seed=9 + index),
            verdict="It does not claim completeness.", **common,
        ),
        Attribution(
            method="layer Grad-CAM", name="layer_grad_cam", layer="layer4", heatmap=heat(7),
            trust=Trust(deletion=curve(True)), values=values(1, 3, 3),
            verdict="Where the last map speaks for the target.", **common,
        ),
        Attribution(
            method="LRP", name="lrp", source="x", heatmap=heat(96, signed=True), signed=True,
            forced="Residual adds are not handled: its sum misses the score by 2.4e+11.",
            verdict="", **common,
        ),
    ]  # fmt: skip


def _amount(value: float, spread: bool) -> Amount:
    return Amount(
        signed=value, absolute=2.5 * abs(value) + 0.1, signed_sd=0.2 if spread else None,
        absolute_sd=0.1 if spread else None,
    )  # fmt: skip


def relevance(report: Report, *, samples: int = 1) -> Relevance:
    """Per op and operand; every join's operands add up to F(x) − F(x′) = 4."""
    operands, ops = [], {}
    for k, skip in enumerate(report.structure.skips):
        if skip.kind not in ("identity", "projection"):
            continue
        part = 4 * math.sin(k + 1)
        join = skip.join
        sources = {e.in_slot: e.src for e in report.graph.edges_in(join)}
        for slot, src in sources.items():
            on_way = src == skip.fork or src in skip.shortcut
            operands.append(
                OperandRelevance(
                    join=join, in_slot=slot, src=src,
                    role="shortcut" if on_way else "residual branch",
                    amount=_amount(part if on_way else 4 - part, samples > 1),
                )
            )  # fmt: skip
            ops[src] = operands[-1].amount
        ops[join] = _amount(4.0, samples > 1)
    cuts = {skip.join for skip in report.structure.skips}
    return Relevance(
        target=TARGETS[0], baseline="zeros", steps=50, difference=4.0,
        difference_sd=0.3 if samples > 1 else None,
        ops=tuple(
            OpRelevance(
                op=op.id, cut=op.id in cuts,
                amount=ops.get(op.id, _amount(4 * math.cos(i), samples > 1)),
            )
            for i, op in enumerate(report.graph.ops)
        ),
        operands=tuple(operands), samples=samples,
        notes=("The operands of layer1.0/mul#0 do not add up: it is a product.",),
    )  # fmt: skip


def depth(index: int, report: Report) -> DepthView:
    """A strip of the stem and the stages."""
    first = report.graph.ops[0]
    stages = [("stem", first.id, 48, 16)]
    stages += [(s.name, s.ops[-1], 24 >> i, 64 << i) for i, s in enumerate(report.structure.stages)]
    return DepthView(
        input=index,
        target=TARGETS[0],
        stages=tuple(
            StageView(
                name=name, op=OpId(op), module=name if i else "conv1",
                shape=(channels, max(side, 1), max(side, 1)),
                cam=heat(max(side, 3), signed=i % 2 == 0),
                features=tuple(
                    FeatureMap(channel=7 * c + i, strength=1.5 / (c + 1),
                               heatmap=heat(max(side, 3), shift=0.05 * c))
                    for c in range(6)
                ),
                field=ReceptiveField(
                    height=7 + 24 * i, width=7 + 24 * i, stride=(2.0**i, 2.0**i),
                    whole=i == 4, effective=5.5 + 9 * i, map=heat(48),
                ),
            )
            for i, (name, op, side, channels) in enumerate(stages)
        ),
    )  # fmt: skip


def kernels(count: int = 64) -> Kernels:
    """Filters of a first layer."""
    return Kernels(
        op=OpId("conv1/conv2d#0"), module="conv1", shape=(count, 3, 7, 7),
        pictures=tuple(photo(f"{i}", 7, 7, hue=3 * i) for i in range(count)),
    )  # fmt: skip


def everything(report: Report, *, inputs: int = 2, ranks: int = 2, samples: int = 1) -> Report:
    """The report with attributions that have every part."""
    pairs = [
        Agreement(input=i, target=TARGETS[0], a=a, b=b, rank_correlation=rho, overlap=0.31)
        for i in range(inputs)
        for a, b, rho in (
            ("integrated gradients", "guided backprop", 0.62),
            ("integrated gradients", "layer Grad-CAM at layer4", -0.11),
            ("guided backprop", "layer Grad-CAM at layer4", 0.02),
        )
    ]
    found = Attributions(
        pictures=tuple(photo(NAMES[i % 2], hue=40 * i) for i in range(inputs)),
        maps=tuple(m for i in range(inputs) for rank in range(ranks) for m in _maps(i, rank)),
        agreements=tuple(pairs),
        relevance=relevance(report, samples=samples),
        depths=tuple(depth(i, report) for i in range(inputs)),
        kernels=kernels(),
        rows=24,
        peak_bytes=612_000_000,
        settings="bfloat16 autocast, channels last",
    )
    others = tuple(m for m in report.measurements if not isinstance(m, Attributions))
    return replace(report, measurements=(*others, found))


def tokens() -> Attributions:
    """Of a sentence: bars at an embedding."""
    words = ("[CLS]", "not", "a", "</bdi><b>good", "film", "خوب", "[SEP]")
    return Attributions(
        pictures=(),
        maps=(
            Attribution(
                method="integrated gradients", name="integrated_gradients", input=0,
                target="class 0 (negative)", score=2.2, probability=0.9, layer="embed.tokens",
                bars=tuple(
                    Bar(label=word, value=math.cos(2 * i)) for i, word in enumerate(words)
                ),
                signed=True, values=values(7, 16), verdict="Complete to 1 %.",
            ),
        ),
    )  # fmt: skip
