"""Data: the packaged digits are scikit-learn's, known sets and folders load or say why not."""

from __future__ import annotations

import hashlib
import pickle
import struct
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from PIL import Image

from resnet_viz.core.errors import UserError
from resnet_viz.sources.datasets import folders
from resnet_viz.sources.datasets.images import Samples, make_images
from resnet_viz.sources.datasets.load import NAMES, load_data, load_digits

DATA = files("resnet_viz.sources.datasets").joinpath("data")


def _random_images(count: int = 40, side: int = 6, channels: int = 3, augmented: bool = True):
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(
        256, (count, channels, side, side), generator=generator, dtype=torch.uint8
    )
    samples = Samples(pixels=pixels, labels=torch.arange(count) % 2)
    return make_images(samples, samples, name="noise", source="", classes=2, augmented=augmented)


def test_the_digits_are_scikit_learns():
    from sklearn.datasets import load_digits as theirs

    bunch = theirs()
    known = sorted((*image.reshape(-1).tolist(), label) for image, label in zip(
        bunch.images, bunch.target.tolist(), strict=True
    ))  # fmt: skip
    images = load_digits()
    ours = sorted(
        (*pixels.reshape(-1).tolist(), label)
        for part in (images.train, images.test)
        for pixels, label in zip(part.pixels, part.labels.tolist(), strict=True)
    )
    assert ours == known
    assert (images.about.train, images.about.test, images.about.shape) == (1437, 360, (1, 8, 8))


def test_the_packed_digits_are_scikit_learns_file_with_its_licence_beside_it():
    import sklearn

    theirs = Path(sklearn.__file__).parent / "datasets" / "data" / "digits.csv.gz"
    assert DATA.joinpath("digits.csv.gz").read_bytes() == theirs.read_bytes()
    licence = DATA.joinpath("LICENSE-digits.txt").read_text("utf-8")
    for words in ("Alpaydin", "Kaynak", "CC BY 4.0", "10.24432/C50P49", "The scikit-learn dev"):
        assert words in licence


def test_every_class_is_in_both_parts_and_inputs_are_normalised():
    images = load_digits()
    for part in (images.train, images.test):
        assert set(part.labels.tolist()) == set(range(10))
    ready = images.ready(images.train.pixels)
    assert ready.dtype == torch.float32
    assert ready.mean().abs() < 1e-6
    assert abs(ready.std() - 1) < 1e-4


def test_loading_leaves_the_generator_alone():
    before = torch.get_rng_state()
    load_digits()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_digest_tells_data_apart():
    images = _random_images()
    assert images.digest() == _random_images().digest()
    images.train.pixels[0, 0, 0, 0] ^= 1
    assert images.digest() != _random_images().digest()


def test_an_augmented_image_is_a_crop_of_the_padded_one_or_its_mirror():
    images = _random_images(count=300, side=5)
    inputs = images.ready(images.train.pixels)
    changed = images.augment(inputs, torch.Generator().manual_seed(3))
    assert changed.shape == inputs.shape
    assert changed.is_contiguous()
    padded = torch.nn.functional.pad(inputs, (4, 4, 4, 4))
    seen = set()
    for index, image in enumerate(changed):
        found = [
            (top, left, flip)
            for top in range(9)
            for left in range(9)
            for flip in (False, True)
            if torch.equal(
                image,
                (crop := padded[index, :, top : top + 5, left : left + 5])
                if not flip
                else crop.flip(2),
            )
        ]
        assert found, f"image {index} is no crop"
        seen.update(found)
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(9))
    assert {flip for _, _, flip in seen} == {False, True}
    again = images.augment(inputs, torch.Generator().manual_seed(3))
    assert torch.equal(changed, again)


def test_images_are_resized():
    images = load_data("digits", image_size=12)
    assert images.about.shape == (1, 12, 12)
    oracle = torch.nn.functional.interpolate(
        load_digits().test.pixels.float(), size=(12, 12), mode="bilinear", antialias=True
    )
    assert torch.equal(images.test.pixels, oracle)


