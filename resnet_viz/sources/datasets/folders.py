"""Folders of images as data sets: one subfolder for each class, as ImageFolder reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageOps

from resnet_viz.core.errors import UserError, listed
from resnet_viz.sources.data import load_image
from resnet_viz.sources.datasets.images import Images, Samples, make_images

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_TEST_FOLDERS = ("val", "valid", "validation", "test")
_MOST_BYTES = 4 * 2**30


def load_folder(folder: Path, size: int, *, seed: int) -> Images:
    """A folder's images, their centre squares resized to ``size × size``, as RGB.

    The folder holds ``train`` and one of ``val``, ``valid``, ``validation`` or ``test``,
    each with a subfolder per class; or these subfolders itself, of each of which a fifth
    is then kept for testing.

    Args:
        folder: Where they are.
        size: Side in pixels.
        seed: Of the choice of the fifth.

    Raises:
        UserError: If there are no classes, classes without images, classes to test that
            were not trained, unreadable images, or more than fits in memory.
    """
    if not folder.is_dir():
        raise UserError(f"data folder {folder} does not exist or is no folder")
    tests = next((folder / name for name in _TEST_FOLDERS if (folder / name).is_dir()), None)
    if (folder / "train").is_dir() and tests is None:
        raise UserError(
            f"data folder {folder} holds train but none of {', '.join(_TEST_FOLDERS)}: add one, "
            "or give the folder of the classes itself"
        )
    if (folder / "train").is_dir() and tests is not None:
        train, test = class_files(folder / "train"), class_files(tests)
        unknown = sorted(set(test) - set(train))
        if unknown:
            raise UserError(f"{tests} holds classes that train does not: {listed(unknown)}")
        split = f"train and {tests.name} as they are"
    else:
        train, test = _split(class_files(folder), seed)
        split = f"split 80/20 within each class at random, seed {seed}"
    classes = sorted(train)
    if len(classes) < 2:
        raise UserError(f"data folder {folder} holds one class only ({classes[0]}): give two")
    if not any(test.values()):
        raise UserError(f"data folder {folder} has too few images to keep any for testing")
    _check_size(train, test, size)
    return make_images(
        _samples(train, classes, size),
        _samples(test, classes, size),
        name=folder.resolve().name,
        source=f"a folder of images; {split}; squares resized to {size}×{size}",
        classes=len(classes),
    )


def image_files(entries: Iterable[Path]) -> list[Path]:
    """The images among them, in order of name; hidden files, as macOS adds to each, are none."""
    return sorted(
        path
        for path in entries
        if path.suffix.lower() in SUFFIXES and path.name[0] != "." and not path.is_dir()
    )


def class_files(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class (of each subfolder), in order of name.

    Raises:
        UserError: If there are no subfolders, or one without images.
    """
    found = {
        entry.name: image_files(entry.rglob("*"))
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
    }
    if not found:
        raise UserError(f"data folder {folder} has no subfolders: put each class into one")
    empty = [name for name, paths in found.items() if not paths]
    if empty:
        raise UserError(
            f"classes without images in {folder}: {listed(empty)}; "
            f"images end in {', '.join(SUFFIXES)}"
        )
    return found


def _split(
    found: dict[str, list[Path]], seed: int
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    generator = torch.Generator().manual_seed(seed)
    train, test = {}, {}
    for name, paths in found.items():
        order = torch.randperm(len(paths), generator=generator, device="cpu").tolist()
        cut = len(paths) - len(paths) // 5
        train[name] = [paths[index] for index in sorted(order[:cut])]
        test[name] = [paths[index] for index in sorted(order[cut:])]
    return train, test


def _check_size(train: dict[str, list[Path]], test: dict[str, list[Path]], size: int) -> None:
    count = sum(len(paths) for part in (train, test) for paths in part.values())
    if count * 3 * size * size > _MOST_BYTES:
        raise UserError(
            f"{count} images of {size}×{size} do not fit in {_MOST_BYTES // 2**30} GiB of memory: "
            "give a smaller --image-size or fewer images"
        )


def _samples(found: dict[str, list[Path]], classes: Sequence[str], size: int) -> Samples:
    pairs = [(path, classes.index(name)) for name, paths in found.items() for path in paths]
    pixels = torch.empty((len(pairs), 3, size, size), dtype=torch.uint8, device="cpu")
    for index, (path, _) in enumerate(pairs):
        square = ImageOps.fit(load_image(path), (size, size), Image.Resampling.BILINEAR)
        values = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8)
        pixels[index] = values.view(size, size, 3).permute(2, 0, 1)
    labels = torch.tensor([label for _, label in pairs], dtype=torch.int64, device="cpu")
    return Samples(pixels=pixels, labels=labels)
