"""A lesion study: any classifier, traced on the first batch, hurt on all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resnet_viz.core.errors import UserError
from resnet_viz.study.asked import Study
from resnet_viz.study.feeding import traced_batch
from resnet_viz.study.opening import load_model, traced

if TYPE_CHECKING:
    from resnet_viz.core.experiments.lesions import LesionStudy


def lesions_of(study: Study, data: Any, **options: Any) -> LesionStudy:
    """What becomes of the model of ``study`` with blocks deleted or permuted.

    Args:
        study: The model, its name, and the seed of the choices.
        data: ``(inputs, targets)``, or an iterable of such batches.
        **options: Of ``measuring.lesions.study.study_lesions``.

    Raises:
        UserError: If the data are no batches of inputs and class numbers.
        NotApplicableError: If the net gives no logits or has no block to delete.
        ModelError: If ``forward`` raises.
    """
    from resnet_viz.analysis import annotate
    from resnet_viz.measuring.lesions.study import study_lesions

    batches = _batches(data)
    study = replace(study, input_data=batches[0][0])
    loaded = load_model(study)
    with loaded.running():
        batch, _, _ = traced_batch(study, loaded)
        loaded, graph = traced(study, loaded, batch, False)
        return study_lesions(
            loaded.model,
            annotate(graph),
            batches,
            seed=study.seed,
            model_name=loaded.name,
            **options,
        )


def _batches(data: Any) -> list[Any]:
    iterable = isinstance(data, Iterable) or hasattr(data, "__getitem__")
    batches = [data] if isinstance(data, tuple) else list(data) if iterable else []
    if batches and all(isinstance(batch, tuple | list) and len(batch) == 2 for batch in batches):
        return batches
    raise UserError(
        "lesion_study needs data with answers: give (inputs, targets), or batches of them"
    )
