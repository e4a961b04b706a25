"""Photographs, against torchvision and Pillow."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from resnet_viz.core.errors import UserError
from resnet_viz.sources.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    default_photograph,
    load_image,
    preprocess,
)


def noise(width: int, height: int) -> Image.Image:
    return Image.frombytes(
        "RGB",
        (width, height),
        torch.randint(
            256,
            (width * height * 3,),
            generator=torch.Generator().manual_seed(0),
            dtype=torch.uint8,
        )
        .numpy()
        .tobytes(),
    )


def test_the_default_photograph_is_a_photograph() -> None:
    image = load_image(default_photograph())
    assert image.mode == "RGB"
    assert min(image.size) > 224


def test_without_matplotlib_the_photograph_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="--image"):
        default_photograph()


@given(st.integers(16, 90), st.integers(16, 90), st.sampled_from([7, 14, 28, 32, 33]))
def test_preprocessing_is_torchvisions(width: int, height: int, size: int) -> None:
    image = noise(width, height)
    expected = transforms.Compose(
        [
            transforms.Resize(round(size * 256 / 224)),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )(image)
    tensor, crop = preprocess(image, size)
    assert torch.equal(tensor, expected)
    assert crop.size == (size, size)


def test_the_crop_shows_what_the_tensor_holds() -> None:
    tensor, crop = preprocess(noise(50, 40), (20, 30), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    assert tensor.shape == (3, 20, 30)
    assert crop.size == (30, 20)
    back = tensor * torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    back = (back + torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) * 255
    shown = transforms.functional.pil_to_tensor(crop)
    assert torch.equal(back.round().to(torch.uint8), shown)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_any_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
    noise(9, 7).convert("RGBA").convert(mode if mode != "CMYK" else "RGB").convert(mode).save(path)
    image = load_image(path)
    assert (image.mode, image.size) == ("RGB", (9, 7))


def test_sixteen_bit_greys_keep_their_shades(tmp_path: Path) -> None:
    image = Image.new("I;16", (2, 1))
    image.putpixel((0, 0), 0x4000)
    image.putpixel((1, 0), 0xFFFF)
    image.save(tmp_path / "grey.png")
    loaded = load_image(tmp_path / "grey.png")
    assert [loaded.getpixel((x, 0)) for x in (0, 1)] == [(64, 64, 64), (255, 255, 255)]


def test_a_camera_held_sideways_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by 90 degrees.
    noise(40, 20).save(tmp_path / "sideways.jpg", exif=exif)
    assert load_image(tmp_path / "sideways.jpg").size == (20, 40)


def test_what_is_no_image_gets_one_line(tmp_path: Path) -> None:
    text, cut = tmp_path / "notes.jpg", tmp_path / "cut.png"
    text.write_text("no image")
    noise(60, 60).save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    for path, said in [
        (text, "is no image"),
        (cut, "cannot be read"),
        (tmp_path, "is a folder"),
        (tmp_path / "none.png", "does not exist"),
    ]:
        with pytest.raises(UserError) as caught:
            load_image(path)
        assert said in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (1, 1, 1)), ((0, 0, 0), (1, 0, 1))])
def test_mean_and_std_must_suit_three_channels(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    with pytest.raises(UserError, match="three numbers"):
        preprocess(noise(9, 9), 4, mean, std)
