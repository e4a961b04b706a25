"""Forward and backward plots: against a hand-written twin, and against closed forms."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import resnet_viz as rv
from resnet_viz.analysis import annotate
from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import InputError, NotApplicableError, UserError
from resnet_viz.core.propagation import Moments, SignalPropagation
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.measuring.propagation.measure import measure_propagation
from resnet_viz.tracing.tracer import trace_model
from tests.measuring.test_batches import Transfers
from tests.tracing.models import Residual
from tests.tracing.test_pristine import prepared, untouched


def measured(model: nn.Module, *args: Any, **options: Any) -> SignalPropagation:
    graph = trace_model(model, args)
    options.setdefault("probes", 0)
    return measure_propagation(
        model, Batch(args=args), graph=graph, structure=annotate(graph), **options
    )


def moments_of(x: Tensor, axis: int = 1) -> Moments:
    rows = x.detach().double().movedim(axis, 0).flatten(1)
    return Moments(
        squared_mean=float(rows.mean(1).square().mean()),
        variance=float(rows.var(1, correction=0).mean()),
        second=float(rows.square().mean()),
    )


def assert_close(found: Moments | None, expected: Moments, rel: float = 1e-9) -> None:
    assert found is not None
    for name in ("squared_mean", "variance", "second"):
        size = rel * expected.second
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=rel, abs=size)


# -- a twin by hand ------------------------------------------------------------------


class Overwriting(nn.Module):
    """Two residual blocks that destroy F(x) and the join's output in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.first = nn.ModuleList([nn.Conv2d(6, 6, 3, padding=1) for _ in range(2)])
        self.second = nn.ModuleList([nn.Conv2d(6, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)])
        self.down = nn.Conv2d(6, 8, 1, 2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.stem(x))
        out = self.first[1](F.relu_(self.first[0](x)))
        out += x
        x = F.relu_(out)
        out = self.second[1](F.relu_(self.second[0](x)))
        out += self.down(x)
        x = F.relu_(out)
        return self.head(x.mean((2, 3)))


def twin(model: Any, x: Tensor) -> tuple[list[dict[str, Tensor]], Tensor]:
    """What each block's values are, computed without anything in place."""
    blocks = []
    x = F.relu(model.stem(x))
    for convs, shortcut in ((model.first, nn.Identity()), (model.second, model.down)):
        # Clones, so that the gradient over each way has a tensor of its own.
        seen = {"fork": x, "over_branch": x.clone(), "over_shortcut": x.clone()}
        seen["F"] = convs[1](F.relu(convs[0](seen["over_branch"])))
        seen["S"] = shortcut(seen["over_shortcut"])
        seen["join"] = seen["F"] + seen["S"]
        x = F.relu(seen["join"])
        blocks.append(seen)
    return blocks, model.head(x.mean((2, 3)))


def test_blocks_equal_a_twin_without_in_place_calls() -> None:
    torch.manual_seed(0)
    model, x = Overwriting().double(), torch.randn(4, 3, 8, 8, dtype=torch.float64) + 0.3
    labels = torch.tensor([0, 1, 2, 3])
    graph = trace_model(model, (x,))
    found = measure_propagation(
        model,
        Batch(args=(x,), targets=labels),
        graph=graph,
        structure=annotate(graph),
        probes=0,
    )
    blocks, logits = twin(model, x)
    for seen in blocks:
        for tensor in seen.values():
            tensor.retain_grad()
    F.cross_entropy(logits.float(), labels).backward()
    assert found.loss == "cross entropy of the output"
    assert [b.changes for b in found.blocks] == [False, True]
    for block, seen in zip(found.blocks, blocks, strict=True):
        assert_close(block.output, moments_of(seen["join"]))
        assert_close(block.branch, moments_of(seen["F"]))
        assert_close(block.grad_output, moments_of(seen["join"].grad))
        assert_close(block.grad_input, moments_of(seen["fork"].grad))
        norms = {k: v.detach().flatten(1).norm(dim=1) for k, v in seen.items()}
        assert block.ratio == pytest.approx(float((norms["F"] / norms["S"]).mean()), rel=1e-9)
        over = seen["over_branch"].grad.norm() / seen["over_shortcut"].grad.norm()
        assert block.grad_ratio == pytest.approx(float(over), rel=1e-9)
    layers = {layer.op.partition("/")[0]: layer for layer in found.layers}
    assert list(layers) == ["stem", "first.0", "first.1", "second.0", "second.1", "down", "head"]
    assert_close(layers["first.1"].output, moments_of(blocks[0]["F"]))
    assert_close(layers["first.1"].grad_output, moments_of(blocks[0]["F"].grad))


