"""What goes into the model: to trace it, to measure its gradients, to explain it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resnet_viz.core.errors import UserError
from resnet_viz.core.message import say
from resnet_viz.core.units import count
from resnet_viz.study.asked import Study

if TYPE_CHECKING:
    import torch

    from resnet_viz.core.batch import Batch
    from resnet_viz.core.report import Measurement
    from resnet_viz.measuring.losses import LossFunction
    from resnet_viz.sources.feeds import Feed, Wanted
    from resnet_viz.sources.inputs import InputSpec
    from resnet_viz.sources.loading import Loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What attributions explain.

    Attributes:
        samples: One by one.
        batches: Of data that somebody gave, for what is averaged over them; or ``None``.
    """

    samples: Batch
    batches: Callable[[], Iterator[Batch]] | None = None


def given_feed(study: Study, loaded: Loaded) -> Feed | None:
    """The data given, where they bring their own inputs: a loader or a batch, not images."""
    from resnet_viz.sources.feeds import is_code, loader_feed

    if study.data is None or not is_code(study.data):
        return None
    return loader_feed(study.data, loaded.model, _wanted(study), kwargs=study.input_kwargs)


def _wanted(study: Study) -> Wanted:
    """How much of the data is measured, and which part of it here."""
    from resnet_viz.measuring.processes.distributed import our_part
    from resnet_viz.sources.feeds import Wanted

    rank, world = our_part()
    return Wanted(
        batches=study.batches,
        batch_size=study.batch_size,
        seed=study.seed,
        rank=rank,
        world=world,
    )


def traced_batch(
    study: Study, loaded: Loaded, feed: Feed | None = None
) -> tuple[Batch, tuple[InputSpec, ...], str]:
    """The inputs to trace with, the specs they follow (if any), and words for them.

    Args:
        study: What is asked.
        loaded: The model.
        feed: ``given_feed``, where it is at hand.
    """
    from resnet_viz.sources import batches

    _one_source(study)
    model, kwargs = loaded.model, study.input_kwargs
    if study.input_data is not None:
        batch = batches.given_batch(study.input_data, model, kwargs)
    elif study.input_files:
        from resnet_viz.sources.input_files import file_batch

        batch = file_batch(study.input_files, model, kwargs)
    elif study.inputs_from:
        from resnet_viz.sources.input_functions import function_batch

        batch = function_batch(
            study.inputs_from, model, batch_size=study.batch_size, seed=study.seed, kwargs=kwargs
        )
    elif loaded.example is not None and not study.inputs and not _traces_data(study):
        batch = replace(loaded.example, kwargs={**loaded.example.kwargs, **kwargs})
    elif _traces_data(study):
        feed = feed or given_feed(study, loaded)
        assert feed is not None
        batch = next(feed.batches())
    else:
        specs, words, was_given = batches.input_specs(loaded, study.inputs, kwargs)
        batch = batches.made_batch(
            loaded, specs, seed=study.seed, was_given=was_given, kwargs=kwargs
        )
        return batch, specs, words
    return batch, (), batch.words


def _one_source(study: Study) -> None:
    given = {
        "--input with sizes (input_size)": study.inputs,
        "input_data": study.input_data is not None,
        "--input-file": study.input_files,
        "--inputs-from": study.inputs_from,
    }
    several = [name for name, is_given in given.items() if is_given]
    if len(several) > 1:
        raise UserError(f"{' and '.join(several)} both say what goes into the model: give one")


def _traces_data(study: Study) -> bool:
    """Whether nothing but the data of gradient flow says what goes into the model."""
    from resnet_viz.sources.feeds import is_code

    return study.data is not None and is_code(study.data) and not study.inputs


def loss_of(study: Study) -> LossFunction | None:
    """The loss that was asked for, if any."""
    if isinstance(study.loss_fn, str):
        from resnet_viz.sources.loss_functions import find_loss

        return find_loss(study.loss_fn)
    return study.loss_fn


def optimizer_of(study: Study, loaded: Loaded) -> torch.optim.Optimizer | None:
    """The optimizer whose step is measured, over the loaded model's parameters, if any."""
    if isinstance(study.optimizer, str):
        from resnet_viz.sources.optimizers import find_optimizer

        return find_optimizer(study.optimizer, (loaded.sharded or loaded.model).parameters())
    if study.optimizer is not None and not hasattr(study.optimizer, "param_groups"):
        raise UserError(
            f"optimizer={study.optimizer!r:.60} was given: give a torch optimizer, or text such as "
            "adamw:lr=1e-3"
        )
    return study.optimizer


