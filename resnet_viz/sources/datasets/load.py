"""What the nets of an experiment are trained on: packaged digits, known sets, folders."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from resnet_viz.core.errors import UserError, one_line
from resnet_viz.sources.datasets.folders import load_folder
from resnet_viz.sources.datasets.images import Images, Samples, make_images, resized
from resnet_viz.sources.libraries import import_library
from resnet_viz.sources.names import did_you_mean

_SPLIT_SEED = 123
"""Of the split into training and test samples where the data come in one piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSet:
    """A data set that torchvision reads.

    Attributes:
        class_name: In ``torchvision.datasets``.
        folder: What the data folder must hold.
        source: Paper and place, in one line.
        augmented: Whether He et al. 2015 crop and flip it.
    """

    class_name: str
    folder: str
    source: str
    augmented: bool = False


KNOWN: Mapping[str, KnownSet] = {
    "cifar10": KnownSet(
        class_name="CIFAR10",
        folder="cifar-10-batches-py",
        source="CIFAR-10 (Krizhevsky 2009), https://www.cs.toronto.edu/~kriz/cifar.html",
        augmented=True,
    ),
    "cifar100": KnownSet(
        class_name="CIFAR100",
        folder="cifar-100-python",
        source="CIFAR-100 (Krizhevsky 2009), https://www.cs.toronto.edu/~kriz/cifar.html",
        augmented=True,
    ),
    "mnist": KnownSet(
        class_name="MNIST",
        folder="MNIST/raw",
        source="MNIST (LeCun, Cortes & Burges 1998), http://yann.lecun.com/exdb/mnist",
    ),
    "fashion_mnist": KnownSet(
        class_name="FashionMNIST",
        folder="FashionMNIST/raw",
        source="Fashion-MNIST (Xiao, Rasul & Vollgraf 2017), MIT licence, "
        "https://github.com/zalandoresearch/fashion-mnist",
    ),
}
NAMES = ("digits", *KNOWN, "imagefolder")


def load_data(
    data: str | Path = "digits",
    data_dir: str | Path | None = None,
    *,
    image_size: int | None = None,
    download: bool = False,
) -> Images:
    """A data set, in memory.

    Args:
        data: One of ``NAMES``, or a folder of images (see ``load_folder``).
        data_dir: Where the files of a known set lie, or the folder of ``imagefolder``.
        image_size: Side that images are resized to; as they are if ``None`` (a folder's
            are cropped to squares of 32).
        download: Whether torchvision may fetch a known set into ``data_dir``.

    Raises:
        UserError: For an unknown name, files that are missing or unreadable, or a
            library that is not installed.
    """
    if image_size is not None and (isinstance(image_size, bool) or not 4 <= image_size <= 1024):
        raise UserError(f"image size {image_size} was given: give a side of 4 to 1024 pixels")
    if data_dir is not None and data not in (*KNOWN, "imagefolder"):
        raise UserError(
            f"--data-dir {str(data_dir)!r} goes with {', '.join((*KNOWN, 'imagefolder'))}, "
            f"not with data {str(data)!r}: a folder of images of your own is --data FOLDER"
        )
    if data == "digits":
        images = load_digits()
    elif data in KNOWN:
        images = _known(str(data), data_dir, download)
    else:
        folder = _folder(data, data_dir)
        return load_folder(folder, image_size or 32, seed=_SPLIT_SEED)
    return images if image_size in (None, images.about.shape[-1]) else resized(images, image_size)


def load_digits() -> Images:
    """The digits that ship with the package: 1437 to train on and 360 to test with.

    Alpaydin & Kaynak 1998, 8×8 pixels of 0 to 16; the split is a fixed permutation.
    """
    packed = files("resnet_viz.sources.datasets").joinpath("data/digits.csv.gz").read_bytes()
    rows = [
        # scikit-learn's file writes whole numbers as floats.
        [int(float(value)) for value in line.split(",")]
        for line in gzip.decompress(packed).decode("ascii").splitlines()
    ]
    table = torch.tensor(rows, dtype=torch.uint8, device="cpu")
    order = torch.randperm(
        len(table), generator=torch.Generator().manual_seed(_SPLIT_SEED), device="cpu"
    )
    pixels, labels = table[order, :-1].reshape(-1, 1, 8, 8), table[order, -1].long()
    cut = int(0.8 * len(table))
    return make_images(
        Samples(pixels=pixels[:cut], labels=labels[:cut]),
        Samples(pixels=pixels[cut:], labels=labels[cut:]),
        name="digits",
        source="Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998), CC BY 4.0, "
        "https://doi.org/10.24432/C50P49; split 80/20 at random, seed 123",
        classes=10,
    )


def _folder(data: str | Path, data_dir: str | Path | None) -> Path:
    if str(data) == "imagefolder":
        if data_dir is None:
            raise UserError("data imagefolder needs the folder of the images: give --data-dir DIR")
        return Path(data_dir).expanduser()
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"unknown data {str(data)!r}{did_you_mean(str(data), NAMES)}: "
            f"give {', '.join(NAMES)} or a folder of images"
        )
    return folder


def _known(name: str, data_dir: str | Path | None, download: bool) -> Images:
    known = KNOWN[name]
    if data_dir is None:
        raise UserError(f"data {name} needs the folder that holds {known.folder}: --data-dir DIR")
    root = Path(data_dir).expanduser()
    torchvision = import_library("torchvision", f"data {name}")
    reader = getattr(import_library("torchvision.datasets", f"data {name}"), known.class_name)
    try:
        train, test = (
            _samples(reader(root=str(root), train=train, download=download))
            for train in (True, False)
        )
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        if download or (root / known.folder).is_dir():
            raise UserError(
                f"data {name} cannot be {'fetched into' if download else 'read from'} {root} by "
                f"torchvision {torchvision.__version__}: {one_line(error, 120)}"
            ) from error
        raise UserError(
            f"{root} does not hold {known.folder}: put the files of {name} there as torchvision "
            f"keeps them, or ask for the download (--download)"
        ) from error
    return make_images(
        train,
        test,
        name=name,
        source=known.source,
        classes=int(train.labels.max()) + 1,
        augmented=known.augmented,
    )


def _samples(found: Any) -> Samples:
    """A data set of torchvision's as tensors: CIFAR is ``(N, H, W, 3)``, MNIST ``(N, H, W)``."""
    pixels = torch.as_tensor(found.data, device="cpu")
    pixels = pixels.permute(0, 3, 1, 2) if pixels.ndim == 4 else pixels[:, None]
    labels = torch.as_tensor(found.targets, dtype=torch.int64, device="cpu")
    return Samples(pixels=pixels.contiguous(), labels=labels)
