"""The net that ships with its weights: what its file says of itself is so."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from resnet_viz.core.errors import UserError
from resnet_viz.sources import batches
from resnet_viz.sources.data import as_taken, load_image, preprocess
from resnet_viz.sources.datasets.load import load_digits
from resnet_viz.sources.image_sets import ImageInput, find_images
from resnet_viz.sources.inputs import InputSpec
from resnet_viz.sources.loading import Loaded, ModelSpec, load
from resnet_viz.sources.trained import make
from resnet_viz.sources.trained.nets import NETS, own_pictures, read_facts, weights_file
from resnet_viz.sources.trained.recipe import DIGITS_RESNET
from resnet_viz.sources.trained.training import Learned, answers, learn
from resnet_viz.sources.variants import VARIANTS, build

SIDE = VARIANTS["digits-resnet"].side
FACTS = read_facts("digits-resnet")


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load(ModelSpec(text="digits-resnet"))


def test_it_is_as_good_as_its_metadata_say(loaded: Loaded) -> None:
    images = load_digits()
    loaded.model.eval()
    right = answers(loaded.model, images.test, images, SIDE) == images.test.labels
    # Rounding differs between processors: one image may fall on the other side.
    assert abs(int(right.sum()) - FACTS.test_right) <= 1
    assert FACTS.test_images == len(images.test)
    assert FACTS.test_right / FACTS.test_images >= 0.97
    assert f"{100 * FACTS.test_right / FACTS.test_images:.1f} %" in loaded.weights_note
    assert not loaded.weights_note.startswith("random")


@pytest.mark.parametrize("net", NETS)
def test_the_file_is_small_and_says_how_it_was_made(net: str) -> None:
    facts = read_facts(net)
    assert weights_file(net).stat().st_size < 400_000
    assert facts.config == VARIANTS[net].to_dict()
    assert {**facts.recipe, "shown": tuple(facts.recipe["shown"])} == asdict(DIGITS_RESNET)
    assert facts.data_digest == load_digits().digest()


def test_the_first_steps_of_training_are_those_that_made_it() -> None:
    once = learn(DIGITS_RESNET, steps=len(FACTS.first_losses))
    assert once.losses == pytest.approx(FACTS.first_losses, rel=1e-3)
    again = learn(DIGITS_RESNET, steps=len(FACTS.first_losses))
    assert once.losses == again.losses
    for mine, its in zip(
        once.model.state_dict().values(), again.model.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, its)
    other = learn(replace(DIGITS_RESNET, seed=1), steps=len(FACTS.first_losses))
    assert other.losses != once.losses


def test_the_script_writes_the_file_that_ships(loaded: Loaded, tmp_path: Path) -> None:
    learned = Learned(model=copy.deepcopy(loaded.model).eval(), losses=FACTS.first_losses)
    facts = make.write(DIGITS_RESNET, learned, tmp_path)
    assert replace(facts, torch=FACTS.torch, test_right=FACTS.test_right) == replace(
        FACTS, recipe=facts.recipe
    )
    if facts.torch == FACTS.torch and facts.test_right == FACTS.test_right:
        assert (tmp_path / "digits-resnet.safetensors").read_bytes() == weights_file(
            "digits-resnet"
        ).read_bytes()
    for shipped in own_pictures("digits-resnet"):
        with (
            Image.open(shipped) as mine,
            Image.open(tmp_path / "digits-resnet" / shipped.name) as its,
        ):
            assert mine.tobytes() == its.tobytes()


def test_its_own_pictures_are_answered_as_their_names_say(loaded: Loaded) -> None:
    assert len(loaded.images) == 1 + len(DIGITS_RESNET.shown)
    shown = batches.photographs(loaded, InputSpec(shape=(1, 1, SIDE, SIDE)))
    assert shown.args[0].shape == (len(loaded.images), 1, SIDE, SIDE)
    with torch.no_grad():
        found = loaded.model.eval()(shown.args[0]).argmax(1).tolist()
    for file, answer in zip(loaded.images, found, strict=True):
        label, _, mistake = file.stem.removeprefix("digit-").partition("-taken-for-")
        assert loaded.labels[answer] == (mistake or label)
    assert sum("taken-for" in file.stem for file in loaded.images) == 1


def test_a_picture_and_the_data_give_the_same_input(loaded: Loaded) -> None:
    images = load_digits()
    takes = ImageInput(channels=1, height=SIDE, width=SIDE, mean=loaded.mean, std=loaded.std)
    (as_data, label) = find_images("digits", takes)[0]
    pixels = (images.train.pixels[0, 0].float() * 255 / 16).round().to(torch.uint8)
    picture = Image.frombytes("L", (8, 8), bytes(pixels.flatten().tolist()))
    as_picture, seen = as_taken(picture, 1, (SIDE, SIDE), loaded.mean, loaded.std)
    assert label == int(images.train.labels[0])
    # A picture has 256 greys, and is resized in them.
    assert (as_picture - as_data).abs().max() <= 1.5 / 255 / FACTS.std[0]
    assert (seen.mode, seen.size) == ("RGB", (SIDE, SIDE))


def test_changed_or_on_meta_it_has_no_weights() -> None:
    changed = load(ModelSpec(text="digits-resnet", args=(("activation", "sigmoid"),)))
    assert changed.weights_note == "random"
    assert changed.labels == ()
    hollow = load(ModelSpec(text="digits-resnet", meta=True))
    assert all(p.device.type == "meta" for p in hollow.model.parameters())


def test_weights_given_take_the_place_of_its_own(loaded: Loaded, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    net = build("digits-resnet")
    save_file(net.state_dict(), tmp_path / "mine.safetensors")
    mine = load(ModelSpec(text="digits-resnet", weights=str(tmp_path / "mine.safetensors")))
    assert mine.weights_note == "mine.safetensors"
    assert torch.equal(mine.model.conv1.weight, net.conv1.weight)
    assert not torch.equal(mine.model.conv1.weight, loaded.model.conv1.weight)


def test_a_photograph_is_grey_for_one_channel(loaded: Loaded, tmp_path: Path) -> None:
    torch.manual_seed(0)
    noise = torch.randint(256, (50, 70, 3), dtype=torch.uint8)
    photo = Image.frombytes("RGB", (70, 50), bytes(noise.flatten().tolist()))
    photo.save(tmp_path / "photo.png")
    spec = InputSpec(shape=(1, 1, SIDE, SIDE))
    assert batches.takes_photographs((spec,))
    (value,) = batches.photographs(loaded, spec, [tmp_path / "photo.png"]).args
    expected, _ = preprocess(photo.convert("L"), SIDE, (FACTS.mean[0],) * 3, (FACTS.std[0],) * 3)
    assert torch.allclose(value[0], expected[:1], atol=1e-6)


def test_an_image_as_the_model_takes_it_is_not_cropped() -> None:
    colours = Image.new("RGB", (20, 20), (255, 0, 0))
    colours.putpixel((0, 0), (0, 0, 255))
    tensor, shown = as_taken(colours, 3, (20, 20), (0.0,), (1.0,))
    assert tensor[:, 0, 0].tolist() == [0, 0, 1]
    assert shown.tobytes() == colours.tobytes()
    cropped, _ = as_taken(colours, 3, (20, 10), (0.0,), (1.0,))
    assert torch.equal(cropped, preprocess(colours, (20, 10), (0, 0, 0), (1, 1, 1))[0])
    with pytest.raises(UserError, match="three numbers"):
        as_taken(colours, 1, (20, 20), (0.5, 0.5), (1.0,))


def test_a_grey_file_stays_as_grey_as_it_is(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 128).save(tmp_path / "grey.png")
    tensor, _ = as_taken(load_image(tmp_path / "grey.png"), 1, (8, 8), (0.5,), (0.25,))
    assert torch.allclose(tensor, torch.full((1, 8, 8), (128 / 255 - 0.5) / 0.25), atol=1e-6)


def test_the_shipped_files_are_the_recorded_ones() -> None:
    """A changed byte is noticed: whoever retrains records the new digest here."""
    found = hashlib.sha256(weights_file("digits-resnet").read_bytes()).hexdigest()
    assert found == "dc2585100ddce6ea3739054fabf8e922f86222d540196f12677998caf384f11e"
