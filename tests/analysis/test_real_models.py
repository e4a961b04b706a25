"""Skips and blocks of models other people wrote, counted from their own module classes.

The analysis never looks at a class name, so class names are an independent oracle.
"""

from __future__ import annotations

from collections import Counter

import networkx as nx
import pytest
import torch
from torch import Tensor, nn

from resnet_viz.analysis import annotate
from resnet_viz.core.graph import OpId
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.core.structure import Structure
from resnet_viz.tracing.tracer import trace_model
from tests.analysis import zoo
from tests.analysis.zoo import of_type


def kinds(name: str) -> dict[str, int]:
    return dict(Counter(skip.kind for skip in zoo.structure(name).skips))


def titles(name: str) -> dict[str, int]:
    return dict(Counter(block.title for block in zoo.structure(name).blocks))


def squeezes(name: str) -> set[float]:
    return {block.squeeze for block in zoo.structure(name).blocks}


RESNETS = {
    # name: (identity, projection, kind of block, squeeze): He et al. 2015, table 1;
    # Xie et al. 2017; Zagoruyko & Komodakis 2016; Hu et al. 2018; He et al. 2016.
    "tv:resnet18": (5, 3, "basic", 1.0),
    "tv:resnet34": (13, 3, "basic", 1.0),
    "tv:resnet50": (12, 4, "bottleneck", 0.25),
    "tv:resnet101": (29, 4, "bottleneck", 0.25),
    "tv:resnext50_32x4d": (12, 4, "bottleneck", 0.5),
    "tv:wide_resnet50_2": (12, 4, "bottleneck", 0.5),
    "timm:seresnet50": (12, 4, "bottleneck", 0.25),
    "timm:resnet50d": (12, 4, "bottleneck", 0.25),
    "timm:resnetv2_50": (12, 4, "pre-activation bottleneck", 0.25),
    "timm:resnetv2_50x1_bit": (12, 4, "pre-activation bottleneck", 0.25),
    "timm:res2net50_26w_4s": (12, 4, "bottleneck", 104 / 256),
    # Option A throughout: the shortcuts that change the width are identities too.
    "ours:resnet20": (9, 0, "basic", 1.0),
    "ours:resnet56": (27, 0, "basic", 1.0),
}


@pytest.mark.parametrize("name", RESNETS)
def test_resnets(name: str) -> None:
    identity, projection, title, squeeze = RESNETS[name]
    found = kinds(name)
    assert (found.get("identity", 0), found.get("projection", 0)) == (identity, projection)
    assert titles(name) == {title: identity + projection}
    assert squeezes(name) == ({squeeze} if "res2net" not in name else squeezes(name))
    assert min(squeezes(name)) == pytest.approx(squeeze)


@pytest.mark.parametrize("name", ["tv:resnet18", "tv:resnet50", "timm:seresnet50"])
def test_modules_of_blocks_are_the_authors_blocks(name: str) -> None:
    blocks = zoo.structure(name).blocks
    expected = {
        path: module
        for path, module in zoo.model(name).named_modules()
        if type(module).__name__ in ("BasicBlock", "Bottleneck")
    }
    assert [b.module for b in blocks] == list(expected)
    for block in blocks:
        changes = expected[block.module].downsample is not None
        assert (block.skip.kind == "projection") is changes


def test_widths_and_kernels_of_a_bottleneck() -> None:
    first = zoo.structure("tv:resnet50").blocks[0]
    assert first.widths == (64, 64, 256)
    assert first.kernels == (1, 3, 1)
    assert first.ops[-1] == "layer1.0.relu/relu#2"  # the activation after the join


def test_gates_are_parts_of_their_bottleneck() -> None:
    structure = zoo.structure("timm:seresnet50")
    gates = structure.skips_of("gate")
    assert len(gates) == len(of_type("timm:seresnet50", "SEModule")) == 16
    assert len(structure.blocks) == 16
    for gate, block in zip(gates, structure.blocks, strict=True):
        assert {gate.join, *gate.branch} <= set(block.ops)
        assert len(block.widths) == 3


def test_plain_nets_have_none() -> None:
    for name in ("ours:plain20", "tv:vgg11_bn", "tv:squeezenet1_0", "tv:alexnet"):
        assert zoo.structure(name).skips == ()
        assert zoo.structure(name).blocks == ()


@pytest.mark.parametrize("name", ["tv:googlenet", "tv:inception_v3"])
def test_inception_has_none(name: str) -> None:
    assert zoo.structure(name).skips == ()


