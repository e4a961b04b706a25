"""Batches to measure gradients on, in turn: from text, a loader, or one batch.

A feed can be gone through again and gives the same batches. Of several processes each
gets its own part, as ``torch.utils.data.DistributedSampler`` cuts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset

from resnet_viz.core.batch import BATCH_SIZE, Batch
from resnet_viz.core.errors import ResnetVizError, UserError
from resnet_viz.core.units import count
from resnet_viz.sources.batches import data_batch, first_batch, made_batch
from resnet_viz.sources.image_sets import ImageInput, ImageSet, find_images
from resnet_viz.sources.inputs import InputSpec
from resnet_viz.sources.loading import Loaded
from resnet_viz.sources.seeding import seeded
from resnet_viz.sources.user_code import blame, on_path
from resnet_viz.sources.user_functions import Found, find_function, names_code
from resnet_viz.tracing.trees import named_tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How much of the data, and whose part.

    Attributes:
        batches: At most so many, of every process.
        batch_size: Samples of each; ``BATCH_SIZE`` if ``None``.
        seed: Of the order and of whatever is drawn.
        rank: Which process this is.
        world: Of how many.
    """

    batches: int = 1
    batch_size: int | None = None
    seed: int = 0
    rank: int = 0
    world: int = 1

    @property
    def size(self) -> int:
        """Samples of a batch."""
        return self.batch_size or BATCH_SIZE


class Feed:
    """Batches that can be gone through again.

    Attributes:
        words: What they are, for the report.
    """

    def __init__(self, words: str, make: Callable[[], Iterator[Batch]]) -> None:
        """Makes nothing yet.

        Args:
            words: What the batches are.
            make: Makes them; called for each time they are gone through.
        """
        self.words = words
        self._make = make

    def batches(self) -> Iterator[Batch]:
        """The batches in turn, each made when it is asked for.

        Raises:
            UserError: If the data cannot be read, or hold nothing.
        """
        empty = True
        for batch in self._make():
            empty = False
            yield replace(batch, words=self.words)
        if empty:
            raise UserError(f"{self.words}: no batch; give at least one pair (inputs, targets)")


def is_code(data: object) -> bool:
    """Whether the data bring their own inputs: an object, or text that names code."""
    if not isinstance(data, str):
        return True
    return names_code(data) and not data.startswith("torchvision:") and not Path(data).is_dir()


def made_feed(loaded: Loaded, specs: tuple[InputSpec, ...], first: Batch, wanted: Wanted) -> Feed:
    """Seeded values for the model's inputs, other ones in each batch.

    Args:
        loaded: The model.
        specs: Its inputs.
        first: What was traced: its plain arguments stay, and so does who chose it.
        wanted: How many; the specs' own size where they are of more than one sample
            and none is given.
    """
    size = wanted.batch_size
    if size is None and all(spec.batch_size == 1 for spec in specs):
        size = BATCH_SIZE
    kwargs = {k: v for k, v in first.kwargs.items() if k not in {spec.name for spec in specs}}

    def make() -> Iterator[Batch]:
        for index in range(wanted.batches):
            seed = wanted.seed + index * wanted.world + wanted.rank
            made = made_batch(
                loaded,
                specs,
                batch_size=size,
                seed=seed,
                was_given=first.was_given,
                kwargs=kwargs,
            )
            yield made.filled()

    return Feed(first.words, make)


