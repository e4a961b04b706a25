"""Targets whose text names a file or code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.errors import UserError
from resnet_viz.core.target import MaskTarget
from resnet_viz.sources.target_texts import read_mask, read_target, with_target


@pytest.mark.parametrize(
    "wish", [None, 3, "tabby", "281", "argmax", "top3", "sum", "box:0", "token:5", "3@token:-1"]
)
def test_other_targets_stay(wish: Any) -> None:
    assert read_target(wish) is wish
    options = AttributionOptions(target=wish)
    assert with_target(options).target is wish


PIXELS = np.zeros((3, 5), dtype=np.uint8)
PIXELS[1, 2:4] = 200


def save(path: Path, mode: str) -> None:
    if mode == "P":
        image = Image.fromarray((PIXELS > 0).astype(np.uint8), mode="P")
        image.putpalette([0, 0, 0, 255, 0, 0])
    elif mode == "RGBA":
        image = Image.new("RGBA", (5, 3), (255, 255, 255, 0))
        image.putalpha(Image.fromarray(PIXELS))
    elif mode == "I;16":
        image = Image.fromarray(PIXELS.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(PIXELS).convert(mode)
    image.save(path)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "I;16"])
def test_a_mask_from_a_picture(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "mask.png"
    save(path, mode)
    found = read_target(f"mask:{path}")
    assert isinstance(found, MaskTarget)
    assert found.label is None
    assert found.mask.dtype == torch.bool
    assert found.mask.numpy().tolist() == (PIXELS > 0).tolist()


def test_a_mask_from_numbers_with_its_class(tmp_path: Path) -> None:
    path = tmp_path / "mask.npy"
    np.save(path, PIXELS / 7)
    found = read_target(f"dining table@mask:{path}")
    assert (found.label, found.name) == ("dining table", f"mask {path}")
    assert found.mask.numpy().tolist() == (PIXELS > 0).tolist()
    np.save(path, np.zeros((2, 3, 5)))
    assert read_mask(str(path)).shape == (2, 3, 5)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.png", None, "does not exist: give a PNG or NPY file"),
        ("none.npy", None, "does not exist"),
        ("text.png", b"text", "is no image"),
        ("cut.png", b"\x89PNG\r\n\x1a\n\x00\x00", "is no image|cannot be read"),
        ("cut.npy", b"\x93NUMPY\x01\x00", "is no NumPy file"),
    ],
)
def test_a_mask_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_target(f"mask:{path}")
    assert "\n" not in str(caught.value)


def test_a_mask_of_another_shape(tmp_path: Path) -> None:
    path = tmp_path / "mask.npy"
    np.save(path, np.zeros(4))
    with pytest.raises(UserError, match="holds 4: give one array of height × width"):
        read_mask(str(path))


def test_a_function_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "score.py"
    (tmp_path / "beside.py").write_text("FACTOR = 2\n")
    file.write_text(
        "def margin(out):\n    from beside import FACTOR\n    return FACTOR * out['a'][:, 0]\n"
        "def wrong(out):\n    return out['nothing']\nNUMBER = 3\n"
    )
    margin = read_target(f"{file}:margin")
    out = {"a": torch.tensor([[1.0, 5.0], [3.0, 5.0]])}
    assert margin(out).tolist() == [2.0, 6.0]
    assert margin.__name__ == "margin"
    with pytest.raises(UserError, match=r"--target .*wrong raised KeyError: 'nothing'"):
        read_target(f"{file}:wrong")(out)
    with pytest.raises(UserError, match=r"NUMBER is no function"):
        read_target(f"{file}:NUMBER")
    with pytest.raises(UserError, match=r"there is no 'margn' \(did you mean margin\?\)"):
        read_target(f"{file}:margn")
