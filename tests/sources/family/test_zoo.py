"""Every net of a table counted with other code costs here what it costs there, exactly.

``zoo.csv`` holds parameters and MACs counted on the meta device from torchvision, timm and
plain reference builders; the source of each row is in it.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from resnet_viz.sources.family.closed_forms import closed_form
from resnet_viz.sources.variants import VARIANTS, configure

with Path(__file__).with_name("zoo.csv").open(encoding="utf-8") as file:
    ROWS = {row["name"]: row for row in csv.DictReader(file)}

# Families that come through timm: and torchvision:, or that are no relatives.
OTHER_FAMILIES = {
    "pre-ResNet/Inception",
    "mobile",
    "ConvNeXt",
    "Transformer",
    "RegNet",
    "SK",
    "ResNeSt",
    "Res2Net",
    "CSPNet",
}
OTHERS = {
    "timm:inception_resnet_v2": "Inception branches",
    "timm:legacy_senet154": "halved first 1×1 and 3×3 projections",
    "timm:gcresnet50t": "global context attention",
    **{
        f"timm:{name}": "blocks of two 3×3 convolutions"
        for name in (
            "nfnet_l0",
            "nfnet_f0",
            "nfnet_f1",
            *(f"dm_nfnet_f{size}" for size in (1, 2, 4, 5, 6)),
        )
    },
}
# What the reference builders call a net, and what it is called here.
RENAMED = (
    (r"(?:tv|timm):(\w+)", r"\1"),
    (r"cifar_(resnet|plain)(\d+)(?:_A)?", r"\1\2"),
    (r"cifar_(resnet\d+)_B", r"\1_b"),
    (r"cifar_preact(\d+)", r"preact_resnet\1"),
    (r"wrn(\d+)_(\d+)(?:_c100)?", r"wrn_\1_\2"),
    (r"densenet_(bc_)?L(\d+)_k(\d+)", r"densenet_\1\2_\3"),
    (r"(resnet(?:18|34))_B", r"\1"),
    (r"(resnet(?:18|34))_([AC])", lambda m: f"{m[1]}_{m[2].lower()}"),
    (r"(resnet\d+_v1)(_A)?", lambda m: m[1] + ("_a" if m[2] else "")),
    (r"(resnet\d+)_v1\.5", r"\1"),
    (r"(plain\d+|resnext29_\d+x64d)", r"\1"),
)


def our_name(row: str) -> str:
    for pattern, name in RENAMED:
        if found := re.fullmatch(pattern, row):
            return str(name(found) if callable(name) else found.expand(name))
    return ""


OURS = {
    row: name
    for row in ROWS
    if row not in OTHERS and (name := our_name(row)) and ROWS[row]["family"] not in OTHER_FAMILIES
}


def test_every_row_is_one_of_ours_or_known_not_to_be() -> None:
    assert set(OURS.values()) <= set(VARIANTS)
    for row, facts in ROWS.items():
        other = facts["family"] in OTHER_FAMILIES or row in OTHERS
        assert other != (row in OURS), row
        assert not (other and our_name(row) in VARIANTS), f"{row} has a name of ours"
    assert set(OTHERS) <= set(ROWS)
    assert len(OURS) > 100


@pytest.mark.parametrize("row", OURS)
def test_it_costs_what_other_code_counts(row: str) -> None:
    facts = ROWS[row]
    changes = {"num_classes": 100} if row.endswith("_c100") else {}
    config = configure(OURS[row], **changes)
    assert "x".join(map(str, config.input_size[1:])) == facts["input"]
    assert closed_form(config) == (int(facts["params"]), int(facts["macs"]))
