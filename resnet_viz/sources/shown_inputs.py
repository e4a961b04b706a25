"""The tensors that are explained, as pictures for a person to see."""

from __future__ import annotations

import io
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from resnet_viz.core.batch import Batch
from resnet_viz.core.pictures import Picture
from resnet_viz.sources.data import IMAGENET_MEAN, IMAGENET_STD
from resnet_viz.sources.loading import Loaded
from resnet_viz.tracing.trees import map_tensors, named_tensors

MOST = 4
"""Samples of a data set that are explained one by one; relevance takes them all."""


def first_samples(batch: Batch, most: int = MOST) -> Batch:
    """The batch with no more than ``most`` samples.

    Every tensor as long as the first one is cut; a batch whose first tensor is a scalar
    stays as it is.
    """
    tensors = [t for _, t in named_tensors((batch.args, batch.kwargs))]
    if not tensors or not tensors[0].ndim or len(tensors[0]) <= most:
        return batch
    size = len(tensors[0])

    def cut(tensor: Tensor) -> Tensor:
        return tensor[:most] if tensor.ndim and len(tensor) == size else tensor

    args, kwargs = map_tensors((batch.args, batch.kwargs), cut)
    targets = batch.targets
    if isinstance(targets, Tensor) and targets.ndim and len(targets) == size:
        targets = targets[:most]
    return replace(batch, args=args, kwargs=kwargs, targets=targets, fill=None)


def with_pictures(batch: Batch, loaded: Loaded) -> Batch:
    """The batch with its one image tensor as pictures, where it has one and has none yet.

    Values are read by the model's mean and standard deviation, or ImageNet's where three
    channels hold values outside 0 to 1; where that leaves the range of a picture, and with one
    channel, the smallest value is black and the largest white.
    """
    tensors = [t for _, t in named_tensors((batch.args, batch.kwargs))]
    if batch.pictures or len(tensors) != 1:
        return batch
    images = tensors[0]
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
        return batch
    if images.shape[2] * images.shape[3] == 1 or images.device.type == "meta":
        return batch
    made = (_picture(image, loaded, f"input {i}") for i, image in enumerate(images))
    return replace(batch, pictures=tuple(made))


def _picture(image: Tensor, loaded: Loaded, name: str) -> Picture:
    values = image.detach().to("cpu", torch.float32).nan_to_num()
    values = _pixels(values, loaded)
    data = (values.clamp(0, 1) * 255).round().to(torch.uint8)
    height, width = data.shape[1:]
    flat = data.permute(1, 2, 0).contiguous().flatten()
    shown = Image.frombytes("RGB" if len(data) == 3 else "L", (width, height), bytes(flat.tolist()))
    file = io.BytesIO()
    shown.save(file, "WEBP", lossless=width * height <= 64 * 64, quality=85)
    return Picture(
        name=name, width=width, height=height, media_type="image/webp", data=file.getvalue()
    )


def _pixels(values: Tensor, loaded: Loaded) -> Tensor:
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return values
    mean, std = loaded.mean, loaded.std
    if (mean is None or std is None) and len(values) == 3:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    if mean is not None and std is not None and len(mean) == len(std) == len(values):
        scale = (torch.tensor(v, dtype=torch.float32).view(-1, 1, 1) for v in (std, mean))
        width, middle = scale
        shown = values * width + middle
        if float(shown.min()) > -0.05 and float(shown.max()) < 1.05:
            return shown
    return (values - low) / (high - low if high > low else 1.0)
