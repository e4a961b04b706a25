"""Names of classes: right, and claimed only where they are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torchvision.models._meta import _IMAGENET_CATEGORIES
from transformers import ViTConfig

from resnet_viz.core.errors import UserError
from resnet_viz.sources.labels import imagenet_labels, read_labels, transformers_labels
from resnet_viz.sources.loading import ModelSpec, given, load


def labels_of(text: str, *args: tuple[str, Any], weights: str | None = None) -> tuple[str, ...]:
    return load(ModelSpec(text=text, args=args, weights=weights, meta=True)).labels


def test_imagenet_is_torchvisions() -> None:
    assert imagenet_labels() == tuple(_IMAGENET_CATEGORIES)
    assert imagenet_labels()[281] == "tabby"


def test_and_timms_in_the_same_order() -> None:
    """By the first name that timm's long descriptions give, for most classes."""
    info = timm.data.ImageNetInfo("imagenet-1k")
    theirs = [info.index_to_description(i, detailed=False).lower() for i in range(1000)]
    ours = [name.lower() for name in imagenet_labels()]
    alike = sum(a in b or b.split(",")[0] in a for a, b in zip(ours, theirs, strict=True))
    assert alike > 850


@pytest.mark.parametrize(
    ("text", "args", "count", "some"),
    [
        ("resnet18", (), 1000, (281, "tabby")),
        ("resnet18", (("num_classes", 7),), 0, None),
        ("resnet20", (), 0, None),
        ("torchvision:vit_b_16", (), 1000, (281, "tabby")),
        ("torchvision:resnet18", (("num_classes", 7),), 0, None),
        ("torchvision:fcn_resnet50", (), 21, (8, "cat")),
        ("torchvision:fasterrcnn_resnet50_fpn", (), 91, (17, "cat")),
        ("torchvision:raft_small", (), 0, None),
        ("timm:resnet10t", (), 1000, (281, "tabby")),
        ("timm:resnet10t", (("num_classes", 7),), 0, None),
        ("timm:vit_small_patch14_dinov2", (), 0, None),
    ],
)
def test_names_by_pedigree(
    text: str, args: tuple[tuple[str, Any], ...], count: int, some: tuple[int, str] | None
) -> None:
    found = labels_of(text, *args)
    assert len(found) == count
    if some is not None:
        assert found[some[0]] == some[1]


def test_a_model_of_ones_own_has_none(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef Net():\n    return nn.Linear(8, 1000)\n"
    )
    assert labels_of(f"{tmp_path / 'net.py'}:Net") == ()
    assert given(torch.nn.Linear(8, 1000)).labels == ()


def test_transformers_names_are_its_configs() -> None:
    assert transformers_labels(ViTConfig(num_labels=3)) == ()
    named = ViTConfig(id2label={1: "dog", 0: "cat"}, label2id={"dog": 1, "cat": 0})
    assert transformers_labels(named) == ("cat", "dog")
    assert transformers_labels(ViTConfig(id2label={0: "cat", 2: "dog"})) == ()
    assert transformers_labels(object()) == ()


def test_the_door_of_transformers_passes_them_on(tmp_path: Path) -> None:
    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        image_size=8, patch_size=4, id2label={0: "cat", 1: "dog"}, label2id={"cat": 0, "dog": 1},
    )  # fmt: skip
    config.architectures = ["ViTForImageClassification"]
    config.save_pretrained(tmp_path)
    assert labels_of(f"hf:{tmp_path}") == ("cat", "dog")


def test_labels_from_a_file(tmp_path: Path) -> None:
    plain, named, listed = tmp_path / "a.txt", tmp_path / "b.json", tmp_path / "c.json"
    plain.write_text("\ufeffcat\n dog \n\n", encoding="utf-8")
    named.write_text(json.dumps({"1": "dog", "0": "cat"}))
    listed.write_text(json.dumps(["cat", "dog"]))
    for path in (plain, named, listed):
        assert read_labels(str(path)) == ("cat", "dog")
    assert read_labels("imagenet") == imagenet_labels()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "is no JSON"),
        ("3", "give a list of names"),
        ('{"0": "a", "2": "b"}', "give a list of names"),
        ('["a", 3]', "give a list of names"),
        ("[]", "give a list of names"),
    ],
)
def test_a_file_without_labels(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "names.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        read_labels(str(path))
    assert "\n" not in str(caught.value)
