"""What goes into the model: to trace it, to measure its gradients, to explain it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from resnet_viz.core.batch import BATCH_SIZE
from resnet_viz.core.errors import UserError
from resnet_viz.study.asked import Study

if TYPE_CHECKING:
    from resnet_viz.core.batch import Batch
    from resnet_viz.sources.inputs import InputSpec
    from resnet_viz.sources.loading import Loaded


def traced_batch(study: Study, loaded: Loaded) -> tuple[Batch, tuple[InputSpec, ...], str]:
    """The inputs to trace with, the specs they follow (if any), and words for them."""
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
    elif loaded.example is not None and not study.inputs and study.data is None:
        batch = replace(loaded.example, kwargs={**loaded.example.kwargs, **kwargs})
    elif _traces_data(study):
        batch = batches.first_batch(study.data, seed=study.seed, model=model, kwargs=kwargs)
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
    return study.data is not None and not study.inputs


def gradient_batch(
    study: Study, loaded: Loaded, batch: Batch, specs: tuple[InputSpec, ...]
) -> Batch:
    """The batch of gradient flow: the data given, else what was traced, with more samples.

    Args:
        study: What is asked.
        loaded: The model.
        batch: What was traced.
        specs: That it follows, if any.

    Raises:
        UserError: If the data given hold no batch.
    """
    from resnet_viz.sources import batches

    model, kwargs = loaded.model, study.input_kwargs
    if study.data is not None:
        was_traced = study.input_data is None and not study.input_files and not study.inputs_from
        if was_traced and _traces_data(study):
            return batch  # an iterator has no second first batch
        return batches.first_batch(study.data, seed=study.seed, model=model, kwargs=kwargs)
    if not specs:
        return batch.filled()
    size = study.batch_size
    if size is None and all(spec.batch_size == 1 for spec in specs):
        size = BATCH_SIZE
    made = batches.made_batch(
        loaded,
        specs,
        batch_size=size,
        seed=study.seed,
        was_given=batch.was_given,
        kwargs=kwargs,
    )
    return made.filled()


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

    if batches.takes_photographs(specs):
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
            f"--image needs a model with one 3-channel image input; this one takes {taken}"
        )
    return batch.filled()