def test_densenet_121() -> None:
    layers = [p for p, m in zoo.model("tv:densenet121").named_modules()
              if type(m).__name__ == "_DenseLayer"]  # fmt: skip
    structure = zoo.structure("tv:densenet121")
    assert kinds("tv:densenet121") == {"concat": 58}
    assert len(layers) == 58
    assert [b.module for b in structure.blocks] == layers
    assert {b.kind for b in structure.blocks} == {"dense"}
    assert {b.widths for b in structure.blocks} == {(128, 32)}
    branches = [op for b in structure.blocks for op in b.skip.branch]
    assert len(branches) == len(set(branches))


@pytest.mark.parametrize("name", ["tv:mobilenet_v2", "tv:efficientnet_b0", "tv:mnasnet1_0"])
def test_inverted_bottlenecks(name: str) -> None:
    units = of_type(name, "InvertedResidual", "MBConv", "_InvertedResidual")
    skipped = sum(
        bool(getattr(u, "use_res_connect", False) or getattr(u, "apply_residual", False))
        for u in units
    )
    assert skipped > 5
    assert kinds(name)["identity"] == skipped
    assert titles(name) == {"inverted bottleneck": skipped}
    assert kinds(name).get("gate", 0) == len(of_type(name, "SqueezeExcitation"))


def test_mobilenet_v2_has_ten() -> None:
    assert kinds("tv:mobilenet_v2") == {"identity": 10}  # Sandler et al. 2018, table 2


def test_convnext_blocks_are_inverted_bottlenecks() -> None:
    # Liu et al. 2022, section 2.4.
    assert titles("tv:convnext_tiny") == {"inverted bottleneck": 18}
    assert {b.kernels for b in zoo.structure("tv:convnext_tiny").blocks} == {(7, 1, 1)}


def test_shufflenet_v2_passes_half_of_the_channels() -> None:
    assert kinds("tv:shufflenet_v2_x1_0") == {"concat": 13}  # 16 units, 3 with stride


TRANSFORMERS = {
    "tv:vit_b_16": (12, 12),
    "tv:swin_t": (12, 12),
    "hf:gpt2": (2, 2),
    "hf:llama": (2, 2),
    "hf:llama eager": (2, 2),
    "hf:bert": (2, 2),
    "hf:t5": (6, 4),  # a decoder layer attends to itself and to the encoder
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_both_residuals_of_every_layer_and_no_others(name: str) -> None:
    attention, mlp = TRANSFORMERS[name]
    assert kinds(name) == {"identity": attention + mlp}
    assert titles(name) == {"attention": attention, "mlp": mlp}
    assert squeezes(name) == {1.0}


def test_post_norm_forks_at_the_norm() -> None:
    forks = [skip.fork for skip in zoo.structure("hf:bert").skips]
    graph = zoo.graph("hf:bert")
    assert [graph[fork].kind for fork in forks[1:]] == ["layer_norm"] * 3


def test_mixer_mixes_tokens_without_narrowing() -> None:
    # The 64 px input of the other models does not fit; the layers are the same.
    assert titles("timm:mixer_s32_224") == {"mlp": 16}
    assert squeezes("timm:mixer_s32_224") == {1.0}


ALL = [*RESNETS, *TRANSFORMERS, "tv:densenet121", "tv:mobilenet_v2", "tv:efficientnet_b0",
       "tv:shufflenet_v2_x1_0", "tv:convnext_tiny"]  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_laws(name: str) -> None:
    structure, graph = zoo.structure(name), zoo.graph(name)
    for skip in structure.skips:
        assert skip.branch
        assert not set(skip.branch) & set(skip.shortcut)
        assert skip.fork not in (*skip.branch, *skip.shortcut)
        assert graph.position(skip.fork) < graph.position(skip.join)
        for op in (*skip.branch, *skip.shortcut):
            assert graph.position(skip.fork) < graph.position(op) < graph.position(skip.join)
    for block in structure.blocks:
        assert {block.skip.join, *block.skip.branch, *block.skip.shortcut} <= set(block.ops)
        assert list(block.ops) == sorted(block.ops, key=graph.position)
    assert annotate(graph) == structure
    assert from_json(to_json(structure)) == structure


@pytest.mark.parametrize("name", [n for n in ALL if not n.startswith("hf:")])
def test_every_fork_dominates_its_join(name: str) -> None:
    graph = zoo.graph(name)
    flow = nx.DiGraph((e.src, e.dst) for e in graph.edges)
    for op in [n for n in flow if not flow.in_degree(n) and n != graph.inputs[0].id]:
        flow.remove_node(op)  # what only parameters reach
    idom = nx.immediate_dominators(flow, graph.inputs[0].id)
    for skip in zoo.structure(name).skips:
        assert idom[skip.join] == skip.fork


class Foo(nn.Module):
    """A bottleneck whose names say nothing."""

    def __init__(self, wide: int, narrow: int, names: str = "pqrst") -> None:
        super().__init__()
        self.order = [*names]
        parts = (
            nn.Conv2d(wide, narrow, 1),
            nn.GroupNorm(2, narrow),
            nn.Conv2d(narrow, narrow, 3, padding=1),
            nn.Mish(),
            nn.Conv2d(narrow, wide, 1),
        )
        for name, part in zip(self.order, parts, strict=True):
            self.add_module(name, part)

    def forward(self, thing: Tensor) -> Tensor:
        other = thing
        for name in self.order:
            other = getattr(self, name)(other)
        other += thing
        return torch.relu_(other)


class Bar(nn.Module):
    """Three of them and a head."""

    def __init__(self, names: str = "pqrst", each: str = "abc") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3)
        self.each = [*each]
        for name in each:
            self.add_module(name, Foo(16, 4, names))
        self.end = nn.Linear(16, 2)

    def forward(self, thing: Tensor) -> Tensor:
        thing = self.stem(thing)
        for name in self.each:
            thing = getattr(self, name)(thing)
        return self.end(thing.mean((2, 3)))