def test_moments_of_a_torchvision_net_in_train_mode() -> None:
    torch.manual_seed(0)
    model, x = torchvision.models.resnet18(num_classes=5).train(), torch.randn(4, 3, 32, 32)
    found = measured(model, x)
    branches = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        for block in stage:
            block.bn2.register_forward_hook(lambda _m, _a, out: branches.append(out.clone()))
    model(x)
    assert found.mode == "train"
    assert [b.name for b in found.blocks][:2] == ["layer1.0", "layer1.1"]
    assert [b.stage for b in found.blocks][:3] == ["layer1", "layer1", "layer2"]
    assert [b.changes for b in found.blocks] == [False, False] + [True, False] * 3
    for block, branch in zip(found.blocks, branches, strict=True):
        assert_close(block.branch, moments_of(branch), rel=1e-5)


def test_a_concatenation_has_its_new_features_as_branch() -> None:
    torch.manual_seed(0)
    model, x = torchvision.models.densenet121(num_classes=5).eval(), torch.randn(2, 3, 32, 32)
    seen: list[Tensor] = []
    block = model.features.denseblock1
    handle = block.denselayer2.conv2.register_forward_hook(lambda *a: seen.append(a[2]))
    model(x)
    handle.remove()
    found = measured(model, x).blocks[1]
    assert found.name == "features.denseblock1.denselayer2"
    assert_close(found.branch, moments_of(seen[0]), rel=1e-5)


# -- closed forms --------------------------------------------------------------------


def he(weight: Tensor, gain: float) -> None:
    nn.init.normal_(weight, std=math.sqrt(gain / weight[0].numel()))


class Branch(nn.Module):
    """x + F(x) with one or two convolutions (linear layers) in F."""

    def __init__(self, width: int, order: str, *, conv: bool = True) -> None:
        super().__init__()
        self.order = order
        if conv:
            options: Any = {"padding": 1, "bias": False, "padding_mode": "circular"}
            self.layers = nn.ModuleList([nn.Conv2d(width, width, 3, **options) for _ in range(2)])
            self.norms = nn.ModuleList([nn.BatchNorm2d(width) for _ in range(2)])
        else:
            self.layers = nn.ModuleList([nn.Linear(width, width, bias=False)])
            self.norms = nn.ModuleList([nn.BatchNorm1d(width)])
        for layer in self.layers:
            he(layer.weight, 1.0 if order == "relu norm" else 2.0)

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for norm, layer in zip(self.norms, self.layers, strict=True):
            if self.order == "norm relu":
                h = F.relu(norm(h))
            elif self.order == "relu norm":
                h = norm(F.relu(h))
            else:
                h = F.relu(h)
            h = layer(h)
        return x + h


def stack(count: int, width: int, order: str, *, conv: bool = True) -> nn.Module:
    return nn.Sequential(*(Branch(width, order, conv=conv) for _ in range(count))).train()


def slope(values: list[float]) -> float:
    return float(np.polyfit(range(len(values)), values, 1)[0])


def test_norm_relu_conv_adds_one_minus_one_over_pi() -> None:
    """Brock, De & Smith 2021, section 3: a ReLU after the norm leaves a mean of 1/√(2π)."""
    torch.manual_seed(0)
    found = measured(stack(10, 64, "norm relu"), torch.randn(32, 64, 8, 8)).blocks
    assert fmean(b.branch.variance for b in found) == pytest.approx(1 - 1 / math.pi, rel=0.02)
    assert fmean(b.branch.squared_mean for b in found) == pytest.approx(1 / math.pi, rel=0.08)
    assert slope([b.output.variance for b in found]) == pytest.approx(1 - 1 / math.pi, rel=0.03)
    assert slope([b.output.squared_mean for b in found]) == pytest.approx(1 / math.pi, rel=0.15)