def image_feed(
    text: str, loaded: Loaded, first: Batch, wanted: Wanted, *, data_dir: Path | None = None
) -> Feed:
    """Images of a known set or a folder, as the model takes them, in seeded order.

    Args:
        text: See ``image_sets.find_images``.
        loaded: Brings mean and std where its source publishes them.
        first: What was traced: which image the model takes, and under which name.
        wanted: How much, and whose part.
        data_dir: Where the files of a ``torchvision:`` set lie.

    Raises:
        UserError: If there is no such set, or the model takes no single image.
    """
    place, takes = _image_input(text, loaded, first)
    images = find_images(text, takes, data_dir)
    sampler = _sampler(images.size, wanted)
    rounds = min(wanted.batches, -(-len(sampler) // wanted.size))
    used = min(rounds * wanted.size * wanted.world, images.size)
    some = f"{used:,} of" if used < images.size else "all"
    words = f"{images.name}: {some} {images.size:,} {images.words}, seeded order"
    words += f", batches of {wanted.size}"
    if rounds < wanted.batches:
        words += f"; {count(wanted.batches, 'batch', 'batches')} were asked for"

    def make() -> Iterator[Batch]:
        order = iter(sampler)
        for _ in range(rounds):
            stack, targets = _stacked(images, list(islice(order, wanted.size)))
            kwargs = {**first.kwargs, **({place: stack} if place else {})}
            yield Batch(args=() if place else (stack,), kwargs=kwargs, targets=targets)

    return Feed(words, make)


def _image_input(text: str, loaded: Loaded, first: Batch) -> tuple[str, ImageInput]:
    """The keyword of the model's one image (empty: the first argument), and the image."""
    tensors = list(named_tensors((first.args, first.kwargs), objects=False))
    single = tensors[0][1] if len(tensors) == 1 else None
    if single is None or single.ndim != 4 or not single.is_floating_point():
        taken = ", ".join("×".join(map(str, t.shape)) or "scalar" for _, t in tensors) or "none"
        raise UserError(
            f"--data {text} gives images, but the model takes no single image (N, C, H, W); its "
            f"inputs: {taken}; give a loader of your own (--data file.py:loader)"
        )
    keyword = next((k for k, v in first.kwargs.items() if v is single), "")
    channels, height, width = single.shape[1:]
    takes = ImageInput(
        channels=channels, height=height, width=width, mean=loaded.mean, std=loaded.std
    )
    return keyword, takes


def _sampler(size: int, wanted: Wanted) -> DistributedSampler[Any]:
    return DistributedSampler(
        range(size),  # type: ignore[arg-type]
        num_replicas=wanted.world,
        rank=wanted.rank,
        seed=wanted.seed,
    )


def _stacked(images: ImageSet, indices: list[int]) -> tuple[Tensor, Tensor | None]:
    pairs = [images[index] for index in indices]
    labels = [label for _, label in pairs if label is not None]
    targets = torch.tensor(labels, dtype=torch.int64, device="cpu") if labels else None
    return torch.stack([image for image, _ in pairs]), targets


# -- loaders -----------------------------------------------------------------------


def loader_feed(
    data: Any,
    model: nn.Module,
    wanted: Wanted,
    *,
    kwargs: Mapping[str, Any] | None = None,
) -> Feed:
    """The batches of a loader, an iterable, a data set, one batch, or text that names one.

    A function or class that text names is called anew each time; it gets those of ``batch_size``,
    ``seed``, ``model``, ``rank`` and ``world`` that it takes, and its code is run. A data
    set is cut by a ``DistributedSampler``; of what else can be iterated, each process takes
    every ``world``-th batch, unless it was cut already (it has such a sampler, or the
    function took ``rank``). An iterator, which cannot be gone through again, is remembered.

    Args:
        data: A tuple ``(inputs, targets)`` is one batch; or any iterable of batches.
        model: Whose ``forward`` they are for.
        wanted: How much, and whose part.
        kwargs: More keyword arguments of ``forward``.

    Raises:
        UserError: If it is nothing of these.
    """
    found = find_function(data, "--data", "loader") if isinstance(data, str) else None
    if found is None and isinstance(data, tuple | Mapping | Tensor):
        single = first_batch(data, seed=wanted.seed, model=model, kwargs=kwargs)
        return Feed(single.words, lambda: iter((single,)))
    if found is None and (not isinstance(data, Iterable) and not _is_set(data)):
        raise UserError("data is a pair (inputs, targets) or an iterable of such pairs")
    words = f"what {found.name} of {found.place} made" if found else "the data given"
    name = found.what if found else "data"
    remembered: list[Any] | None = None
    is_cut = wanted.world == 1
    if found is not None and found.is_function:
        is_cut = is_cut or found.parameter("rank") is not None
    elif found is not None:
        data = found.value
    if wanted.world > 1:
        words += ", cut by itself" if is_cut else f", one part for each of {wanted.world} processes"

    def raw() -> Iterator[Any]:
        nonlocal remembered
        if remembered is not None:
            return iter(remembered)
        source = _called(found, model, wanted) if found else data
        if source is None:
            raise UserError(f"{name} returned nothing: end it with return")
        chosen = _iterated(source, wanted, name, is_cut)
        if isinstance(source, Iterator) and not (found and found.is_function):
            remembered = list(islice(chosen, wanted.batches))
            return iter(remembered)
        return chosen

    def make() -> Iterator[Batch]:
        iterator: Iterator[Any] | None = None
        for index in range(wanted.batches):
            with _blamed(found, name), seeded(wanted.seed + index):
                iterator = raw() if iterator is None else iterator
                batch = next(iterator, None)
            if batch is None:
                return
            yield data_batch(batch, model=model, kwargs=kwargs, of_list=isinstance(data, list))

    return Feed(words, make)


def _called(found: Found, model: nn.Module, wanted: Wanted) -> Any:
    if not found.is_function:
        return found.value
    return found.call(
        {
            "batch_size": wanted.size,
            "seed": wanted.seed,
            "model": model,
            "rank": wanted.rank,
            "world": wanted.world,
        }
    )


def _is_set(value: Any) -> bool:
    """Whether it is a data set of single samples, by index."""
    if isinstance(value, IterableDataset | type):
        return False
    return isinstance(value, Dataset) or (
        not isinstance(value, Iterable)
        and hasattr(value, "__getitem__")
        and hasattr(value, "__len__")
    )


def _iterated(source: Any, wanted: Wanted, name: str, is_cut: bool) -> Iterator[Any]:
    """The batches of this process."""
    if _is_set(source):
        sampler = _sampler(len(source), wanted)
        return iter(DataLoader(source, batch_size=wanted.size, sampler=sampler))
    if isinstance(source, str) or not isinstance(source, Iterable):
        raise UserError(
            f"{name} is a {type(source).__name__}: give a DataLoader, a Dataset or an iterable of "
            "pairs (inputs, targets)"
        )
    if isinstance(source, tuple | Mapping | Tensor):
        if not is_cut:
            raise UserError(
                f"{name} is one batch for {wanted.world} processes: give one batch or more for "
                "each, or a function that takes rank"
            )
        return iter([source])
    if is_cut or isinstance(getattr(source, "sampler", None), DistributedSampler):
        return iter(source)
    return islice(iter(source), wanted.rank, None, wanted.world)


@contextmanager
def _blamed(found: Found | None, name: str) -> Iterator[None]:
    """Runs the user's loader; what it raises becomes one line that names their code's line."""
    folder = found.folder if found else None
    try:
        with on_path(folder):
            yield
    except ResnetVizError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise UserError(f"{name} raised {blame(error, folder)}") from error