def test_foo_and_bar() -> None:
    structure = annotate(trace_model(Bar(), (torch.zeros(1, 3, 8, 8),)))
    assert [(b.title, b.squeeze, b.module) for b in structure.blocks] == [
        ("bottleneck", 0.25, name) for name in "abc"
    ]
    assert {s.kind for s in structure.skips} == {"identity"}
    assert all(b.ops[-1].startswith(f"{b.module}/relu") for b in structure.blocks)


def test_renaming_modules_changes_names_only() -> None:
    first = trace_model(Bar(), (torch.zeros(1, 3, 8, 8),))
    second = trace_model(Bar("vwxyz", "ghi"), (torch.zeros(1, 3, 8, 8),))
    ids = dict(zip((n.id for n in first.nodes()), (n.id for n in second.nodes()), strict=True))

    def plain(structure: Structure, name: dict[OpId, OpId]) -> list[tuple[object, ...]]:
        return [
            (name[s.fork], name[s.join], s.kind, [name[o] for o in s.branch])
            for s in structure.skips
        ] + [(b.title, b.squeeze, b.widths, [name[o] for o in b.ops]) for b in structure.blocks]

    same = {op: op for op in ids.values()}
    assert plain(annotate(first), ids) == plain(annotate(second), same)


@pytest.mark.parametrize("name", ["hf:gpt2", "hf:llama", "hf:bert"])
def test_masks_hide_no_residual(name: str) -> None:
    # A mask enters every layer from the side and is computed from an input.
    ids = torch.randint(0, 50, (2, 8), generator=torch.Generator().manual_seed(0))
    given = {"attention_mask": torch.ones(2, 8, dtype=torch.long)}
    structure = annotate(trace_model(zoo.model(name), (ids,), given))
    assert [s.kind for s in structure.skips] == ["identity"] * 4
    assert [b.kind for b in structure.blocks] == ["attention", "mlp"] * 2


@pytest.mark.parametrize("norm_first", [False, True])
def test_encoder_and_decoder_of_torch(norm_first: bool) -> None:
    # The encoder's output enters every cross attention; a float mask is an input too.
    model = nn.Transformer(16, 2, 2, 2, 32, batch_first=True, norm_first=norm_first)
    args = (torch.zeros(2, 5, 16), torch.zeros(2, 7, 16))
    structure = annotate(trace_model(model, args, {"tgt_mask": torch.zeros(7, 7)}))
    assert [b.kind for b in structure.blocks] == ["attention", "mlp"] * 2 + [
        "attention", "attention", "mlp",
    ] * 2  # fmt: skip


class UNet(nn.Module):
    """Two levels with a concatenation each."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)])
        self.middle = nn.Conv2d(16, 32, 3, padding=1)
        self.up = nn.ModuleList([nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)])
        self.merge = nn.ModuleList(
            [nn.Conv2d(32, 16, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)]
        )

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for layer in self.down:
            kept.append(torch.relu(layer(x)))
            x = nn.functional.max_pool2d(kept[-1], 2)
        x = self.middle(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = torch.relu(merge(torch.cat([kept.pop(), up(x)], 1)))
        return x


def test_u_net_has_long_skips_and_no_units() -> None:
    graph = trace_model(UNet(), (torch.zeros(1, 3, 16, 16),))
    structure = annotate(graph)
    assert [(s.kind, s.fork) for s in structure.skips] == [
        ("concat", "relu#1"), ("concat", "relu#0"),
    ]  # fmt: skip
    assert set(structure.skips[0].branch) < set(structure.skips[1].branch)
    assert structure.blocks == ()
    assert [s.resolution[0] for s in structure.stages] == [16, 8, 4, 8, 16]