def gradient_batches(
    study: Study,
    loaded: Loaded,
    batch: Batch,
    specs: tuple[InputSpec, ...],
    feed: Feed | None = None,
) -> Callable[[], Iterator[Batch]]:
    """Makes the batches of gradient flow, in turn: of the data given, else like what was traced.

    Args:
        study: What is asked.
        loaded: The model.
        batch: What was traced.
        specs: That it follows, if any.
        feed: ``given_feed``, if any.

    Raises:
        UserError: If the data do not suit the model.
    """
    from resnet_viz.sources import feeds

    if feed is not None:
        return feed.batches
    wanted = _wanted(study)
    # Inputs that somebody chose are not exchanged for the model's own.
    data = study.data if study.data is not None or batch.was_given else loaded.data
    if data and data != "random":
        return feeds.image_feed(data, loaded, batch, wanted, data_dir=study.data_dir).batches
    if study.data_dir is not None:
        raise UserError("--data-dir goes with --data torchvision:NAME")
    if not specs:
        if study.data is not None:
            raise UserError(
                "--data random draws values for inputs of given sizes: it does not go with inputs "
                "that hold values already; leave one of them out"
            )
        return lambda: iter((batch.filled(),))
    return feeds.made_feed(loaded, specs, batch, wanted).batches


def told_if_short(study: Study, found: Measurement) -> Measurement:
    """The same; a gradient flow over fewer batches than were asked for says so."""
    from resnet_viz.core.gradient_flow import GradientFlow

    if not isinstance(found, GradientFlow) or found.batches >= study.batches * found.ranks:
        return found
    asked, held = (count(n, "batch", "batches") for n in (study.batches, found.batches))
    note = (
        say("{asked} were asked for on each of {n} processes; the data gave {held}.",
            asked=asked, held=held, n=found.ranks)
        if found.ranks > 1
        else say("{asked} were asked for; the data gave {held}.", asked=asked, held=held)
    )  # fmt: skip
    return replace(found, notes=(*found.notes, note))


def explained(
    study: Study,
    loaded: Loaded,
    batch: Batch,
    specs: tuple[InputSpec, ...],
    feed: Feed | None = None,
) -> Explained:
    """What attributions explain.

    Photographs where they are given or the input is an image; else the first images of the
    data, where those are given; else what was traced. Relevance is measured over all the data.

    Args:
        study: What is asked.
        loaded: The model.
        batch: What was traced.
        specs: That it follows, if any.
        feed: ``given_feed``, if any.

    Raises:
        UserError: If a photograph or the data cannot be read, or the model takes none.
    """
    from resnet_viz.sources.shown_inputs import first_samples, with_pictures

    given = study.data is not None and study.data != "random"
    batches = gradient_batches(study, loaded, batch, specs, feed) if given else None
    if given and not study.images:
        assert batches is not None
        first = first_samples(next(batches()))
        return Explained(samples=with_pictures(first, loaded), batches=batches)
    return Explained(samples=samples(study, loaded, batch, specs), batches=batches)


def samples(study: Study, loaded: Loaded, batch: Batch, specs: tuple[InputSpec, ...]) -> Batch:
    """What is explained: photographs where the input is an image, else what was traced.

    Args:
        study: What is asked.
        loaded: The model.
        batch: What was traced.
        specs: That it follows, if any.

    Raises:
        UserError: If a photograph cannot be read, or the model takes none.
    """
    from resnet_viz.sources import batches

    # One channel may as well be a spectrogram: no photograph for that unless somebody says so.
    pictured = study.images or loaded.images or (specs and specs[0].shape[1:2] == (3,))
    if pictured and batches.takes_photographs(specs):
        shown = batches.photographs(
            loaded,
            specs[0],
            study.images,
            size=study.image_size,
            mean=study.mean,
            std=study.std,
        )
        return replace(shown, kwargs={**shown.kwargs, **study.input_kwargs})
    if study.images:
        taken = ", ".join(map(str, specs)) or "the inputs given"
        raise UserError(
            f"--image needs a model with one image input of 3 channels or 1; this one takes {taken}"
        )
    if batch.fill is not None:
        return batch.filled()  # seeded noise makes no picture
    from resnet_viz.sources.shown_inputs import with_pictures

    return with_pictures(batch, loaded)
