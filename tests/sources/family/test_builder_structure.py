"""Every option as the structure finder sees it: the skips and blocks that were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import resnet_viz as rv
from resnet_viz.sources.family.parts import (
    ACTIVATIONS,
    ANTIALIASES,
    ATTENTIONS,
    BLOCKS,
    INITS,
    NORMS,
    ORDERS,
    SHORTCUTS,
    STEMS,
)
from resnet_viz.sources.family.plan import plan_blocks
from resnet_viz.sources.family.resnet import ResNet
from resnet_viz.sources.family.resnet_config import ResNetConfig

GATES = {"none": 0, "se": 1, "eca": 1, "cbam": 2}


def cases() -> Iterator[dict[str, Any]]:
    for shortcut in SHORTCUTS:
        yield {"shortcut": shortcut}
        yield {"shortcut": shortcut, "block": "bottleneck", "order": "preact"}
        yield {"shortcut": shortcut, "block": "bottleneck"}
    for order in ORDERS:
        yield from (
            {"order": order, "block": block, "shortcut": s} for block in BLOCKS for s in "AB"
        )
    yield from ({"attention": name} for name in ATTENTIONS)
    yield from ({"norm": name} for name in NORMS)
    yield from ({"norm": name, "order": "preact"} for name in NORMS)
    yield from ({"activation": name} for name in ACTIVATIONS)
    yield from ({"antialias": name, "block": "bottleneck"} for name in ANTIALIASES)
    yield from ({"stem": name} for name in STEMS)
    for init, part in INITS.items():
        yield {"init": init, **{option: values[-1] for option, values in part.needs.items()}}
    yield {"init": "nf", "norm": "none", "order": "preact", "block": "bottleneck", "shortcut": "D"}
    yield {"dropout": 0.3, "stochastic_depth": 0.5}
    yield {"output_stride": 1, "shortcut": "D"}
    yield {"block": "bottleneck", "cardinality": 2, "stride": "v1"}


def skip_kind(config: ResNetConfig, shortcut: str) -> str:
    if SHORTCUTS[config.shortcut].through not in ("", "dropout"):
        return "scaled"
    return "projection" if shortcut in ("projection", "average") else "identity"


@pytest.mark.parametrize("options", list(cases()), ids=str)
def test_skips_and_blocks_are_those_of_the_config(options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"blocks": (2, 1), "widths": (8, 16), "stem": "cifar", **options}
    config = ResNetConfig(**given)
    structure = rv.annotate(rv.trace(ResNet(config).eval(), input_size=(1, 3, 16, 16)))
    plans = plan_blocks(config) if config.shortcut != "none" else ()
    skips = [skip.kind for skip in structure.skips if skip.kind != "gate"]
    assert skips == [skip_kind(config, plan.shortcut) for plan in plans]
    gates = sum(skip.kind == "gate" for skip in structure.skips)
    assert gates == GATES[config.attention] * len(plan_blocks(config))
    assert [(block.kind, block.preactivation, block.module) for block in structure.blocks] == [
        (config.block, config.order == "preact", f"layer{plan.stage + 1}.{plan.place}")
        for plan in plans
    ]
