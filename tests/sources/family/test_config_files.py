"""Nets in TOML and JSON: they come back as they went, and a mistake gets one line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from resnet_viz.core.errors import UserError
from resnet_viz.sources.config_files import read_config, starting_point
from resnet_viz.sources.family.net_config import NetConfig
from resnet_viz.sources.loading import ModelSpec, load
from resnet_viz.sources.variants import VARIANTS, configure


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_comes_back_as_it_went(name: str, tmp_path: Path) -> None:
    config = VARIANTS[name]
    assert NetConfig.from_dict(config.to_dict()) == config
    assert NetConfig.from_dict(tomllib.loads(config.to_toml())) == config
    assert NetConfig.from_dict(json.loads(config.to_json())) == config
    assert type(config).from_dict(config.to_dict()) == config
    assert read_config(written(tmp_path, "net.toml", starting_point(name)), {}) == (config, "")
    assert read_config(written(tmp_path, "net.json", config.to_json()), {}) == (config, "")


def test_a_starting_point_names_every_option() -> None:
    for name in ("resnet50", "densenet121", "highway19"):
        text = starting_point(name)
        lines = [line.removeprefix("# ") for line in text.splitlines()]
        assert {line.split(" ")[0] for line in lines} >= set(VARIANTS[name].__slots__)
        # Its comments hold: without the mark they say the same net.
        values = "".join(line + "\n" for line in lines if " = " in line)
        assert NetConfig.from_dict(tomllib.loads(values)) == VARIANTS[name]


def test_a_variant_with_options_is_that_variant_changed(tmp_path: Path) -> None:
    path = written(
        tmp_path, "my_net.toml", 'variant = "resnet20"\nshortcut = "none"\nblocks = [1, 1, 1]\n'
    )
    config = configure("resnet20", shortcut="none", blocks=(1, 1, 1))
    assert read_config(path, {}) == (config, "resnet20")
    assert read_config(path, {"num_classes": 3}) == (config.changed(num_classes=3), "resnet20")


@pytest.mark.parametrize("kind", ["toml", "json"])
def test_a_file_loads_as_a_model(kind: str, tmp_path: Path) -> None:
    config = configure("resnet20", activation="tanh")
    text = config.to_toml() if kind == "toml" else config.to_json()
    path = written(tmp_path, f"my_net.{kind}", text)
    loaded = load(ModelSpec(text=str(path), args=(("num_classes", 4),)))
    assert loaded.model.config == config.changed(num_classes=4)
    assert (loaded.name, loaded.source) == ("my_net", f"my_net.{kind}")
    assert loaded.input_size == (1, 3, 32, 32)
    hollow = load(ModelSpec(text=str(path), meta=True))
    assert all(p.device.type == "meta" for p in hollow.model.parameters())


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", 'variant = "resnet51"', "did you mean resnet"),
        ("a.toml", "variant = 50", "variant=50 is no name"),
        ("a.toml", 'variant = "resnet50"\nfamily = "densenet"', "is of family 'resnet'"),
        ("a.toml", 'variant = "resnet50"\nactivaton = "relu"', "did you mean activation"),
        ("a.toml", 'family = "resnte"\nblocks = [1]', "did you mean resnet"),
        ("a.toml", 'family = "resnet"', "blocks must be given"),
        ("a.toml", 'family = "resnet"\nblocks = [1, 1]', "one width per stage"),
        ("a.toml", 'family = "resnet"\nblocks = 3', "one number per stage"),
        ("a.toml", 'variant = "resnet50"\nnorm = 3', "norm=3 is not known"),
        ("a.toml", 'variant = "resnet50"\nzero_gamma = "yes"', "zero_gamma='yes'"),
        ("a.toml", 'variant = "resnet50"\ndropout = nan', "dropout=nan"),
        ("a.toml", 'variant = "resnet50"\ngate_bias = -3', "gate_bias=-3 has no effect"),
        ("a.toml", 'family = "resnet"\nblocks = [1, 1, 1, 1]\ngate_bias = -3', "has no effect"),
        ("a.toml", '[net]\nvariant = "resnet50"', "its keys are: net"),
        ("a.toml", "", "its keys are: none"),
        ("a.toml", "variant = \n\n", "line 1"),
        ("a.json", '{"variant": }', "line 1"),
        ("a.json", "[1]", "holds a list"),
        ("a.json", "[" * 100_000, "RecursionError"),
        ("a.json", '{"model_type": "resnet"}', "put hf: before"),
    ],
)
def test_a_mistake_gets_one_line_with_the_file(
    name: str, text: str, said: str, tmp_path: Path
) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(UserError) as caught:
        load(ModelSpec(text=str(path)))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert said in message
    assert "\n" not in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.json").mkdir()
    for name in ("missing.toml", "binary.toml", "folder.json"):
        with pytest.raises(UserError, match=name):
            load(ModelSpec(text=str(tmp_path / name)))


def test_published_weights_are_a_variants(tmp_path: Path) -> None:
    path = written(tmp_path, "resnet50.toml", 'family = "resnet"\nblocks = [1, 1, 1, 1]\n')
    with pytest.raises(UserError, match="IMAGENET1K_V2 is no file"):
        load(ModelSpec(text=str(path), weights="IMAGENET1K_V2"))


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    for name, text in (("a.toml", 'variant = "resnet20"'), ("a.json", '{"variant": "resnet20"}')):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        assert load(ModelSpec(text=str(tmp_path / name), meta=True)).name == "a"
