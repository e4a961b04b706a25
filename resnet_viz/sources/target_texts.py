"""What ``--target`` says beyond classes: a mask in a file, or the user's own function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.errors import UserError, one_line
from resnet_viz.core.target import MaskTarget
from resnet_viz.core.units import shape as shape_text
from resnet_viz.sources.input_files import SUFFIXES, read_input
from resnet_viz.sources.user_code import blame, on_path
from resnet_viz.sources.user_functions import Found, find_function, names_code

_WORDS = ("box", "token", "mask")
_NUMBERED = ("P", "L", "1", "I", "F")


def with_target(options: AttributionOptions) -> AttributionOptions:
    """The same with the files and the code that its target names.

    Raises:
        UserError: If they cannot be read or do not import.
    """
    return replace(options, target=read_target(options.target))


def read_target(wish: Any) -> Any:
    """A target without text that only files explain.

    Args:
        wish: ``mask:FILE`` or ``CLASS@mask:FILE`` gives a ``MaskTarget``, and
            ``file.py:function`` or ``pkg.mod:function`` a callable; all else stays.

    Raises:
        UserError: If a file cannot be read, or does not import.
    """
    if not isinstance(wish, str):
        return wish
    text = wish.strip()
    before, mark, path = text.partition("mask:")
    if mark and (not before or before.endswith("@")):
        label = before[:-1].strip()
        return MaskTarget(mask=read_mask(path), label=label or None, name=f"mask {path}")
    name = text.partition(":")[0].rpartition("@")[2]
    if name in _WORDS or not names_code(text):
        return wish
    return _function(find_function(text, "--target", "score"))


def read_mask(text: str) -> Tensor:
    """Places of an image: ``(H, W)``, or ``(S, H, W)`` with one mask per sample.

    Of a picture all pixels count that are not black (of a palette: not its first colour; of
    one with transparency: not transparent); of an array all numbers other than 0.

    Raises:
        UserError: If the file does not exist, or holds neither.
    """
    path = Path(text).expanduser()
    if path.suffix.lower() in SUFFIXES:
        mask = read_input(path)
        if not isinstance(mask, Tensor) or mask.ndim not in (2, 3):
            shape = shape_text(tuple(mask.shape)) if isinstance(mask, Tensor) else "several arrays"
            raise UserError(f"mask {text} holds {shape}: give one array of height × width")
        return mask != 0
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"mask {text or 'without a file'} {kind}: give a PNG or NPY file")
    try:
        with Image.open(path) as opened:
            opened.load()
            image = _in_one_channel(opened)
            width, height = image.size
            data = torch.tensor(list(_pixels(image)))
    except UnidentifiedImageError as error:
        raise UserError(f"mask {text} is no image: give a PNG or NPY file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"mask {text} cannot be read: {one_line(error, 120)}") from error
    return data.view(height, width) != 0


def _in_one_channel(image: Image.Image) -> Image.Image:
    if image.mode in ("LA", "PA", "RGBA"):
        return image.getchannel("A")
    if image.mode.startswith("I;16"):
        return image.convert("I")
    return image if image.mode in _NUMBERED else image.convert("L")


def _pixels(image: Image.Image) -> Any:
    # Pillow 12 renames ``getdata``.
    read = getattr(image, "get_flattened_data", None) or image.getdata
    return read()


def _function(found: Found) -> Callable[[Any], Any]:
    if not callable(found.value):
        raise UserError(f"{found.what} is no function: give one that takes the model's output")

    def score(output: Any) -> Any:
        try:
            with on_path(found.folder):
                return found.value(output)
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise UserError(f"{found.what} raised {blame(error, found.folder)}") from error

    score.__name__ = found.name
    return score
