"""Lesions against nets rebuilt by hand without the block: the same numbers, bit for bit."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

from resnet_viz.analysis import annotate
from resnet_viz.core.errors import ModelError, NotApplicableError, UserError
from resnet_viz.core.experiments.lesions import LesionStudy
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.measuring.lesions.plans import Arrangement, draw_sets, kendall_tau
from resnet_viz.measuring.lesions.study import study_lesions
from resnet_viz.sources.variants import build
from resnet_viz.tracing.tracer import trace_model
from tests.tracing.test_pristine import untouched

CLASSES = 4


def study(model: nn.Module, x: Tensor, y: Tensor, **options: Any) -> LesionStudy:
    structure = annotate(trace_model(model, (x,), training=False))
    options = {"counts": (2,), "draws": 2, "permutations": (), **options}
    return study_lesions(model, structure, (x, y), **options)


def scores(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Loss and error, worked out without the package."""
    with torch.no_grad():
        logits = model.eval()(x.clone())
    wrong = (logits.argmax(1) != y).double().mean().item()
    return F.cross_entropy(logits.double(), y, reduction="sum").item() / len(y), wrong


def alive(model: nn.Module) -> nn.Module:
    """The same net with batch statistics and scales of its own, as after training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model


class OnlyShortcut(nn.Module):
    """What is left of a torchvision block without its branch."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.block.downsample is None else self.block.downsample(x)
        return F.relu(kept)


