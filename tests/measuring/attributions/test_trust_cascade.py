"""The randomisation check: what is drawn anew, and that it finds what was published."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer, resnet18

from resnet_viz.analysis import annotate
from resnet_viz.core.errors import NotApplicableError
from resnet_viz.measuring.attributions.trust.cascade import (
    HEAD_DRAWS,
    MOST_STEPS,
    Group,
    cascade,
    groups_from_top,
    redraw,
)
from resnet_viz.tracing.tracer import trace_model
from tests.measuring.attributions.claims import asked, images, small


def groups_of(model: nn.Module, *args: Tensor) -> tuple[Group, ...]:
    graph = trace_model(model, args)
    return groups_from_top(model, graph, annotate(graph))


def drawn(model: nn.Module, groups: tuple[Group, ...]) -> list[int]:
    modules = [model.get_submodule(path) for group in groups for path in group.modules]
    return [id(p) for m in modules for p in m.parameters(recurse=False)]


def test_a_resnet_falls_apart_by_stages_from_the_head_to_the_stem() -> None:
    model = resnet18()
    groups = groups_of(model, torch.zeros(2, 3, 32, 32))
    assert [g.name for g in groups][:5] == ["fc", "layer4", "layer3", "layer2", "layer1"]
    assert len(groups) == 6
    assert groups[-1].modules == ("bn1", "conv1")
    assert sorted(drawn(model, groups)) == sorted(id(p) for p in model.parameters())
    shares = [g.share for g in groups]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert shares[0] == pytest.approx(513_000 / sum(p.numel() for p in model.parameters()))


def test_a_long_stage_is_split_at_blocks() -> None:
    model = VisionTransformer(32, 8, 10, 2, 8, 16, num_classes=3)
    groups = groups_of(model, torch.zeros(1, 3, 32, 32))
    assert 4 <= len(groups) <= MOST_STEPS
    assert groups[0].name == "heads.head"
    assert len({g.name for g in groups}) == len(groups)
    inside = {
        number: {
            i for i, g in enumerate(groups) for m in g.modules if f"layer_{number}." in f"{m}."
        }
        for number in range(10)
    }
    assert all(len(where) == 1 for where in inside.values())
    order = [min(inside[number]) for number in range(10)]
    assert order == sorted(order, reverse=True)
    assert sorted(drawn(model, groups)) == sorted(id(p) for p in model.parameters())


class Tied(nn.Module):
    """Reads its tokens out with the weights it read them in with."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Embedding(11, 4)
        self.mix = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.arange(4.0))
        self.out = nn.Linear(4, 11, bias=False)
        self.out.weight = self.read.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out((self.mix(self.read(ids)) * self.scale).mean(1))


def test_shared_weights_are_drawn_once_with_their_last_reader() -> None:
    groups = groups_of(Tied(), torch.zeros(2, 5, dtype=torch.int64))
    assert [m for g in groups for m in g.modules] == ["read", "", "mix"]


def test_what_is_drawn_anew_and_what_stays() -> None:
    net = small()
    for parameter in net.norm.parameters():
        parameter.data.uniform_(2, 3)
    before = {name: t.clone() for name, t in net.state_dict().items()}
    group = Group(name="all", modules=("stem", "norm", "body", "head"), share=1.0)
    one, other, third = (copy.deepcopy(net) for _ in range(3))
    state = torch.get_rng_state()
    redraw(one, group, seed=1)
    redraw(other, group, seed=1)
    redraw(third, group, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
        stays = name.split(".")[-1] in ("running_mean", "running_var", "num_batches_tracked")
        assert torch.equal(tensor, before[name]) == stays
        if not stays and not name.startswith("norm"):
            assert not torch.equal(tensor, third.state_dict()[name])
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


class Own(nn.Linear):
    """A layer of a user's with an initialisation of its own, which asks for more."""

    def reset_parameters(self, gain: float | None = None) -> None:
        if gain is not None:
            raise AssertionError("not ours to call")
        super().reset_parameters()


def test_other_parameters_get_their_own_values_in_another_order() -> None:
    model = Tied()
    model.mix = Own(4, 4)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    redraw(model, Group(name="", modules=("", "mix"), share=1.0), seed=0)
    for name in ("scale", "mix.weight", "mix.bias"):
        now, then = model.state_dict()[name], before[name]
        assert not torch.equal(now, then)
        assert torch.equal(now.flatten().sort().values, then.flatten().sort().values)
    assert torch.equal(model.read.weight, before["read.weight"])


def test_the_model_itself_is_not_touched() -> None:
    net = small()
    before = {name: (t.data_ptr(), t.clone()) for name, t in net.state_dict().items()}
    with asked(net, images()) as question:
        groups = groups_from_top(net, question.graph, question.structure)
        seen = []
        with torch.no_grad():
            for group, other in cascade(question, groups):
                assert other.model is not net
                seen.append((group.name, other.forward(*other.inputs)))
                assert group in groups
            assert torch.equal(question.forward(*question.inputs), question.value)
    assert [name for name, _ in seen].count("head") == HEAD_DRAWS
    assert len(seen) == len(groups) + HEAD_DRAWS - 1
    # Batch norm was as torch initialises it.
    assert len({float(s.sum()) for _, s in seen}) == len(seen) - 1
    assert all(not torch.equal(scores, question.value) for _, scores in seen)
    assert all(
        t.data_ptr() == before[n][0] and torch.equal(t, before[n][1])
        for n, t in net.state_dict().items()
    )


class Uncopied(nn.Module):
    """Holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 2)
        self.handle = (i for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def test_a_model_that_cannot_be_copied_is_refused_in_one_line() -> None:
    with asked(Uncopied(), torch.rand(2, 4)) as question:
        groups = groups_from_top(question.model, question.graph, question.structure)
        with pytest.raises(NotApplicableError, match="cannot be copied"):
            next(cascade(question, groups))