def test_relu_norm_conv_adds_one_and_no_mean() -> None:
    """Ibid.: the norm after the ReLU takes the mean away, so that the variance grows by 1."""
    torch.manual_seed(0)
    found = measured(stack(10, 64, "relu norm"), torch.randn(32, 64, 8, 8)).blocks
    assert fmean(b.branch.variance for b in found) == pytest.approx(1.0, rel=0.02)
    assert fmean(b.branch.squared_mean for b in found) < 1e-3
    assert slope([b.output.variance for b in found]) == pytest.approx(1.0, rel=0.03)


def test_without_norm_the_second_moment_doubles() -> None:
    """De & Smith 2020: branch and shortcut of a He net weigh the same, both ways."""
    torch.manual_seed(0)
    found = measured(stack(8, 512, "relu", conv=False), torch.randn(64, 512)).blocks
    growth = slope([math.log2(b.output.second) for b in found])
    assert growth == pytest.approx(1.0, abs=0.03)
    assert fmean(b.ratio for b in found) == pytest.approx(1.0, rel=0.05)
    back = slope([math.log2(b.grad_input.second) for b in reversed(found)])
    assert back == pytest.approx(1.0, abs=0.05)
    assert fmean(b.grad_ratio for b in found) == pytest.approx(1.0, rel=0.05)


def test_norm_on_the_branch_makes_it_one_lth_of_the_signal() -> None:
    """De & Smith 2020: ‖F‖²/‖x‖² = 1/l at block l."""
    torch.manual_seed(0)
    found = measured(stack(6, 512, "norm relu", conv=False), torch.randn(256, 512)).blocks
    for number, block in enumerate(found, 1):
        assert block.ratio**2 == pytest.approx(1 / number, rel=0.05)
    assert slope([b.output.second for b in found]) == pytest.approx(1.0, abs=0.05)


def test_normaliser_free_blocks_add_alpha_squared() -> None:
    """Brock, De & Smith 2021: Var x_{l+1} = Var x_l + α²; F(x) is read after its scale."""
    torch.manual_seed(0)
    model = rv.build("nf_resnet26", blocks=(8, 1, 1, 1), num_classes=5)
    for name, gain in model.named_parameters():
        if name.endswith("conv3.gain"):
            nn.init.ones_(gain)
    found = [b for b in measured(model, torch.randn(8, 3, 64, 64)).blocks if b.stage == "layer1"]
    assert len(found) == 8
    # Zeros around the image take some of it.
    assert fmean(b.branch.variance for b in found) == pytest.approx(0.2**2, rel=0.1)
    assert slope([b.output.variance for b in found]) == pytest.approx(0.2**2, rel=0.1)


def test_the_variance_starts_again_at_a_transition() -> None:
    torch.manual_seed(0)
    model = rv.build("preact_resnet110", blocks=(4, 4, 4), widths=(16, 32, 64), shortcut="B")
    found = measured(model.train(), torch.randn(16, 3, 16, 16)).blocks
    for before, after in pairwise(found):
        assert (after.output.variance < before.output.variance) == after.changes, after.name


# -- any model -----------------------------------------------------------------------


class Tokens(nn.Module):
    """Embedding, one attention and one MLP block, logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.norms = nn.ModuleList([nn.LayerNorm(16) for _ in range(2)])
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)
        self.logits = nn.Linear(16, 20)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        h = self.norms[0](x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        x = x + self.down(F.gelu(self.up(self.norms[1](x))))
        logits: Tensor = self.logits(x)
        return logits


def test_tokens_have_their_channels_last_and_start_at_the_embedding() -> None:
    torch.manual_seed(0)
    model, ids = Tokens().eval(), torch.randint(20, (3, 5))
    found = measured(model, ids, probes=4, steps=6)
    first = found.blocks[0]
    x = model.embedding(ids)
    h = model.norms[0](x)
    assert_close(first.branch, moments_of(model.attention(h, h, h)[0], axis=2), rel=1e-4)
    assert first.grad_input is not None
    assert first.grad_ratio
    (spectrum,) = found.spectra
    assert spectrum.start == "what embedding gives"
    assert (spectrum.rows, spectrum.columns) == (5 * 20, 5 * 16)
    assert found.shattering is not None
    assert found.shattering.places[-1] == "what embedding gives"
    assert found.skipped == ()


def test_a_block_on_the_input_itself() -> None:
    found = measured(Residual().train(), torch.randn(2, 4, 8, 8)).blocks
    assert len(found) == 1
    assert found[0].grad_input
    assert found[0].grad_ratio


def test_a_net_without_blocks_has_layers() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))
    found = measured(model, torch.randn(6, 4))
    assert found.blocks == ()
    assert [layer.op for layer in found.layers] == ["0/linear#0", "2/linear#0"]
    assert found.shattering is not None
    assert found.shattering.places == ("0", "input")


class Rounded(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).argmax(1)


class Boxes(nn.Module):
    """As detectors do: a list of images in, a dict per image out."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Residual()

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        maps = self.body(torch.stack(images))
        return [{"boxes": m.flatten(1)[:3], "labels": m.flatten().long()} for m in maps]


