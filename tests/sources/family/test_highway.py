"""Highway nets: the papers' equation, the authors' counts, and gates that begin closed."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import resnet_viz as rv
from resnet_viz.core.errors import UserError
from resnet_viz.sources.family.highway import Highway, HighwayLayer
from resnet_viz.sources.family.highway_config import HighwayConfig

TINY = HighwayConfig(layers=(2, 1), widths=(4, 6), head_width=5, num_classes=3, in_channels=2)


def test_nineteen_layers_have_the_authors_counts() -> None:
    """Parameters of each layer as the authors' training log prints them."""
    model = Highway(HighwayConfig())
    counts = [
        sum(parameter.numel() for parameter in layer.parameters())
        for stage in model.stages
        for layer in stage.children()
    ]
    assert counts == [896, *[18_496] * 4, 23_120, *[115_360] * 5, 92_288, *[295_168] * 5]
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == sum(counts) + (128 + 1) * 100 + (100 + 1) * 10 == 2_256_838
    # He et al. 2015, table 6.
    assert model.config.depth == 19
    assert round(total / 1e6, 1) == 2.3


def test_thirty_two_layers_come_near_the_published_count() -> None:
    config = HighwayConfig(layers=(9, 9, 9), widths=(32, 48, 64))
    with torch.device("meta"):
        total = sum(parameter.numel() for parameter in Highway(config).parameters())
    assert config.depth == 32
    assert total == pytest.approx(1.25e6, rel=0.01)


@pytest.mark.parametrize("bias", [-1.0, -2.0, -4.0, 0.0])
def test_gates_begin_at_the_sigmoid_of_their_bias(bias: float) -> None:
    torch.manual_seed(0)
    model = Highway(TINY.changed(gate_bias=bias, widths=(16, 16)))
    sigmoid = 1 / (1 + torch.tensor(-bias).exp())
    for layer in model.modules():
        if isinstance(layer, HighwayLayer):
            gates = torch.sigmoid(layer.gate(torch.zeros(1, 16, 4, 4)))
            torch.testing.assert_close(gates, sigmoid.expand_as(gates))
            # Symmetric pre-activations keep their median; the mean of T moves with spread.
            gates = torch.sigmoid(layer.gate(torch.randn(8, 16, 8, 8)))
            assert gates.median().item() == pytest.approx(sigmoid.item(), rel=0.15)


def test_a_layer_is_the_papers_equation() -> None:
    torch.manual_seed(0)
    layer = HighwayLayer(TINY.changed(activation="tanh"), 4).double()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    h = torch.tanh(F.conv2d(x, layer.transform.conv.weight, layer.transform.conv.bias, padding=1))
    t = torch.sigmoid(F.conv2d(x, layer.gate.weight, layer.gate.bias, padding=1))
    torch.testing.assert_close(layer(x), h * t + x * (1 - t))


def test_closed_gates_carry_and_open_gates_transform() -> None:
    x = torch.randn(2, 4, 5, 5)
    closed, opened = HighwayLayer(TINY, 4), HighwayLayer(TINY, 4)
    nn.init.constant_(closed.gate.bias, -200.0)  # type: ignore[arg-type]
    nn.init.constant_(opened.gate.bias, 200.0)  # type: ignore[arg-type]
    assert torch.equal(closed(x), x)
    assert torch.equal(opened(x), opened.transform(x))


def test_structure_has_one_scaled_skip_per_layer() -> None:
    structure = rv.annotate(rv.trace(Highway(TINY), input_size=(1, 2, 8, 8)))
    assert Counter(skip.kind for skip in structure.skips) == {"scaled": 3}
    twin = Highway(TINY.changed(shortcut="none"))
    assert not rv.annotate(rv.trace(twin, input_size=(1, 2, 8, 8))).skips


def test_the_plain_twin_has_the_same_net_without_gates() -> None:
    gated, plain = Highway(TINY), Highway(TINY.changed(shortcut="none"))
    shapes = [
        parameter.shape for name, parameter in gated.named_parameters() if ".gate." not in name
    ]
    assert shapes == [parameter.shape for parameter in plain.parameters()]
    assert gated.config.depth == plain.config.depth


def test_options_shape_the_net() -> None:
    model = Highway(TINY.changed(norm="batch", dropout=0.5, head_width=0, activation="elu"))
    assert [m.bias is None for m in model.modules() if isinstance(m, nn.Conv2d)].count(False) == 3
    images = torch.randn(2, 2, 8, 8)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert model(images).shape == (2, 3)
    assert torch.equal(model(images), model(images))


def test_it_builds_and_runs_on_meta() -> None:
    config = HighwayConfig()
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        Highway(config)(torch.empty(config.input_size))
    stages = ((32, 4, 3, 32), (16, 5, 32, 80), (8, 5, 80, 128))
    macs = sum(
        side**2 * 9 * (source * width + layers * 2 * width**2)
        for side, layers, source, width in stages
    )
    assert counter.get_total_flops() == 2 * (macs + 8 * 8 * 128 * 100 + 100 * 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shortcut": "none", "gate_bias": -1.0}, "gate_bias=-1.0 has no effect"),
        ({"layers": (1, 2, 3)}, "give one width per stage"),
        ({"gate_bias": float("nan")}, "gate_bias=nan"),
        ({"shortcut": "B"}, "shortcut='B' is not known"),
        ({"head_width": -1}, "head_width=-1"),
        ({"init": "nf"}, "init='nf' is not known"),
    ],
)
def test_mistakes_are_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        TINY.changed(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_config_says_what_it_is() -> None:
    assert str(TINY).startswith("highway net with gate bias -2 of depth 7: 2-1 layers, widths 4-6")
    assert str(TINY.changed(shortcut="none")).startswith("plain net of depth 7")
    assert HighwayConfig.from_dict(TINY.to_dict()) == TINY
