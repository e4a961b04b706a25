"""Labelled images as the experiments train on them: raw pixels, made ready batch by batch."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from resnet_viz.core.experiments.degradation import TrainingData

_PADDING = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """Images with their labels.

    Attributes:
        pixels: ``(N, C, H, W)``, uint8 as stored or float32 where they were resized.
        labels: ``(N,)``, int64.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def parts(self, size: int) -> Iterator[Samples]:
        """The same samples, at most so many at a time."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield Samples(pixels=self.pixels[part], labels=self.labels[part])

    def to(self, device: torch.device) -> Samples:
        """The same samples on a device."""
        return Samples(pixels=self.pixels.to(device), labels=self.labels.to(device))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Images:
    """A data set in memory.

    Attributes:
        about: What a reader is told.
        train: To learn from.
        test: Never learned from.
        mean: Of each channel's pixels in ``train``.
        std: Likewise, population form; 1 for a channel without contrast.
        augmented: Whether training batches are cropped and flipped at random (He et al.
            2015, section 4.2).
    """

    about: TrainingData
    train: Samples
    test: Samples
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmented: bool = False

    def ready(self, pixels: Tensor) -> Tensor:
        """Float32 inputs of a net: mean 0 and standard deviation 1 over the training pixels."""
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=pixels.device).view(-1, 1, 1)
            for values in (self.mean, self.std)
        )
        return (pixels.to(torch.float32) - mean) / std

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Each image padded by 4 zeros, cropped at random, and flipped half of the time.

        He et al. 2015, section 4.2. Zero is the mean pixel: ``inputs`` are ready.

        Args:
            inputs: ``(N, C, H, W)``.
            generator: On the CPU, so that every device sees the same crops.
        """
        count, _, height, width = inputs.shape
        draw = partial(torch.randint, size=(count, 1), generator=generator, device="cpu")
        tops, lefts = draw(2 * _PADDING + 1), draw(2 * _PADDING + 1)
        flips = draw(2).bool()
        rows = tops + torch.arange(height, device="cpu")
        across = torch.arange(width, device="cpu")
        columns = lefts + torch.where(flips, across.flip(0), across)
        padded = torch.nn.functional.pad(inputs, (_PADDING,) * 4)
        here = inputs.device
        each = torch.arange(count, device=here)[:, None, None]
        # Indices apart from a slice put the channels last.
        chosen = padded[each, :, rows.to(here)[:, :, None], columns.to(here)[:, None, :]]
        return chosen.permute(0, 3, 1, 2).contiguous()

    def digest(self) -> str:
        """SHA-256 of every pixel and label."""
        found = hashlib.sha256()
        for samples in (self.train, self.test):
            for tensor in (samples.pixels, samples.labels):
                found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                found.update(raw_bytes(tensor))
        return found.hexdigest()


def make_images(
    train: Samples, test: Samples, *, name: str, source: str, classes: int, augmented: bool = False
) -> Images:
    """The data set of these samples, with the statistics of ``train``."""
    # One channel at a time: the whole of CIFAR in float64 would be over a gigabyte.
    channels = [train.pixels[:, channel].double() for channel in range(train.pixels.shape[1])]
    # Rounded, because sums differ in their last bit with the number of threads.
    mean = [round(float(channel.mean()), 6) for channel in channels]
    std = [round(float(channel.std(correction=0)), 6) for channel in channels]
    return Images(
        about=TrainingData(
            name=name,
            source=source,
            shape=tuple(train.pixels.shape[1:]),
            classes=classes,
            train=len(train),
            test=len(test),
            augmentation="random crops of the image padded by 4, and flips" if augmented else "",
        ),
        train=train,
        test=test,
        mean=tuple(mean),
        std=tuple(value or 1.0 for value in std),
        augmented=augmented,
    )


def resized(images: Images, size: int) -> Images:
    """The same images at ``size × size`` (bilinear, antialiased), in float32."""

    def resize(samples: Samples) -> Samples:
        parts = [
            torch.nn.functional.interpolate(
                part.pixels.to(torch.float32), size=(size, size), mode="bilinear", antialias=True
            )
            for part in samples.parts(1024)
        ]
        return replace(samples, pixels=torch.cat(parts))

    return make_images(
        resize(images.train),
        resize(images.test),
        name=images.about.name,
        source=images.about.source,
        classes=images.about.classes,
        augmented=images.augmented,
    )


def raw_bytes(tensor: Tensor) -> bytes:
    """The tensor's values as they lie in memory (without NumPy, which is no dependency)."""
    here = tensor.detach().cpu().contiguous()
    return ctypes.string_at(here.data_ptr(), here.nbytes)