class Preactivation(nn.Module):
    """He et al. 2016: nothing follows the join, and the shortcut shares the first norm."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(channels), nn.Conv2d(channels, width, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, width, 1) if channels != width else None
        self.deleted = False

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(x), inplace=True)
        kept = x if self.shortcut is None else self.shortcut(y)
        return kept if self.deleted else kept + self.conv(y)


class Preactivated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.ModuleList(Preactivation(a, b) for a, b in ((4, 4), (4, 6), (6, 6)))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


def images(count: int = 5, side: int = 16) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 3, side, side), torch.randint(CLASSES, (count,))


def without(model: nn.Module, path: str) -> nn.Module:
    """A copy whose block at ``path`` is only its shortcut, made by hand."""
    other = copy.deepcopy(model)
    block = other.get_submodule(path)
    if isinstance(block, Preactivation):
        block.deleted = True
    else:
        parent, _, key = path.rpartition(".")
        other.get_submodule(parent)._modules[key] = OnlyShortcut(block)
    return other


RESIDUAL: dict[str, Callable[[], nn.Module]] = {
    "basic": lambda: torchvision.models.ResNet(BasicBlock, [2, 1, 1, 1], CLASSES),
    "bottleneck": lambda: torchvision.models.ResNet(Bottleneck, [2, 1, 1, 1], CLASSES),
    "pre-activation": Preactivated,
}


@pytest.mark.parametrize("make", RESIDUAL.values(), ids=RESIDUAL.keys())
def test_deleting_a_block_equals_the_net_built_without_it(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = alive(make())
    x, y = images()
    found = study(model, x, y)
    assert (found.loss, found.error) == scores(copy.deepcopy(model), x, y)
    assert [lesion.blocks for lesion in found.single] == [(path,) for path in found.blocks]
    for lesion in found.single:
        assert (lesion.loss, lesion.error) == scores(without(model, *lesion.blocks), x, y)
    for lesion in found.several:
        other = model
        for path in lesion.blocks:
            other = without(other, path)
        assert (lesion.loss, lesion.error) == scores(other, x, y)
    assert len({lesion.loss for lesion in found.single}) == len(found.blocks)


def test_deleting_blocks_whose_branch_is_zero_changes_nothing_at_all() -> None:
    torch.manual_seed(0)
    model = alive(torchvision.models.ResNet(BasicBlock, [2, 2, 1, 1], CLASSES))
    for path in ("layer1.0", "layer1.1", "layer2.0"):
        last = model.get_submodule(path).bn2
        nn.init.zeros_(last.weight)  # type: ignore[union-attr, arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[union-attr, arg-type]
    found = study(model, *images())
    changed = {lesion.blocks[0] for lesion in found.single if lesion.loss != found.loss}
    assert changed == {"layer2.1", "layer3.0", "layer4.0"}
    assert found.changing == ("layer2.0", "layer3.0", "layer4.0")


def out_of(x: Tensor, f: Tensor) -> Tensor:
    return torch.add(f, x, out=torch.empty_like(f))


def forgotten(x: Tensor, f: Tensor) -> Tensor:
    f.add_(x)
    return f


# The sum as it is written, and how much of the shortcut it takes.
SUMS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float]] = {
    "x + f": (lambda x, f: x + f, 1),
    "f + x": (lambda x, f: f + x, 1),
    "f += x": (lambda x, f: f.__iadd__(x), 1),
    "f.add_(x), result unused": (forgotten, 1),
    "torch.add(x, f)": (lambda x, f: torch.add(input=x, other=f), 1),
    "out=": (out_of, 1),
    "alpha of the shortcut": (lambda x, f: torch.add(f, x, alpha=2), 2),
    "alpha of the branch": (lambda x, f: torch.add(x, f, alpha=2), 1),
    "dropped out": (lambda x, f: F.dropout(x, 0.5, False) + f, 1),
    "scaled": (lambda x, f: x * 0.5 + f, 0.5),
}


@pytest.mark.parametrize(("joined", "kept"), SUMS.values(), ids=SUMS.keys())
def test_a_join_may_be_written_in_any_way(
    joined: Callable[[Tensor, Tensor], Tensor], kept: float
) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            x = joined(x, self.two(F.relu(self.one(x))))
            return self.head(F.relu(x, inplace=True))

    torch.manual_seed(0)
    model = Net()
    x, y = torch.randn(9, 6), torch.randint(CLASSES, (9,))
    (lesion,) = study(model, x, y).single
    expected = scores(nn.Sequential(nn.ReLU(), copy.deepcopy(model.head)), kept * x, y)
    assert (lesion.loss, lesion.error) == expected


def test_both_skips_of_a_transformer_layer_are_blocks_and_layers_move_as_wholes() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
            self.body = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
            self.head = nn.Linear(8, CLASSES)
            for p in self.parameters():
                nn.init.normal_(p, 0, 0.3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).mean(1))

    torch.manual_seed(0)
    model = Net().eval()
    x, y = torch.randn(5, 4, 8), torch.randint(CLASSES, (5,))
    found = study(model, x, y, permutations=(0.5,), draws=1)
    assert len(found.blocks) == 6
    attention = next(s for s in found.single if s.blocks[0].startswith("body.layers.1"))
    with torch.no_grad():
        z = model.body.layers[0](x)
        layer: Any = model.body.layers[1]
        z = z + layer._ff_block(layer.norm2(z))
        expected = model.head(model.body.layers[2](z).mean(1))
    assert attention.loss == pytest.approx(F.cross_entropy(expected.double(), y).item(), rel=1e-6)
    (permuted,) = found.permuted
    numbers = [found.blocks.index(name) for name in permuted.blocks]
    assert len(numbers) in (4, 6)
    assert all(b == a + 1 and a % 2 == 0 for a, b in zip(*[iter(numbers)] * 2, strict=True))


def test_permuted_blocks_equal_the_net_with_its_modules_in_that_order() -> None:
    torch.manual_seed(0)
    model = alive(torchvision.models.ResNet(BasicBlock, [4, 3, 1, 1], CLASSES))
    x, y = images()
    before = list(model.layer1)
    found = study(model, x, y, permutations=(1, 0.9, 0.8), draws=3)
    assert list(model.layer1) == before
    whole, *permuted = found.permuted
    assert (whole.tau, whole.blocks, whole.loss) == (1, (), found.loss)
    assert len(permuted) >= 4
    for lesion in permuted:
        order = list(found.blocks)
        places = sorted(order.index(name) for name in lesion.blocks)
        for place, name in zip(places, lesion.blocks, strict=True):
            order[place] = name
        ranks = [found.blocks.index(name) for name in order]
        assert lesion.tau == pytest.approx(kendalltau(range(len(ranks)), ranks).statistic)
        other = copy.deepcopy(model)
        for place, name in zip(found.blocks, order, strict=True):
            assert place.partition(".")[0] == name.partition(".")[0]
            parent, _, key = place.rpartition(".")
            module = copy.deepcopy(model.get_submodule(name))
            other.get_submodule(parent)._modules[key] = module
        assert (lesion.loss, lesion.error) == scores(other, x, y)
    told = {line.partition(":")[0] for line in found.left_out}
    assert told == {"layer2.0", "layer3.0", "layer4.0"}


def test_a_plain_net_loses_layers_to_the_identity() -> None:
    torch.manual_seed(0)
    model = alive(build("plain20", widths=(3, 4, 5), num_classes=CLASSES))
    x, y = images(side=8)
    found = study(model, x, y, permutations=(0.9,))
    assert found.blocks == tuple(
        f"layer{i}.{j}" for i in (1, 2, 3) for j in (0, 1, 2) if j or i == 1
    )
    assert found.changing == ()
    assert [line for line in found.left_out if "not deleted" in line] == [
        "layer2.0: not deleted, it turns 3×8×8 into 4×4×4",
        "layer3.0: not deleted, it turns 4×4×4 into 5×2×2",
    ]
    for lesion in (*found.single, *found.several):
        other = copy.deepcopy(model)
        for path in lesion.blocks:
            parent, _, key = path.rpartition(".")
            other.get_submodule(parent)._modules[key] = nn.Identity()
        assert (lesion.loss, lesion.error) == scores(other, x, y)
    assert found.permuted
    assert "forward" not in vars(model.get_submodule("layer1.0"))


def test_the_layers_of_a_vgg_are_its_convolutions_and_linear_layers() -> None:
    stage = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    second = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
    model = nn.Sequential(
        nn.Sequential(stage, second, nn.Conv2d(4, 4, 1)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)),
    )
    found = study(model, *images(side=8))
    assert found.blocks == ("0.1", "0.2")
    assert [line for line in found.left_out if "not deleted" in line] == [
        "0.0: not deleted, it turns 3×8×8 into 4×8×8",
        "1: not deleted, it turns 4×8×8 into 4",
    ]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_came_also_after_an_exception(training: bool) -> None:
    class Failing(Preactivated):
        runs = 0

        def forward(self, x: Tensor) -> Tensor:
            self.runs += 1
            if self.runs == 5:
                raise KeyboardInterrupt
            return super().forward(x)

    torch.manual_seed(0)
    x, y = images()
    model = Failing().train(training)
    model.blocks[1].eval()
    model(x).sum().backward()
    model.stem.register_forward_hook(lambda *_: None)
    structure = annotate(trace_model(model, (x,), training=False))
    kept = x.clone()
    with untouched(model), pytest.raises(KeyboardInterrupt):
        study_lesions(model, structure, (x, y))
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 4)).train(training)
    z = torch.randn(3, 4)
    with untouched(plain):
        study(plain, z, torch.tensor([0, 1, 2]), permutations=(0.5,))
    assert torch.equal(x, kept)


def test_a_permutation_that_the_net_refuses_is_left_out_and_told() -> None:
    class Layer(nn.Module):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number, self.body = number, nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.body(x).relu()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Layer(i) for i in range(2))

        def forward(self, x: Tensor) -> Tensor:
            for number, layer in enumerate(self.layers):
                if layer.number != number:
                    raise RuntimeError("out of order")
                x = layer(x)
            return x

    net = Net()
    found = study(net, torch.randn(3, 4), torch.tensor([0, 1, 2]), permutations=(-1,))
    assert not found.permuted
    assert "out of order" in found.left_out[-1]
    assert [layer.number for layer in net.layers] == [0, 1]


def test_batches_do_not_matter_and_the_same_seed_gives_the_same_study() -> None:
    torch.manual_seed(0)
    model = alive(Preactivated())
    x, y = images(7)
    structure = annotate(trace_model(model, (x,), training=False))

    def batches() -> Iterator[list[Tensor]]:
        for at in range(0, 7, 3):
            yield [x[at : at + 3], y[at : at + 3]]

    state = torch.random.get_rng_state()
    whole = study_lesions(model, structure, (x, y), counts=(2,), seed=3)
    parts = study_lesions(model, structure, batches(), counts=(2,), seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert [lesion.blocks for lesion in whole.lesions] == [
        lesion.blocks for lesion in parts.lesions
    ]
    for a, b in zip(whole.lesions, parts.lesions, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-5)
    assert study_lesions(model, structure, (x, y), counts=(2,), seed=3) == whole
    assert from_json(to_json(whole)) == whole


def test_what_is_wrong_is_said_in_one_line() -> None:
    model, (x, y) = Preactivated(), images()
    structure = annotate(trace_model(model, (x,)))
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (x, {}, "batches of such pairs"),
        ([], {}, "no sample"),
        ([(x, y, y)], {}, "a pair"),
        ((x, y.float()), {}, "whole number"),
        ((x, y + CLASSES), {}, "from 0 to 3"),
        ((x, y), {"classes": 9}, "2 to 4"),
        ((x, y), {"draws": 0}, "1 or more"),
    ]
    for data, options, message in wrong:
        with pytest.raises(UserError, match=message):
            study_lesions(model, structure, data, **options)
    with pytest.raises(ModelError, match="forward raised in stem"):
        study_lesions(model, structure, (x[:, :2], y))
    with pytest.raises(NotApplicableError, match="no block"):
        study(nn.Linear(3, 4), torch.randn(2, 3), torch.tensor([0, 1]))
    with pytest.raises(NotApplicableError, match="logits"):
        study(nn.Conv2d(3, 3, 1), x, y)


def test_a_unit_that_concatenates_becomes_the_identity_where_it_keeps_its_shape() -> None:
    torch.manual_seed(0)
    model = torchvision.models.shufflenet_v2_x0_5(num_classes=CLASSES)
    found = study(model, *images(2, 32))
    assert found.blocks[0] == "stage2.1"
    assert len(found.blocks) == 13
    assert {line.partition(":")[0] for line in found.left_out}.isdisjoint(found.blocks)


def test_a_dense_net_has_nothing_to_delete_and_says_why() -> None:
    net = torchvision.models.DenseNet(4, (2, 2), 8, num_classes=CLASSES)
    with pytest.raises(NotApplicableError, match="needs what the branch gives"):
        study(net, *images())


@given(st.permutations(range(7)))
def test_kendalls_tau_is_scipys(order: list[int]) -> None:
    assert kendall_tau(order) == pytest.approx(kendalltau(range(7), order).statistic)


@given(st.integers(0, 99), st.sampled_from((0.97, 0.9, 0.8, 0.6)))
def test_orders_stay_within_their_groups_and_come_near_the_tau(seed: int, tau: float) -> None:
    # 27 blocks in three stages; the first of the second and third change shape.
    groups = (tuple(range(9)), tuple(range(10, 18)), tuple(range(19, 27)))
    arrangement = Arrangement(segments=tuple((n,) for n in range(27)), groups=groups)
    places = arrangement.places_near(tau, random.Random(seed))
    assert sorted(places) == list(range(27))
    for group in groups:
        assert {places[at] for at in group} == set(group)
    assert kendall_tau(arrangement.order(places)) == pytest.approx(tau, abs=0.01)


@given(st.integers(2, 6), st.integers(1, 5), st.integers(1, 30))
def test_drawn_sets_are_different_and_as_many_as_there_are(n: int, size: int, draws: int) -> None:
    size = min(size, n)
    sets = draw_sets(range(10, 10 + n), size, draws, random.Random(0))
    assert len(set(sets)) == len(sets) <= draws
    assert all(len(set(s)) == size and list(s) == sorted(s) for s in sets)


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 0.005 if epoch > 0.7 * epochs else 0.05
        for rows in torch.randperm(len(x)).split(64)[:-1]:
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()


@pytest.mark.slow
def test_a_trained_residual_net_forgives_what_a_plain_one_does_not() -> None:
    """Veit et al. 2016, figure 3: VGG falls to chance, the ResNet hardly changes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None]
    x, y = (x - x.mean()) / x.std(), torch.tensor(digits.target)
    hurt: dict[str, float] = {}
    for name in ("resnet20", "plain20"):
        torch.manual_seed(0)
        model = build(name, widths=(8, 16, 32), in_channels=1)
        train(model, x[:1400], y[:1400], epochs=5)
        found = study(model, x[1400:], y[1400:])
        assert found.error < 0.2
        keeping = [s.error for s in found.single if s.blocks[0] not in found.changing]
        hurt[name] = sorted(keeping)[len(keeping) // 2] - found.error
    assert hurt["plain20"] > 0.5
    assert hurt["resnet20"] < 0.2 * hurt["plain20"]
