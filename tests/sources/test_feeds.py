"""Feeds: what they give is what was asked for, again and again, and each process has its part."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, TensorDataset

import resnet_viz as rv
from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import UserError
from resnet_viz.sources.data import IMAGENET_MEAN, IMAGENET_STD
from resnet_viz.sources.datasets.load import load_digits
from resnet_viz.sources.feeds import Feed, Wanted, image_feed, loader_feed, made_feed
from resnet_viz.sources.inputs import InputSpec
from resnet_viz.sources.loading import Loaded

MODEL = nn.Linear(2, 3)
PAIRS = TensorDataset(torch.arange(40.0).reshape(20, 2), torch.arange(20))


def loaded(**fields: Any) -> Loaded:
    return Loaded(model=MODEL, name="net", source="a test", **fields)


def traced(*shape: int, name: str = "") -> Batch:
    image = torch.empty(shape, device="meta")
    return Batch(args=() if name else (image,), kwargs={name: image} if name else {})


def images_of(
    text: str, shape: tuple[int, ...], data_dir: Path | None = None, **wanted: Any
) -> Feed:
    return image_feed(text, loaded(), traced(*shape), Wanted(**wanted), data_dir=data_dir)


def labels(feed: Feed) -> list[list[int]]:
    return [batch.targets.tolist() for batch in feed.batches()]


def paint(folder: Path, count: int, side: int = 20, grey: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new("RGB", (side, side), (grey, index, 0)).save(folder / f"{index}.png")


# -- images ------------------------------------------------------------------------


def test_digits_are_the_packaged_ones_in_the_order_of_a_distributed_sampler() -> None:
    feed = images_of("digits", (1, 1, 8, 8), batches=2, batch_size=5, seed=3)
    batches = list(feed.batches())
    part = load_digits()
    order = list(DistributedSampler(part.train, num_replicas=1, rank=0, seed=3))  # type: ignore[arg-type]
    for index, batch in enumerate(batches):
        chosen = order[5 * index : 5 * index + 5]
        assert torch.equal(batch.args[0], part.ready(part.train.pixels[chosen]))
        assert torch.equal(batch.targets, part.train.labels[chosen])
        assert batch.words == feed.words
    assert (
        feed.words
        == "digits: 10 of 1,437 training images, 8×8 shown as 1×8×8, seeded order, batches of 5"
    )
    again = list(feed.batches())
    assert all(torch.equal(a.args[0], b.args[0]) for a, b in zip(batches, again, strict=True))


def test_digits_become_what_the_model_takes() -> None:
    feed = images_of("digits", (1, 3, 16, 12), batch_size=2)
    (batch,) = feed.batches()
    image = batch.args[0]
    assert image.shape == (2, 3, 16, 12)
    assert torch.equal(image[:, 0], image[:, 2])
    assert "shown as 3×16×12 (resized, the one channel repeated)" in feed.words


def test_an_input_with_a_name_keeps_it() -> None:
    first = traced(1, 1, 8, 8, name="pixel_values")
    first.kwargs["return_dict"] = True
    (batch,) = image_feed("digits", loaded(), first, Wanted(batch_size=2)).batches()
    assert batch.args == ()
    assert batch.kwargs["pixel_values"].shape == (2, 1, 8, 8)
    assert batch.kwargs["return_dict"] is True


def test_each_process_has_its_part_and_together_they_have_all() -> None:
    alone = images_of("digits", (1, 1, 8, 8), batches=2, batch_size=6)
    parts = [
        labels(images_of("digits", (1, 1, 8, 8), batches=2, batch_size=3, rank=rank, world=2))
        for rank in range(2)
    ]
    assert parts[0] != parts[1]
    for both, left, right in zip(labels(alone), *parts, strict=True):
        assert sorted(both) == sorted(left + right)


def test_a_folder_of_classes_is_read_as_far_as_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnet_viz.sources import image_sets

    paint(tmp_path / "cat", 4, grey=10)
    paint(tmp_path / "dog", 3, grey=200)
    read = []
    load = image_sets.load_image
    monkeypatch.setattr(image_sets, "load_image", lambda path: read.append(path) or load(path))
    feed = images_of(str(tmp_path), (1, 3, 20, 20), batches=2, batch_size=2)
    seen = [
        (image, label)
        for batch in feed.batches()
        for image, label in zip(batch.args[0], batch.targets.tolist(), strict=True)
    ]
    assert len(read) == len(seen) == 4
    for image, label in seen:
        red = image[0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]
        assert torch.allclose(red * 255, torch.tensor(200.0 if label else 10.0), atol=1e-2)
    assert "4 of 7 images, 2 classes, as 3×20×20, ImageNet's mean and std" in feed.words


def test_a_flat_folder_has_no_labels_and_says_so(tmp_path: Path) -> None:
    paint(tmp_path, 3, side=50)
    feed = image_feed(
        str(tmp_path),
        loaded(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        traced(1, 1, 10, 10),
        Wanted(batches=9, batch_size=2),
    )
    batches = list(feed.batches())
    assert [b.args[0].shape[0] for b in batches] == [2, 1]
    assert [b.targets for b in batches] == [None, None]
    for words in (
        "all 3 images",
        "without labels",
        "the model's mean",
        "turned grey",
        "9 batches were",
    ):
        assert words in feed.words


def test_torchvisions_sets_are_read_and_never_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("the network"))
    feed = images_of("torchvision:FakeData", (1, 3, 32, 32), batch_size=2)
    (batch,) = feed.batches()
    assert batch.args[0].shape == (2, 3, 32, 32)
    assert batch.targets.dtype == torch.int64
    with pytest.raises(UserError, match=r"CIFAR10 cannot be read from .*nothing is fetched"):
        images_of("torchvision:CIFAR10", (1, 3, 32, 32), tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="--data-dir"):
        images_of("torchvision:CIFAR10", (1, 3, 32, 32))
    with pytest.raises(UserError, match="did you mean CIFAR10"):
        images_of("torchvision:CIFAR11", (1, 3, 32, 32), tmp_path)


@pytest.mark.parametrize(
    ("text", "shape", "words"),
    [
        ("digit", (1, 3, 8, 8), "did you mean digits"),
        ("digits", (1, 8), "no single image.* 1×8"),
        ("torchvision:FakeData", (1, 5, 8, 8), "5×8×8"),
    ],
)
def test_images_that_do_not_suit_are_told_in_one_line(
    text: str, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        images_of(text, shape)
    assert "\n" not in str(caught.value)


def test_a_data_dir_that_would_be_ignored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--data-dir goes with"):
        images_of("digits", (1, 1, 8, 8), tmp_path)


# -- made values -------------------------------------------------------------------


def test_made_values_differ_by_batch_and_process_and_come_again() -> None:
    specs = (InputSpec(shape=(1, 2)),)

    def values(**wanted: Any) -> list[Tensor]:
        feed = made_feed(loaded(), specs, traced(1, 2), Wanted(**wanted))
        return [batch.args[0] for batch in feed.batches()]

    alone = values(batches=4)
    assert [v.shape for v in alone] == [(8, 2)] * 4
    assert len({tuple(v.flatten().tolist()) for v in alone}) == 4
    parts = [values(batches=2, rank=rank, world=2) for rank in range(2)]
    both = [v for pair in zip(*parts, strict=True) for v in pair]
    assert all(torch.equal(a, b) for a, b in zip(alone, both, strict=True))


# -- loaders -----------------------------------------------------------------------


def firsts(feed: Feed) -> list[list[float]]:
    return [batch.args[0][:, 0].tolist() for batch in feed.batches()]


def test_a_loader_is_gone_through_as_far_as_asked_with_its_order_seeded() -> None:
    loader = DataLoader(PAIRS, batch_size=4, shuffle=True)
    feed = loader_feed(loader, MODEL, Wanted(batches=3, seed=7))
    before = torch.get_rng_state()
    seen = firsts(feed)
    assert torch.equal(torch.get_rng_state(), before)
    assert [len(batch) for batch in seen] == [4, 4, 4]
    assert firsts(feed) == seen
    assert firsts(loader_feed(loader, MODEL, Wanted(batches=3, seed=8))) != seen
    assert len(firsts(loader_feed(loader, MODEL, Wanted(batches=99)))) == 5


def test_processes_of_a_loader_take_turns() -> None:
    loader = DataLoader(PAIRS, batch_size=4)
    alone = firsts(loader_feed(loader, MODEL, Wanted(batches=4)))
    for rank in range(2):
        feed = loader_feed(loader, MODEL, Wanted(batches=2, rank=rank, world=2))
        assert firsts(feed) == alone[rank::2]
        assert "one part for each of 2 processes" in feed.words


def test_a_loader_that_is_cut_already_stays_so() -> None:
    sampler = DistributedSampler(PAIRS, num_replicas=2, rank=1, shuffle=False)
    loader = DataLoader(PAIRS, batch_size=4, sampler=sampler)
    feed = loader_feed(loader, MODEL, Wanted(batches=2, rank=1, world=2))
    assert firsts(feed) == [[2.0, 6.0, 10.0, 14.0], [18.0, 22.0, 26.0, 30.0]]


def test_a_data_set_is_batched_and_cut() -> None:
    class Squares(Dataset[Any]):
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.tensor([float(index), 0.0]), index

    parts = [
        labels(loader_feed(Squares(), MODEL, Wanted(batch_size=3, rank=rank, world=2)))
        for rank in range(2)
    ]
    assert sorted(parts[0][0] + parts[1][0]) == list(range(6))


def test_an_iterator_is_remembered_no_further_than_asked() -> None:
    drawn = []

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            drawn.append(1)
            yield torch.full((1, 2), float(len(drawn))), torch.zeros(1)

    feed = loader_feed(endless(), MODEL, Wanted(batches=3))
    assert firsts(feed) == firsts(feed) == [[1.0], [2.0], [3.0]]
    assert len(drawn) == 3


def test_one_batch_is_one_batch() -> None:
    x, y = torch.ones(2, 2), torch.zeros(2)
    (batch,) = loader_feed((x, y), MODEL, Wanted(batches=5)).batches()
    assert batch.args == (x,)
    assert batch.targets is y
    (batch,) = loader_feed({"input": x}, MODEL, Wanted()).batches()
    assert batch.kwargs == {"input": x}


CODE = """
import torch
from torch.utils.data import DataLoader, TensorDataset
PAIRS = TensorDataset(torch.arange(12.).reshape(6, 2), torch.arange(6))
BATCH = (torch.ones(2, 2), torch.zeros(2))
ONCE = iter([BATCH])
LOADER = DataLoader(PAIRS, batch_size=2)
def loader(batch_size, seed=0): return DataLoader(PAIRS, batch_size=batch_size)
def pairs():
    yield torch.ones(1, 2), torch.tensor([1])
    yield torch.zeros(1, 2), torch.tensor([2])
