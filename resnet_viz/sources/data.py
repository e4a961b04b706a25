"""Photographs: the default one, files of the user's, and how a network sees them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from resnet_viz.core.errors import NotApplicableError, UserError, one_line

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_PHOTOGRAPH = ("sample_data", "grace_hopper.jpg")


def default_photograph() -> Path:
    """The photograph used where none is given: Grace Hopper, in matplotlib's sample data.

    Raises:
        NotApplicableError: If matplotlib or its sample data are not installed.
    """
    spec = importlib.util.find_spec("matplotlib")
    if spec is None:
        raise NotApplicableError(
            "the default photograph is part of matplotlib, which is not installed: "
            "give --image FILE or pip install matplotlib"
        )
    # Found beside the package without importing it, which would take 0.1 s.
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, "mpl-data", *_PHOTOGRAPH)
        if path.is_file():
            return path
    # Linux distributions keep matplotlib's data elsewhere.
    import matplotlib

    path = Path(matplotlib.get_data_path(), *_PHOTOGRAPH)
    if not path.is_file():
        raise NotApplicableError(
            f"matplotlib's sample data are not installed ({path}): give --image FILE"
        )
    return path


def load_image(path: str | Path) -> Image.Image:
    """An image file as RGB, turned as its camera says.

    Raises:
        UserError: If the file does not exist or is no image.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"image {path} {kind}: give a JPEG, PNG or other image file")
    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            # Pillow would clip 16-bit greys to white.
            if upright.mode.startswith("I;16"):
                upright = upright.convert("I").point(lambda grey: grey / 256).convert("L")
            if "transparency" in upright.info:
                upright = upright.convert("RGBA")
            return upright.convert("RGB")
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is no image: give a JPEG, PNG or other image file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"image {path} cannot be read: {one_line(error, 120)}") from error


def preprocess(
    image: Image.Image,
    size: int | tuple[int, int] = 224,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> tuple[Tensor, Image.Image]:
    """The image as a network sees it, and as a person can see the same crop.

    The short side is resized to ``size · 256/224`` (bilinear, antialiased), the centre is
    cropped, and channels are normalised: torchvision's ImageNet evaluation.

    Args:
        image: Any image.
        size: Side of the square crop, or its height and width.
        mean: Of each channel, for values in 0 to 1.
        std: Likewise.

    Returns:
        A float32 tensor ``(3, H, W)``, and the crop as an RGB image of the same size.

    Raises:
        UserError: If mean and std are not three numbers each, or a std is 0.
    """
    height, width = (size, size) if isinstance(size, int) else size
    image = image.convert("RGB")
    short_side = max(round(height * 256 / 224), round(width * 256 / 224))
    if image.width <= image.height:
        resized = (short_side, int(short_side * image.height / image.width))
    else:
        resized = (int(short_side * image.width / image.height), short_side)
    left, top = round((resized[0] - width) / 2), round((resized[1] - height) / 2)
    crop = image.resize(resized, Image.Resampling.BILINEAR).crop(
        (left, top, left + width, top + height)
    )
    return _normalised(crop, mean, std), crop


def as_taken(
    image: Image.Image,
    channels: int,
    size: tuple[int, int],
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> tuple[Tensor, Image.Image]:
    """An image of any size as a model of one or three channels takes it, and as a person does.

    One that is no larger than the input, and of its proportions, is resized whole; any other
    is resized and cropped as ``preprocess`` does. A model of one channel gets its greys.

    Args:
        image: Any image.
        channels: 1 or 3.
        size: Height and width.
        mean: Per channel, for values in 0 to 1; one for all, or ImageNet's if ``None``.
        std: Likewise. Of three numbers for one channel it gets what they make on average.

    Returns:
        A float32 tensor ``(channels, H, W)``, and an RGB image of that size.

    Raises:
        UserError: If mean and std are neither one number nor three, or a std is 0.
    """
    height, width = size
    middle, spread = mean or IMAGENET_MEAN, std or IMAGENET_STD
    middle, spread = (value * 3 if len(value) == 1 else value for value in (middle, spread))
    if channels == 1:
        image = image.convert("L")
    fits = image.width <= width and image.height <= height
    if fits and image.width * height == image.height * width:
        whole = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        tensor, shown = _normalised(whole, middle, spread), whole
    else:
        tensor, shown = preprocess(image, size, middle, spread)
    return (tensor if channels == 3 else tensor.mean(0, keepdim=True)), shown


def _normalised(image: Image.Image, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """The pixels of an RGB image, ``(3, H, W)``."""
    if len(mean) != 3 or len(std) != 3 or 0 in std:
        raise UserError(
            f"mean {mean} and std {std} do not suit an RGB image: give three numbers each, "
            "no std of 0"
        )
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    values = pixels.view(image.height, image.width, 3).permute(2, 0, 1).to(torch.float32).div(255)
    middle, spread = (torch.tensor(v, device="cpu").view(3, 1, 1) for v in (mean, std))
    return ((values - middle) / spread).contiguous()
