"""Sets of labelled images that gradients are measured on, read one by one as they are needed."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from resnet_viz.core.errors import UserError, one_line
from resnet_viz.core.units import count, shape
from resnet_viz.sources.data import as_taken, load_image
from resnet_viz.sources.datasets.folders import class_files, image_files
from resnet_viz.sources.datasets.load import load_digits
from resnet_viz.sources.libraries import import_library
from resnet_viz.sources.names import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """What a model takes.

    Attributes:
        channels: Of its image.
        height: In pixels.
        width: In pixels.
        mean: Per channel, of the images it was trained on, where that is known.
        std: Likewise.
    """

    channels: int
    height: int
    width: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __str__(self) -> str:
        return shape((self.channels, self.height, self.width))


class ImageSet(ABC):
    """Images as a model takes them, by index.

    Attributes:
        name: For titles.
        words: What the images are, and what was done to them.
        size: How many there are.
    """

    name: str
    words: str
    size: int

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[Tensor, int | None]:
        """The image ``(C, H, W)``, float32, and its class; ``None`` where it has none."""


class Digits(ImageSet):
    """The packaged digits, resized to what the model takes."""

    def __init__(self, takes: ImageInput) -> None:
        """Reads them; see ``datasets.load.load_digits``."""
        self._images = load_digits()
        self._takes = takes
        self.name = "digits"
        self.size = len(self._images.train)
        done = [] if (takes.height, takes.width) == (8, 8) else ["resized"]
        done += [] if takes.channels == 1 else ["the one channel repeated"]
        steps = f" ({', '.join(done)})" if done else ""
        self.words = f"training images, 8×8 shown as {takes}{steps}"

    def __getitem__(self, index: int) -> tuple[Tensor, int | None]:
        """See ``ImageSet``; mean 0 and standard deviation 1 over the training pixels."""
        part = self._images.train
        image = self._images.ready(part.pixels[index : index + 1])
        return _fitted(image, self._takes)[0], int(part.labels[index])


class Folder(ImageSet):
    """A folder of images: a subfolder for each class, or no classes at all."""

    def __init__(self, folder: Path, takes: ImageInput) -> None:
        """Lists the files.

        Raises:
            UserError: If there is no image, or a class has none.
        """
        self._takes = takes
        place = folder / "train" if (folder / "train").is_dir() else folder
        self.name = str(folder)
        flat = image_files(place.iterdir())
        classes: dict[str, list[Path]] = {}
        if flat:
            self._files: list[tuple[Path, int | None]] = [(path, None) for path in flat]
        else:
            classes = class_files(place)
            self._files = [
                (path, label) for label, paths in enumerate(classes.values()) for path in paths
            ]
        self.size = len(self._files)
        labels = count(len(classes), "class", "classes") if classes else "without labels"
        self.words = f"images, {labels}, {_prepared(takes)}"

    def __getitem__(self, index: int) -> tuple[Tensor, int | None]:
        """See ``ImageSet``."""
        path, label = self._files[index]
        return _photograph(load_image(path), self._takes), label


class TorchvisionSet(ImageSet):
    """A data set of ``torchvision.datasets``, its training part; nothing is ever fetched."""

    def __init__(self, name: str, folder: Path | None, takes: ImageInput) -> None:
        """Opens it.

        Raises:
            UserError: If there is no such class, its files are missing, or torchvision is.
        """
        self._takes = takes
        self.name = f"torchvision:{name}"
        self._set = _opened(name, folder)
        self.size = len(self._set)
        self.words = f"images, {_prepared(takes)}"

    def __getitem__(self, index: int) -> tuple[Tensor, int | None]:
        """See ``ImageSet``.

        Raises:
            UserError: If an item is no image with a class.
        """
        item = self._set[index]
        image, label = item if isinstance(item, tuple) and len(item) == 2 else (item, item)
        if isinstance(label, Tensor) and label.numel() == 1:
            label = label.item()
        if not isinstance(image, Image.Image) or not isinstance(label, int):
            kinds = ", ".join(type(part).__name__ for part in (image, label))
            raise UserError(
                f"data {self.name} holds no images with a class each, but {kinds}: "
                "give a function of your own that makes a loader (--data file.py:loader)"
            )
        return _photograph(image, self._takes), label


def _opened(name: str, folder: Path | None) -> Any:
    what = f"data torchvision:{name}"
    library = import_library("torchvision.datasets", what)
    known = [key for key in library.__all__ if isinstance(getattr(library, key, None), type)]
    if name not in known:
        raise UserError(f"{what}: there is no such data set{did_you_mean(name, known)}")
    reader = getattr(library, name)
    takes = inspect.signature(reader).parameters
    offered: dict[str, Any] = {"download": False, "train": True, "split": "train"}
    if "root" in takes:
        if folder is None:
            raise UserError(f"{what} needs the folder that its files are in: --data-dir DIR")
        offered["root"] = str(folder.expanduser())
    given = {key: value for key, value in offered.items() if key in takes}
    try:
        return reader(**given)
    except (RuntimeError, OSError, EOFError, ValueError, TypeError, ImportError) as error:
        raise UserError(
            f"{what} cannot be read from {folder}: {one_line(error, 160)}; put its files there as "
            "torchvision keeps them (nothing is fetched)"
        ) from error


def _prepared(takes: ImageInput) -> str:
    whose = "the model's" if takes.mean and takes.std else "ImageNet's"
    greys = ", turned grey" if takes.channels == 1 else ""
    return f"as {takes}, {whose} mean and std{greys}"


def _photograph(image: Image.Image, takes: ImageInput) -> Tensor:
    size = (takes.height, takes.width)
    return as_taken(image, takes.channels, size, takes.mean, takes.std)[0]


def _fitted(image: Tensor, takes: ImageInput) -> Tensor:
    size = (takes.height, takes.width)
    if tuple(image.shape[-2:]) != size:
        image = F.interpolate(image, size=size, mode="bilinear", antialias=True)
    return image.expand(-1, takes.channels, -1, -1).contiguous()


def find_images(text: str, takes: ImageInput, folder: Path | None = None) -> ImageSet:
    """The set called so.

    Args:
        text: ``digits``, ``torchvision:CIFAR10`` or a folder.
        takes: The images that the model takes.
        folder: Where the files of a ``torchvision:`` set lie.

    Raises:
        UserError: If there is none, or the model takes no such images.
    """
    kind, _, name = text.partition(":")
    if folder is not None and kind != "torchvision":
        raise UserError(f"--data-dir goes with --data torchvision:NAME, not with --data {text}")
    if text == "digits":
        return Digits(takes)
    if takes.channels not in (1, 3):
        raise UserError(
            f"--data {text} gives images of 1 or 3 channels, but the model takes {takes}: "
            "give a loader of your own (--data file.py:loader)"
        )
    if kind == "torchvision":
        return TorchvisionSet(name, folder, takes)
    place = Path(text).expanduser()
    if not place.is_dir():
        known = ("digits", "random")
        raise UserError(
            f"unknown --data {text!r}{did_you_mean(text, known)}: give digits, random, a folder of "
            "images, torchvision:NAME or file.py:loader"
        )
    return Folder(place, takes)
