"""Shares at the forks of real architectures: every fork has them, and they sum to 1."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from resnet_viz.analysis import annotate
from resnet_viz.analysis.flow_graph import flow_of
from resnet_viz.analysis.skip_shares import RESIDUAL, skip_shares_of
from resnet_viz.core.batch import Batch
from resnet_viz.measuring.gradients.measure import measure_gradients
from resnet_viz.tracing.tracer import trace_model

TINY = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2}  # fmt: skip


def of_torchvision(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision.models, name)(weights=None, **options)


def of_timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, **options)


def of_transformers(name: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import transformers

        model: Any = getattr(transformers, name)
        return model(model.config_class(**options, bos_token_id=0, eos_token_id=0))

    return make


ZOO: dict[str, tuple[Callable[[], nn.Module], int]] = {
    **{
        name: (of_torchvision(name), 64)
        for name in (
            "resnet18", "resnet50", "wide_resnet50_2", "resnext50_32x4d", "densenet121",
            "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "convnext_tiny",
            "regnet_y_400mf", "shufflenet_v2_x1_0", "squeezenet1_1", "mnasnet1_0", "swin_t",
        )
    },
    "googlenet": (of_torchvision("googlenet", init_weights=False), 64),
    "inception_v3": (of_torchvision("inception_v3", init_weights=False, aux_logits=False), 96),
    "vit_b_16": (of_torchvision("vit_b_16", image_size=32), 32),
    **{
        name: (of_timm(name), 64)
        for name in (
            "seresnet18", "resnest14d", "nf_resnet26", "resnetv2_50", "skresnet18",
            "cspresnet50", "edgenext_xx_small", "ecaresnet26t", "res2net50_26w_4s", "dla34",
            "hrnet_w18_small", "poolformer_s12",
        )
    },
    "resmlp_12_224": (of_timm("resmlp_12_224", img_size=32), 32),
    "mixer_s32_224": (of_timm("mixer_s32_224", img_size=64), 64),
    "gpt2": (of_transformers("GPT2LMHeadModel", n_layer=2, n_embd=32, n_head=2, vocab_size=64), 0),
    "bert": (of_transformers("BertModel", **TINY), 0),
    "llama": (of_transformers("LlamaForCausalLM", **TINY), 0),
}  # fmt: skip


def wake(model: nn.Module) -> nn.Module:
    """Values for what begins as zeros: last gammas and heads, behind which nothing comes back."""
    for parameter in model.parameters():
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("name", ZOO)
def test_every_fork_has_shares_that_sum_to_one(name: str) -> None:
    torch.manual_seed(0)
    make, size = ZOO[name]
    model = wake(make())
    x = torch.randn(2, 3, size, size) if size else torch.randint(0, 64, (2, 8))
    graph = trace_model(model, (x,), training=False)
    structure = annotate(graph)
    flow = measure_gradients(model, [Batch(args=(x,))], graph=graph, mode="train", stats="norms")
    assert flow.not_separable == ()
    by_fork: dict[str, list[Any]] = defaultdict(list)
    for share in flow.shares:
        by_fork[share.src].append(share)
    for fork, edges in by_fork.items():
        values = [edge.share for edge in edges]
        assert abs(sum(values) - 1) <= 1e-5 * max(1, sum(map(abs, values))), fork
        assert any(edge.norm_ratio for edge in edges)
    values_of = flow_of(graph)
    forks = {
        values_of.nodes[i].id: {values_of.nodes[j].id for j in succs}
        for i, succs in enumerate(values_of.succs)
        if len(succs) > 1
    }
    assert forks
    for fork, consumers in forks.items():
        assert consumers == {edge.dst for edge in by_fork[fork]} - {"loss"}
    assert all(len(by_fork[fork]) > 1 for fork in by_fork)
    assert None not in [flow.share_of(skip) for skip in structure.skips]
    sums = skip_shares_of(structure, flow)
    residual = [skip for skip in structure.skips if skip.kind in RESIDUAL]
    assert [row.skips for row in sums if row.by == "network"] == [len(residual)] * bool(residual)
    for row in sums:
        assert row.shortcut + row.branch + row.other == pytest.approx(1, abs=1e-5)


def test_the_zoo_is_large_enough() -> None:
    assert len(ZOO) >= 30


def test_auxiliary_heads_send_their_part_back() -> None:
    torch.manual_seed(0)
    model = torchvision.models.googlenet(weights=None, init_weights=False).train()
    x = torch.randn(2, 3, 64, 64)
    graph = trace_model(model, (x,), training=True)

    def loss_fn(outputs: Any, _targets: Any) -> torch.Tensor:
        main, *auxiliary = (out.square().mean() for out in outputs)
        total: torch.Tensor = main + 10 * sum(auxiliary)
        return total

    batch = [Batch(args=(x,))]
    both, main = (
        measure_gradients(model, batch, graph=graph, mode="train", stats="norms", loss_fn=loss)
        for loss in (loss_fn, lambda out, _: out[0].square().mean())
    )
    head = next(op.id for op in graph.ops if op.module == "aux1")
    (fork,) = (edge.src for edge in graph.edges_in(head))
    shares = [{s.dst: s.share for s in flow.shares if s.src == fork} for flow in (both, main)]
    assert len(shares[0]) == 5
    assert shares[0][head] > 0.01
    assert shares[1][head] == 0
    assert both.not_separable == ()
    for values in shares:
        assert sum(values.values()) == pytest.approx(1, abs=1e-5)