def test_what_cannot_be_had_is_said_and_the_rest_is_there() -> None:
    x = torch.randn(2, 4, 8, 8)
    rounded = measured(Rounded().eval(), x, probes=2)
    assert rounded.loss == ""
    assert rounded.blocks[0].grad_output is None
    assert rounded.shattering is None
    assert [s.partition(":")[0] for s in rounded.skipped] == [
        "gradients",
        "shattered gradients",
        "Jacobian spectrum",
    ]
    boxes = measured(Boxes().eval(), [x[0], x[1]], probes=2)
    assert boxes.blocks[0].grad_output is not None
    assert boxes.spectra == ()
    assert all("samples in front" in s for s in boxes.skipped)
    one = measured(Residual().eval(), x[:1])
    assert one.skipped == ("shattered gradients: one sample has nothing to be compared with",)
    frozen = measured(Residual().eval().requires_grad_(False), x)
    assert frozen.blocks[0].grad_output is not None


# -- how it behaves ------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "eval", None])
def test_the_model_is_untouched(mode: Any) -> None:
    model, x, ids = prepared(training=True), torch.randn(5, 4), torch.randint(20, (2, 4))
    with untouched(model):
        found = measured(model, x, mode=mode, probes=3, steps=2)
    assert found.mode == ("eval" if mode == "eval" else "train")
    tokens = Tokens().train()
    with untouched(tokens):
        measured(tokens, ids, probes=2, steps=2, block_spectra=True)


def test_the_model_is_untouched_after_an_exception() -> None:
    def refuse(_outputs: Any, _targets: Any) -> Tensor:
        raise RuntimeError("no")

    model, x = Residual().train(), torch.randn(2, 4, 8, 8)
    with untouched(model), pytest.raises(UserError, match="the loss raised: RuntimeError: no"):
        measured(model, x, loss_fn=refuse)
    net = torchvision.models.resnet18().train()
    images = torch.randn(2, 3, 32, 32)
    graph = trace_model(net, (images,))
    structure, single = annotate(graph), Batch(args=(images[:1],))
    with untouched(net), pytest.raises(InputError, match="--batch-size 2"):
        measure_propagation(net, single, graph=graph, structure=structure)
    with torch.device("meta"):
        empty = Residual()
    with pytest.raises(NotApplicableError, match="meta"):
        measured(empty, torch.empty(2, 4, 8, 8, device="meta"))


def test_both_plots_cost_one_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    from resnet_viz.measuring.gradients import statistics
    from resnet_viz.measuring.propagation import measure

    # The CPU looks at values where that is free; here it does as an accelerator does.
    monkeypatch.setattr(statistics, "reads_freely", lambda _: False)
    seen: list[int] = []
    real = measure.to_host
    monkeypatch.setattr(measure, "to_host", lambda s: seen.append(len(s)) or real(s))
    model, x = torchvision.models.resnet18(num_classes=5).eval(), torch.randn(2, 3, 32, 32)
    graph = trace_model(model, (x,))
    structure = annotate(graph)
    monkeypatch.setattr(measure.EvalRuns, "shattering", lambda *_: None)
    with Transfers() as transfers:
        measure_propagation(model, Batch(args=(x,)), graph=graph, structure=structure, probes=0)
    assert len(seen) == 1
    assert transfers.waits == []


def test_json_and_records() -> None:
    found = measured(Residual().train(), torch.randn(2, 4, 8, 8), probes=2, steps=2)
    assert from_json(to_json(found)) == found
    (row,) = found.to_records()
    assert row["join"] == found.blocks[0].join
    assert row["branch_variance"] == found.blocks[0].branch.variance