def _write_mnist(root: Path) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 6), ("t10k", 4)):
        pixels = bytes(range(256)) * (count * 784 // 256 + 1)
        images = struct.pack(">4i", 2051, count, 28, 28) + pixels[: count * 784]
        (raw / f"{name}-images-idx3-ubyte").write_bytes(images)
        labels = struct.pack(">2i", 2049, count) + bytes(i % 3 for i in range(count))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(labels)


def test_mnist_is_read_from_its_files(tmp_path):
    _write_mnist(tmp_path)
    images = load_data("mnist", tmp_path)
    assert images.about.shape == (1, 28, 28)
    assert (images.about.train, images.about.test, images.about.classes) == (6, 4, 3)
    assert images.train.pixels[0, 0, 0, :4].tolist() == [0, 1, 2, 3]
    assert not images.augmented


def test_cifar_is_read_from_its_files_and_augmented_as_he_did(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    import numpy as np

    def write(name: str, content: object) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        # As CIFAR-10 itself is told from other files.
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    pixels = np.arange(2 * 3072, dtype=np.int64).reshape(2, 3072).astype(np.uint8)
    batch = {"data": pixels, "labels": [0, 9]}
    monkeypatch.setattr(CIFAR10, "train_list", [write("data_batch_1", batch)])
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", batch)])
    name, md5 = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})
    images = load_data("cifar10", tmp_path)
    assert images.about.shape == (3, 32, 32)
    assert images.about.classes == 10
    assert torch.equal(images.train.pixels, torch.as_tensor(pixels).reshape(2, 3, 32, 32))
    assert images.augmented
    assert "crops" in images.about.augmentation


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("digits", "imagefolder")])
def test_a_known_set_that_is_not_there_is_told_in_one_line_and_never_fetched(
    name, tmp_path, monkeypatch
):
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("the network"))
    with pytest.raises(UserError, match=r"does not hold .*--download") as caught:
        load_data(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="--data-dir"):
        load_data(name)


def test_a_known_set_without_torchvision_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UserError, match="pip install torchvision"):
        load_data("cifar10", tmp_path)


def test_a_set_in_pieces_is_refused(tmp_path):
    _write_mnist(tmp_path)
    broken = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(UserError, match=r"cannot be read from .* by torchvision"):
        load_data("mnist", tmp_path)


def test_unknown_data_have_near_misses():
    with pytest.raises(UserError, match="did you mean digits"):
        load_data("digit")
    with pytest.raises(UserError, match="image size 2"):
        load_data("digits", image_size=2)
    with pytest.raises(UserError, match="--data-dir"):
        load_data("imagefolder")


def _paint(folder: Path, **classes: int) -> Path:
    """Images of one grey per class, as many as asked for, wider than high."""
    for grey, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            colour = (40 * grey, index, 0)
            Image.new("RGB", (50, 40), colour).save(folder / name / f"{index}.png")
    return folder


def test_a_folder_of_classes_is_split_within_each(tmp_path):
    _paint(tmp_path / "pets", cat=10, dog=5)
    images = load_data(tmp_path / "pets", image_size=8)
    assert images.about.name == "pets"
    assert images.about.shape == (3, 8, 8)
    assert images.train.labels.tolist().count(0) == 8
    assert images.test.labels.tolist() == [0, 0, 1]
    greens = [
        {(label, int(p[1, 0, 0])) for p, label in zip(s.pixels, s.labels.tolist(), strict=True)}
        for s in (images.train, images.test)
    ]
    assert not greens[0] & greens[1]
    assert len(greens[0] | greens[1]) == 15
    assert load_data("imagefolder", tmp_path / "pets", image_size=8).digest() == images.digest()


def test_train_and_val_are_taken_as_they_are(tmp_path):
    _paint(tmp_path / "train", a=2, b=3)
    _paint(tmp_path / "val", b=2)
    images = load_data(tmp_path)
    assert images.about.shape == (3, 32, 32)
    assert images.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert images.test.labels.tolist() == [1, 1]
    assert images.train.pixels[2, 0, 0, 0] == 40


def test_a_data_dir_that_would_be_ignored_is_refused(tmp_path):
    for data in ("digits", tmp_path):
        with pytest.raises(UserError, match=r"--data-dir .* goes with cifar10"):
            load_data(data, tmp_path)


def test_folders_that_hold_no_data_set_say_so(tmp_path, monkeypatch):
    def refused(folder: Path, words: str) -> None:
        with pytest.raises(UserError, match=words) as caught:
            load_data("imagefolder", folder)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "nowhere", "does not exist")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no subfolders")
    refused(_paint(tmp_path / "one", a=9), "one class only")
    refused(_paint(tmp_path / "few", a=2, b=2), "too few")
    _paint(tmp_path / "lone" / "train", a=2, b=2)
    refused(tmp_path / "lone", "none of val")
    _paint(tmp_path / "odd" / "train", a=2, b=2)
    _paint(tmp_path / "odd" / "test", z=2)
    refused(tmp_path / "odd", "does not: z")
    _paint(tmp_path / "hollow", a=2, b=0)
    refused(tmp_path / "hollow", "without images")
    _paint(tmp_path / "torn", a=5, b=5)
    (tmp_path / "torn" / "a" / "0.png").write_bytes(b"no image")
    refused(tmp_path / "torn", "is no image")
    monkeypatch.setattr(folders, "_MOST_BYTES", 1000)
    refused(_paint(tmp_path / "large", a=5, b=5), "do not fit")
