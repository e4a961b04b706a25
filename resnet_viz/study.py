"""A study: what is asked of one model, and the five rooms in order that answer it.

sources -> tracing -> analysis -> measuring; what comes out is a ``Report``, which
``reporting`` draws. The command line and every ``rv`` function end here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from resnet_viz.core.errors import ModelError, NotApplicableError, UserError
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.report import Measurement, Missing, Provenance, Report, Section

if TYPE_CHECKING:
    from torch import nn

    from resnet_viz.analysis.rules import Thresholds
    from resnet_viz.core.batch import Batch
    from resnet_viz.core.structure import Structure
    from resnet_viz.measuring.losses import LossFunction
    from resnet_viz.sources.inputs import InputSpec
    from resnet_viz.sources.loading import Loaded

Mode = Literal["train", "eval"]
METHODS = ("integrated_gradients", "saliency", "layer_grad_cam")
BATCH_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """What is asked of one model: the whole of a command line, or of ``rv.report``.

    Attributes:
        model: A module, or text as ``load`` takes it.
        args: Keyword arguments of the constructor or factory.
        weights: A file, or a tag that torchvision publishes.
        name: What to call the model.
        inputs: Specs of the inputs; found if there are none.
        input_data: Real inputs instead: a tensor, a tuple or a dict.
        data: ``(inputs, targets)`` for gradient flow, or an iterable of such pairs.
        loss_fn: ``loss_fn(outputs, targets)``; see ``measuring.losses`` without one.
        images: Photographs to explain; a default one where the input is an image.
        image_size: Side of their crop.
        mean: Of their channels.
        std: Of their channels.
        sections: What to measure.
        mode: Train or eval mode of gradient flow; the model's own if ``None``.
        device: As ``measuring.device.pick_device`` takes it.
        batch_size: Samples of gradient flow where no data are given.
        seed: Of weights, inputs, labels and methods.
        target: Class to explain; the strongest of each sample if ``None``.
        methods: Names of ``measuring.methods.METHODS``.
        layer: For methods that look at a layer: a module path, or ``auto``.
        n_steps: Steps of path methods.
        thresholds: When findings speak.
        command: The command line, where there was one.
        created: ISO date and time, or empty.
    """

    model: nn.Module | str
    args: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    name: str = ""
    inputs: tuple[InputSpec, ...] = ()
    input_data: Any = None
    data: Any = None
    loss_fn: LossFunction | None = None
    images: tuple[Path, ...] = ()
    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    sections: tuple[Section, ...] = ("gradient flow", "attributions")
    mode: Mode | None = None
    device: str | None = None
    batch_size: int | None = None
    seed: int = 0
    target: int | str | None = None
    methods: tuple[str, ...] = METHODS
    layer: str = "auto"
    n_steps: int = 50
    thresholds: Thresholds | None = None
    command: str = ""
    created: str = ""


def analyse(study: Study, progress: Progress = SILENT, *, tolerant: bool = True) -> Report:
    """Runs a study through the rooms.

    Args:
        study: What is asked.
        progress: Who listens.
        tolerant: Whether a section that cannot apply, or on which the model raises
            (inputs of the tool's choice), is listed with its reason (a report) or
            raised (when it is all that was asked for).
    """
    from resnet_viz.analysis import annotate
    from resnet_viz.analysis.diagnose import diagnose

    progress.start(f"loading {study.model if isinstance(study.model, str) else 'the model'}")
    loaded = load_model(study)
    with loaded.running():
        batch, specs, words = traced_batch(study, loaded)
        progress.start("tracing")
        graph = trace_batch(loaded, batch, False)
        progress.start("finding skip paths and blocks")
        structure = annotate(graph)
        found, missing, device = _measure(
            study, loaded, graph, structure, batch, specs, progress, tolerant
        )
    findings = diagnose(graph, structure, found, study.thresholds)
    progress.finish()
    return Report(
        graph=graph,
        structure=structure,
        measurements=found,
        missing=missing,
        findings=findings,
        provenance=_provenance(study, loaded, words, device),
    )


def _measure(
    study: Study,
    loaded: Loaded,
    graph: ModelGraph,
    structure: Structure,
    batch: Batch,
    specs: tuple[InputSpec, ...],
    progress: Progress,
    tolerant: bool,
) -> tuple[tuple[Measurement, ...], tuple[Missing, ...], str]:
    if not study.sections:
        return (), (), ""
    from resnet_viz.measuring import MEASUREMENTS
    from resnet_viz.measuring.context import MeasureContext
    from resnet_viz.measuring.device import model_device, pick_device

    device = pick_device(study.device) if study.device else model_device(loaded.model)
    if isinstance(study.model, str):
        # Nobody else holds this model: it may move for good.
        loaded.model.to(device)
    context = MeasureContext(
        model=loaded.model,
        graph=graph,
        structure=structure,
        batch=batch,
        samples=batch,
        loss_fn=study.loss_fn,
        mode=study.mode,
        target=study.target,
        methods=study.methods,
        layer=study.layer,
        n_steps=study.n_steps,
        device=device,
        seed=study.seed,
        note=_note(loaded.weights_note),
        progress=progress,
    )
    if study.images and "attributions" in study.sections:
        # A picture that cannot be read is said before the minutes of gradient flow.
        context = replace(context, samples=_samples(study, loaded, batch, specs))
    found: list[Measurement] = []
    missing: list[Missing] = []
    for section in study.sections:
        try:
            if section == "gradient flow":
                context = replace(context, batch=_gradient_batch(study, loaded, batch, specs))
            elif not study.images:
                context = replace(context, samples=_samples(study, loaded, batch, specs))
            found.append(MEASUREMENTS[section](context))
        except (NotApplicableError, ModelError) as error:
            # A detector traces in eval mode and refuses to train without boxes.
            if not tolerant:
                raise
            missing.append(Missing(section=section, reason=str(error)))
    return tuple(found), tuple(missing), str(device)


def _note(weights: str) -> str:
    """What a reader of attributions must know of the weights; see ``Loaded.weights_note``."""
    if not weights.startswith("random"):
        return ""
    meaning = "these maps show what the architecture alone does, nothing learned"
    where = ": " if weights == "random" else "; where they are, "
    return f"The weights are {weights}{where}{meaning}."


def load_model(study: Study) -> Loaded:
    """The study's model, and what is known about it."""
    from resnet_viz.sources.loading import Loaded

    if isinstance(study.model, str):
        from resnet_viz.sources import loading

        spec = loading.ModelSpec(
            text=study.model, args=tuple(study.args.items()), weights=study.weights
        )
        loaded = loading.load(spec, seed=study.seed)
        return replace(loaded, name=study.name or loaded.name)
    name = study.name or type(study.model).__name__
    return Loaded(model=study.model, name=name, source="the module given", weights_note="as given")


def traced_batch(study: Study, loaded: Loaded) -> tuple[Batch, tuple[InputSpec, ...], str]:
    """The inputs to trace with, the specs they follow (if any), and words for them."""
    from resnet_viz.sources import batches

    if study.input_data is not None:
        batch = batches.given_batch(study.input_data)
        return batch, (), batch.words
    if study.data is not None:
        batch = batches.first_batch(study.data, seed=study.seed)
        return batch, (), batch.words
    specs, words, was_given = batches.input_specs(loaded, study.inputs)
    batch = batches.made_batch(loaded, specs, seed=study.seed, was_given=was_given)
    return batch, specs, words


def _gradient_batch(
    study: Study, loaded: Loaded, batch: Batch, specs: tuple[InputSpec, ...]
) -> Batch:
    from resnet_viz.sources import batches

    if not specs:
        return batch
    size = study.batch_size
    if size is None and all(spec.shape[spec.batch_axis] == 1 for spec in specs):
        size = BATCH_SIZE
    return batches.made_batch(
        loaded, specs, batch_size=size, seed=study.seed, was_given=batch.was_given
    )


def _samples(study: Study, loaded: Loaded, batch: Batch, specs: tuple[InputSpec, ...]) -> Batch:
    from resnet_viz.sources import batches

    if batches.takes_photographs(specs):
        return batches.photographs(
            loaded,
            specs[0],
            study.images,
            size=study.image_size,
            mean=study.mean,
            std=study.std,
        )
    if study.images:
        taken = ", ".join(map(str, specs)) or "the inputs given"
        raise UserError(
            f"--image needs a model with one 3-channel image input; this one takes {taken}"
        )
    return batch


def trace_batch(loaded: Loaded, batch: Batch, training: bool | None) -> ModelGraph:
    """The graph of one forward on this batch."""
    from resnet_viz.tracing.tracer import trace_model

    return trace_model(
        loaded.model,
        batch.args,
        batch.kwargs,
        name=loaded.name,
        training=training,
        input_was_given=batch.was_given,
    )


def _provenance(study: Study, loaded: Loaded, words: str, device: str) -> Provenance:
    import platform
    from importlib.metadata import version

    from resnet_viz.core.version import __version__

    named = study.model if isinstance(study.model, str) else loaded.name
    return Provenance(
        tool=f"resnet-viz {__version__}",
        model=named if named == loaded.source else f"{named} ({loaded.source})",
        weights=loaded.weights_note,
        input=words,
        device=device,
        seed=study.seed,
        libraries=(
            f"Python {platform.python_version()}",
            *(f"{name} {version(name)}" for name in ("torch", "captum")),
        ),
        command=study.command,
        created=study.created,
    )
