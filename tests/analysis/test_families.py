"""Skips and blocks of whole families of architectures, counted from their papers.

See ``families`` and ``nets`` for the answers and where they come from.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnet_viz.analysis import annotate
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Structure
from resnet_viz.tracing.tracer import trace_model
from tests.analysis.families import BART, HF, MORE, TIMM, Family, Model
from tests.analysis.nets import NETS

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ALL = bool(os.environ.get("RESNET_VIZ_ALL_FAMILIES"))


def check(graph: ModelGraph, answer: Family) -> Structure:
    structure = annotate(graph)
    assert Counter(skip.kind for skip in structure.skips) == answer.skips
    titles = Counter(block.title for block in structure.blocks)
    if answer.blocks is not None:
        assert titles == answer.blocks
    for block in structure.blocks:
        if block.kind == "bottleneck":
            # Nothing is called a bottleneck that does not narrow (these are all N, C, H, W).
            assert min(block.widths) < graph[block.skip.join].shape[1]
            assert block.squeeze < 1
    for skip in structure.skips:
        assert not set(skip.branch) & set(skip.shortcut)
    held = [op for stage in structure.stages for op in stage.ops]
    assert held == [op.id for op in graph.ops]
    return structure


@pytest.mark.parametrize("name", NETS)
def test_nets_by_hand(name: str) -> None:
    net = NETS[name]
    graph = trace_model(net.build().eval(), net.args)
    check(graph, Family(net.skips, net.blocks))


@pytest.mark.parametrize("name", [*TIMM, *(MORE if ALL else ())])
def test_timm(name: str) -> None:
    import timm

    with torch.device("meta"):
        model = timm.create_model(name).eval()
    image = torch.zeros(1, *model.pretrained_cfg["input_size"], device="meta")
    check(trace_model(model, (image,)), (TIMM | MORE)[name])


@pytest.mark.parametrize("name", HF)
def test_transformers(name: str) -> None:
    graph = trace_model(_transformer(HF[name]), (), _inputs(HF[name].takes))
    check(graph, HF[name].answer)


def _transformer(row: Model) -> nn.Module:
    import transformers as hf

    options = dict(row.options)
    if row.options is BART and row.name == "DetrModel":
        backbone = {
            "embedding_size": 8, "hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1],
            "out_features": ["stage4"],
        }  # fmt: skip
        options |= {
            "backbone_config": hf.ResNetConfig(**backbone), "use_timm_backbone": False,
            "use_pretrained_backbone": False, "backbone": None, "num_queries": 5,
        }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module = getattr(hf, row.name)(getattr(hf, row.config)(**options)).eval()
    return model


def _inputs(takes: str) -> dict[str, Tensor]:
    ids = torch.zeros(2, 8, dtype=torch.int64)
    text = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return {
        "ids": {"input_ids": ids},
        "text": text,
        "both": text | {"decoder_input_ids": ids[:, :5]},
        "spectrum": {"input_features": torch.zeros(2, 8, 32), "decoder_input_ids": ids},
        "sound": {"input_values": torch.zeros(2, 200)},
        "image": {"pixel_values": torch.zeros(2, 3, 32, 32)},
        "photo": {"pixel_values": torch.zeros(2, 3, 64, 64)},
    }[takes]


# torchvision. FPN: a projection per level below the top; its sums are no units. The
# proposals, anchors and losses of a detector add nothing.
TORCHVISION: dict[str, tuple[dict[str, Any], Family]] = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": (
        {"weights_backbone": None, "min_size": 64, "max_size": 64},
        Family({"identity": 10, "gate": 8, "projection": 1}),
    ),
    "retinanet_resnet50_fpn": (
        {"weights_backbone": None, "min_size": 64, "max_size": 64},
        Family({"identity": 12, "projection": 4 + 2}, {"bottleneck": 16}),
    ),
    "ssdlite320_mobilenet_v3_large": (
        {"weights_backbone": None},
        Family({"identity": 10, "gate": 8}, {"inverted bottleneck": 9, "basic": 1}),
    ),
    # LR-ASPP adds two classifiers, one of an early and one of the last features.
    "lraspp_mobilenet_v3_large": (
        {"weights_backbone": None},
        Family(
            {"identity": 10, "gate": 8, "projection": 1}, {"inverted bottleneck": 9, "basic": 1}
        ),
    ),
    # 16 layers; 3 pool or project the shortcut of either sublayer.
    "mvit_v1_b": (
        {},
        Family({"identity": 26, "projection": 3 + 3}, {"attention": 16, "mlp": 16}),
    ),
    # Two encoders of 2 + 2 + 2 blocks, 2 of them projecting; 12 updates, in each of which
    # the input of two GRUs, or of the second one, is concatenated past a gated product.
    "raft_small": ({}, Family({"identity": 8, "projection": 4, "concat": 12})),
    "s3d": ({}, Family({}, {})),
}


@pytest.mark.parametrize("name", [n for n in TORCHVISION if ALL or "ssd" not in n])
def test_torchvision(name: str) -> None:
    import torchvision

    options, answer = TORCHVISION[name]
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    args: tuple[Any, ...] = (torch.zeros(1, 3, 64, 64),)
    if "rcnn" in name or "retina" in name or "ssd" in name:
        args = ([torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))],)
    elif name == "raft_small":
        args = (torch.zeros(1, 3, 128, 128), torch.zeros(1, 3, 128, 128))
    elif name in ("mvit_v1_b", "s3d"):
        args = (torch.zeros(1, 3, 16, 224, 224),)
    check(trace_model(model, args), answer)