def part(rank, world): return [(torch.full((1, 2), float(rank)), None)]
def bad(): return 1 / 0
def torn():
    yield BATCH
    raise ValueError("out of\\nbatches")
def nothing(): pass
def number(): return 3
def empty(): return []
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(CODE, encoding="utf-8")
    return tmp_path / "own.py"


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        *(("loader", [2, 2, 2]), ("PAIRS", [2, 2, 2]), ("LOADER", [2, 2, 2])),
        *(("BATCH", [2]), ("ONCE", [2]), ("pairs", [1, 1])),
    ],
)
def test_a_users_file_gives_batches(code: Path, name: str, sizes: list[int]) -> None:
    feed = loader_feed(f"{code}:{name}", MODEL, Wanted(batches=5, batch_size=2))
    for _ in range(2):
        assert [len(batch.args[0]) for batch in feed.batches()] == sizes
    assert feed.words == f"what {name} of own.py made"


def test_a_function_that_takes_its_rank_cuts_by_itself(code: Path) -> None:
    feed = loader_feed(f"{code}:part", MODEL, Wanted(rank=1, world=2))
    assert firsts(feed) == [[1.0]]
    assert "cut by itself" in feed.words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bad", r"bad raised ZeroDivisionError.*own\.py:\d+"),
        ("torn", r"torn raised ValueError: out of batches.*own\.py:\d+"),
        ("nothing", "returned nothing"),
        ("number", "is a int"),
        ("empty", "no batch"),
        ("loadr", "did you mean loader"),
    ],
)
def test_what_a_users_file_does_wrong_is_one_line(code: Path, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        list(loader_feed(f"{code}:{name}", MODEL, Wanted(batches=2)).batches())
    assert "\n" not in str(caught.value)


def test_what_is_no_data_is_refused() -> None:
    with pytest.raises(UserError, match="pair"):
        loader_feed(3, MODEL, Wanted())
    with pytest.raises(UserError, match="no batch"):
        list(loader_feed([], MODEL, Wanted()).batches())
    with pytest.raises(UserError, match="a batch is a pair"):
        list(loader_feed([torch.ones(2, 2)], MODEL, Wanted()).batches())


def test_a_package_without_torchvision_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(UserError, match="pip install torchvision"):
        images_of("torchvision:CIFAR10", (1, 3, 32, 32), tmp_path)


def test_hidden_files_and_folders_are_no_images(tmp_path: Path) -> None:
    paint(tmp_path / "a", 2)
    (tmp_path / "a" / "._0.png").write_bytes(b"\0\5\x16\7")  # macOS
    (tmp_path / "a" / "more.png").mkdir()
    assert labels(images_of(str(tmp_path), (1, 3, 8, 8), batches=2)) == [[0, 0]]


class Broken(Dataset[Tensor]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Tensor:
        raise KeyError("two words")


def test_what_a_worker_raises_names_the_line_of_the_users_code() -> None:
    loader = DataLoader(Broken(), batch_size=2, num_workers=1)
    feed = loader_feed(loader, MODEL, Wanted())
    with pytest.raises(
        UserError, match=r"^data raised KeyError: 'two words' \(.*test_feeds.py:\d+\)$"
    ):
        list(feed.batches())


CALLED = """
import functools, torch
from torch.utils.data import TensorDataset
def many(count): return [(torch.ones(2, 2), torch.arange(2))] * count
three = functools.partial(many, 3)
class Set(TensorDataset):
    def __init__(self): super().__init__(torch.ones(6, 2), torch.arange(6))
one = (torch.ones(2, 2), torch.arange(2))
"""


def test_partial_functions_and_classes_are_called(tmp_path: Path) -> None:
    file = tmp_path / "called.py"
    file.write_text(CALLED)
    for name in ("three", "Set"):
        feed = loader_feed(f"{file}:{name}", MODEL, Wanted(batches=9, batch_size=2))
        assert len(list(feed.batches())) == 3
    with pytest.raises(UserError, match="one batch for 2 processes"):
        list(loader_feed(f"{file}:one", MODEL, Wanted(rank=1, world=2)).batches())
    with pytest.raises(UserError, match="does not tell its arguments"):
        list(loader_feed("builtins:dict", MODEL, Wanted()).batches())


# -- through the whole tool --------------------------------------------------------


def test_a_flow_over_text_or_a_loader_says_what_it_was_measured_on() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    size = (1, 1, 8, 8)
    flow = rv.gradient_flow(net, "digits", "cross_entropy", input_size=size, batches=3)
    assert flow.batches == 3
    assert flow.loss.name == "cross_entropy"
    assert flow.loss.spread is not None
    assert flow.data.startswith("digits: 24 of 1,437 training images, 8×8 shown as 1×8×8")
    pairs = TensorDataset(torch.randn(12, 64), torch.arange(12) % 10)
    flow = rv.gradient_flow(net, DataLoader(pairs, batch_size=4, shuffle=True), batches=5)
    assert (flow.batches, flow.batch_size) == (3, 4)
    assert "5 batches were asked for; the data gave 3 batches." in flow.notes
    drawn = rv.gradient_flow(net, "random", "mse", input_size=size, batches=2)
    assert drawn.batches == 2
    assert drawn.loss.name == "mse on random targets"


@pytest.mark.parametrize(
    ("data", "loss", "classes", "words"),
    [
        ("torchvision:CIFAR10", None, 10, "needs the folder .*--data-dir"),
        ("digits", None, 5, "labels from 0 to 9, but the model has outputs for 5 classes"),
        ("digits", "mse", 10, "give --loss cross_entropy"),
        ("digit", None, 10, "did you mean digits"),
    ],
)
def test_data_that_do_not_suit_end_in_one_line(
    data: str, loss: str | None, classes: int, words: str
) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    with pytest.raises(UserError, match=words) as caught:
        rv.gradient_flow(net, data, loss, input_size=(1, 1, 8, 8), batch_size=64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"batches": 0}, {"batches": "3"}, {"batch_size": 0}, {"stats": "all"}, {"mode": "test"},
        {"optimizer": torch.optim.SGD},
    ],
)  # fmt: skip
def test_what_no_measurement_takes_is_one_line(given: dict[str, Any]) -> None:
    ((name, _),) = given.items()
    with pytest.raises(UserError, match=f"^{name}=.* was given: give "):
        rv.gradient_flow(nn.Linear(2, 3), input_size=(4, 2), **given)
