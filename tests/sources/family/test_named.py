"""Named variants and closed forms: what they cost, how they print, what a typo gets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import fields

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from resnet_viz.core.errors import UserError
from resnet_viz.sources.family.closed_forms import closed_form
from resnet_viz.sources.family.densenet_config import DenseNetConfig
from resnet_viz.sources.family.families import CONFIGS
from resnet_viz.sources.family.highway_config import HighwayConfig
from resnet_viz.sources.family.net_config import NetConfig
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
    STRIDES,
)
from resnet_viz.sources.family.resnet_config import ResNetConfig
from resnet_viz.sources.variants import (
    SOURCES,
    TABLES,
    VARIANTS,
    build,
    configure,
    list_variants,
)

# Counted by hand from the tables of He et al. 2015, for options no name has.
OTHER_OPTIONS = [
    ("resnet20", {"shortcut": "B"}, (272_474, 40_813_184)),
    ("resnet18", {"shortcut": "A"}, (11_515_688, 1_794_805_760)),
    ("resnet50", {"stride": "v1", "shortcut": "A"}, (22_780_456, 3_498_311_680)),
]
# Millions in the papers' tables, and how many digits they print.
PAPERS = [
    ("resnet44", 0.66, 2),
    ("resnet56", 0.85, 2),
    ("resnet1202", 19.4, 1),
    ("wrn_40_1", 0.6, 1),
    ("wrn_40_2", 2.2, 1),
    ("wrn_28_10", 36.5, 1),
    ("resnext29_8x64d", 34.4, 1),
    ("densenet_bc_250_24", 15.3, 1),
    ("resnetrs101", 64, 0),
    ("legacy_seresnet101", 49.3, 1),
    ("highway19", 2.3, 1),
    ("highway32", 1.25, 1),
]


def on_meta(config: NetConfig) -> nn.Module:
    with torch.device("meta"):
        return build(config).eval()


def measured(config: NetConfig) -> tuple[int, int]:
    model = on_meta(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(config.input_size, device="meta"))
    assert counter.get_total_flops() % 2 == 0
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2


def test_a_name_is_given_once_and_every_table_has_a_paper() -> None:
    names = [name for table in TABLES for name in table.nets]
    assert len(names) == len(set(names)) == len(VARIANTS) == len(SOURCES)
    assert all("(" in source for source in SOURCES.values())
    assert {config.family for config in VARIANTS.values()} == set(CONFIGS)


@pytest.mark.parametrize(("name", "millions", "digits"), PAPERS)
def test_it_has_the_parameters_the_paper_says(name: str, millions: float, digits: int) -> None:
    assert abs(closed_form(VARIANTS[name])[0] / 1e6 - millions) <= 0.55 * 10**-digits


@pytest.mark.parametrize(("name", "changes", "expected"), OTHER_OPTIONS)
def test_closed_form_of_other_options(
    name: str, changes: dict[str, str], expected: tuple[int, int]
) -> None:
    assert closed_form(configure(name, **changes)) == expected


# The others cost what zoo.csv says, and are slow to build here.
@pytest.mark.parametrize(
    "name", [n for n, c in VARIANTS.items() if closed_form(c)[0] < 20e6 and c.depth < 120]
)
def test_closed_form_is_the_built_net(name: str) -> None:
    assert closed_form(VARIANTS[name]) == measured(VARIANTS[name])


sizes = st.integers(1, 3).flatmap(
    lambda stages: st.tuples(
        st.tuples(*[st.integers(1, 3)] * stages),
        st.tuples(*[st.integers(2, 9)] * stages).map(lambda w: tuple(sorted(w))),
    )
)
options = st.fixed_dictionaries(
    {"num_classes": st.integers(1, 5), "in_channels": st.integers(1, 4)},
    optional={
        "block": st.sampled_from(sorted(BLOCKS)),
        "order": st.sampled_from(sorted(ORDERS)),
        "stem": st.sampled_from(sorted(STEMS)),
        "stem_width": st.integers(8, 20),
        "cardinality": st.sampled_from([1, 2]),
        "base_width": st.sampled_from([64, 128]),
        "shortcut": st.sampled_from(sorted(SHORTCUTS)),
        "stride": st.sampled_from(STRIDES),
        "norm": st.sampled_from(sorted(NORMS)),
        "activation": st.sampled_from(sorted(ACTIVATIONS)),
        "dropout": st.just(0.5),
        "stochastic_depth": st.just(0.5),
        "antialias": st.sampled_from(ANTIALIASES),
        "output_stride": st.sampled_from([2, 4, 8, 16]),
        "zero_gamma": st.booleans(),
    },
)
attentions = st.one_of(
    st.sampled_from([{"attention": name} for name in ATTENTIONS]),
    st.fixed_dictionaries(
        {
            "attention": st.sampled_from(["se", "cbam"]),
            "attention_reduction": st.sampled_from([1, 4, 16, 2.5]),
            "attention_divisor": st.sampled_from([1, 8]),
        }
    ),
)
# Initialisations without normalisation need the options that go with them.
starts = st.one_of(
    st.sampled_from([{"init": name} for name, part in INITS.items() if not part.scaffold]),
    st.sampled_from(
        [
            {"init": name, **{option: values[-1] for option, values in part.needs.items()}}
            for name, part in INITS.items()
            if part.scaffold
        ]
    ),
)


@st.composite
def resnets(draw: st.DrawFn) -> ResNetConfig:
    blocks, widths = draw(sizes)
    parts = {**draw(options), **draw(attentions), **draw(starts)}
    try:
        return ResNetConfig(blocks=blocks, widths=widths, **parts)
    except UserError:
        assume(False)
        raise


densenets = st.builds(
    DenseNetConfig,
    blocks=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    growth_rate=st.integers(1, 5),
    bn_size=st.integers(0, 4),
    compression=st.sampled_from([0.5, 0.7, 1.0]),
    stem=st.sampled_from(["imagenet", "cifar"]),
    stem_width=st.integers(2, 9),
    norm=st.sampled_from(sorted(NORMS)),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    num_classes=st.integers(1, 5),
)
highways = st.integers(1, 3).flatmap(
    lambda stages: st.builds(
        HighwayConfig,
        layers=st.tuples(*[st.integers(1, 3)] * stages),
        widths=st.tuples(*[st.integers(1, 9)] * stages),
        head_width=st.integers(0, 5),
        shortcut=st.sampled_from(["gated", "none"]),
        norm=st.sampled_from(sorted(NORMS)),
        in_channels=st.integers(1, 4),
    )
)
rejecting = settings(
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None
)


@rejecting
@given(st.one_of(resnets(), resnets(), resnets(), densenets, highways))
def test_closed_form_counts_any_config(config: NetConfig) -> None:
    assert closed_form(config) == measured(config)


@rejecting
@given(st.one_of(resnets(), densenets, highways))
def test_a_config_prints_and_travels_as_itself(config: NetConfig) -> None:
    assert eval(repr(config)) == config
    assert config.changed() == config
    assert hash(config) == hash(config.changed())
    assert NetConfig.from_dict(tomllib.loads(config.to_toml())) == config
    assert NetConfig.from_dict(json.loads(config.to_json())) == config


@pytest.mark.parametrize(
    "name", [n for n in VARIANTS if not n.startswith(("wrn_", "resnetrs", "digits-"))]
)
def test_the_name_is_the_depth(name: str) -> None:
    depth = int(re.search(r"\d\d+", name)[0])  # type: ignore[index]
    assert VARIANTS[name].depth == depth


@pytest.mark.parametrize("name", [n for n in VARIANTS if n.startswith("plain")])
def test_a_plain_net_costs_what_option_a_costs(name: str) -> None:
    config = VARIANTS[name]
    residual = config.changed(shortcut="A")
    assert closed_form(config) == closed_form(residual)
    assert {k: v.shape for k, v in on_meta(config).state_dict().items()} == {
        k: v.shape for k, v in on_meta(residual).state_dict().items()
    }


def test_build_takes_a_config_too() -> None:
    config = configure("resnet20", num_classes=3)
    net = build(config, in_channels=1)
    assert net.config == configure("resnet20", num_classes=3, in_channels=1)
    assert net(torch.zeros(1, 1, 32, 32)).shape == (1, 3)


def test_listing_models_needs_no_torch() -> None:
    code = (
        "import sys; from resnet_viz.sources.variants import list_variants; "
        "list_variants(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_row_says_what_a_net_is() -> None:
    row = next(row for row in list_variants() if row.name == "resnetv2_50")
    assert (row.family, row.block, row.shortcut) == ("resnet", "preact_bottleneck", "B")
    assert row.input_size == (1, 3, 224, 224)
    assert (row.params, row.macs) == (25_549_352, 4_089_184_256)
    assert "1603.05027" in row.source
    assert {r.name for r in list_variants("wrn_40_?")} == {f"wrn_40_{k}" for k in (1, 2, 4, 8)}


def test_none_and_lists_mean_what_python_means() -> None:
    assert configure("resnet20", norm=None, shortcut=None, blocks=[1, 1, 1]) == configure(
        "resnet20", norm="none", shortcut="none", blocks=(1, 1, 1)
    )


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("resnet51", {}, "did you mean"),
        ("xyzzy", {}, "resnet-viz models lists all"),
        ("resnet50", {"activaton": "relu"}, "did you mean activation"),
        ("resnet50", {"xyzzy": 1}, "num_classes"),
        ("densenet121", {"growth": 1}, "did you mean growth_rate"),
        ("resnet50", {"activation": "sigmod"}, "did you mean sigmoid"),
        ("resnet50", {"activation": ["relu"]}, "allowed: relu"),
        ("resnet50", {"shortcut": "Z"}, "allowed: A, B, C"),
        ("resnet50", {"num_classes": 0}, "num_classes=0"),
        ("resnet50", {"num_classes": "ten"}, "num_classes='ten'"),
        ("resnet50", {"in_channels": True}, "in_channels=True"),
        ("resnet50", {"blocks": (3, 4)}, "one width per stage"),
        ("resnet50", {"blocks": 3}, "one number per stage"),
        ("resnet50", {"blocks": ()}, "one number per stage"),
        ("resnet50", {"widths": (64, 128, 256, -1)}, "widths=-1"),
    ],
)
def test_a_mistake_gets_one_line(name: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        configure(name, **changes)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_option_is_explained() -> None:
    for config in CONFIGS.values():
        docs = " ".join(base.__doc__ or "" for base in config.__mro__ if base.__doc__)
        for field in fields(config):
            assert f"{field.name}:" in docs, f"{config.__name__} does not explain {field.name}"


@pytest.mark.parametrize("net", [3, None])
def test_what_is_no_name_is_refused(net: object) -> None:
    with pytest.raises(UserError, match="neither the name of a variant nor a config"):
        configure(net)  # type: ignore[arg-type]
