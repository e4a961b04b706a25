"""Every model that ``torchvision.models.list_models()`` names, at the smallest input it takes."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest import mock

import torch
import torchvision
from torch import nn
from torchvision.models.video import mvit

from tests.gauntlet.cases import Case, Given, given

_SIZES = {
    "inception_v3": 80,
    "googlenet": 64,
    "maxvit_t": 224,
    "raft_large": 128,
    "raft_small": 128,
}
_DETECTORS = ("rcnn", "retinanet", "fcos", "ssd")
_VIDEO = ("mvit", "swin3d", "r3d", "mc3", "r2plus1d", "s3d")
_SHORT = (
    "resnet18",
    "quantized_shufflenet_v2_x0_5",
    "ssdlite320_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
)


def _family(name: str) -> str:
    if any(part in name for part in _DETECTORS):
        return "detection"
    if name.startswith(_VIDEO):
        return "video"
    if name.startswith("raft"):
        return "optical flow"
    if name.startswith(("deeplab", "fcn", "lraspp")):
        return "segmentation"
    return "quantizable" if name.startswith("quantized") else "classification"


def _arguments(name: str, family: str) -> dict[str, Any]:
    """What keeps a model small without changing what runs in it."""
    if family == "detection":
        # A fresh detector finds everything: few proposals keep the real run short.
        few = {"rpn_post_nms_top_n_test": 20, "box_detections_per_img": 5}
        if name.startswith("ssd"):
            # It sorts boxes class by class.
            few = {"num_classes": 7, "detections_per_img": 5}
        elif "rcnn" not in name:
            few = {"detections_per_img": 5}
        return {"weights_backbone": None} | few
    if family == "segmentation":
        return {"weights_backbone": None}
    if name in ("inception_v3", "googlenet"):
        return {"init_weights": False}
    if name.startswith("vit_"):
        return {"image_size": 56 if name == "vit_h_14" else 64}
    return {}


_full_mvit = mvit._mvit


def _small_mvit(*args: Any, **sizes: Any) -> nn.Module:
    """At its fixed size, which its builders do not let one change, a proof takes gigabytes."""
    small = {"spatial_size": (64, 64), "temporal_size": 8}
    model: nn.Module = _full_mvit(*args, **(sizes | small))
    return model


def build(name: str, family: str) -> nn.Module:
    """The model without weights; the quantizable ones as floats, ready to be prepared."""
    # Quantized kernels are not modules of torch's: packed weights, no autograd, no meta. What
    # a person looks at and trains is the float model with its stubs.
    with mock.patch.object(mvit, "_mvit", _small_mvit):
        model: nn.Module = torchvision.models.get_model(
            name, weights=None, **_arguments(name, family)
        )
    if family == "detection":
        # Its own resizing would blow a small picture up to 800 pixels.
        transform: Any = model.transform
        transform.min_size, transform.max_size = (96,), 128
    return model


def _inputs(name: str, family: str) -> Given:
    if family == "detection":
        return given([torch.rand(3, 96, 96), torch.rand(3, 80, 96)])
    if family == "optical flow":
        return given(*(torch.rand(1, 3, 128, 128) for _ in range(2)), num_flow_updates=3)
    if family == "video":
        frames, size = (16, 224) if name == "s3d" else (8, 64)
        return given(torch.randn(1, 3, frames, size, size))
    if name.startswith("vit_"):
        size = 56 if name == "vit_h_14" else 64
        return given(torch.randn(1, 3, size, size))
    size = _SIZES.get(name.removeprefix("quantized_"), 64)
    return given(torch.randn(1, 3, size, size))


def _case(name: str) -> Case:
    family = _family(name)
    return Case(
        name=f"torchvision/{name}",
        family=family,
        model=partial(build, name, family),
        inputs=partial(_inputs, name, family),
        short=name in _SHORT,
    )


CASES: dict[str, Case] = {case.name: case for case in map(_case, torchvision.models.list_models())}
