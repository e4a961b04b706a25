"""``analyse``: a study through the rooms, one after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from resnet_viz.core.errors import (
    InputError,
    ModelError,
    NotApplicableError,
    ResnetVizError,
    TraceError,
)
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.message import say
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.report import Measurement, Missing, Provenance, Report, Section
from resnet_viz.study.asked import Study
from resnet_viz.study.feeding import (
    explained,
    given_feed,
    gradient_batches,
    loss_of,
    optimizer_of,
    samples,
    told_if_short,
    traced_batch,
)
from resnet_viz.study.opening import load_model, memory_of, proof_of, traced

if TYPE_CHECKING:
    from resnet_viz.core.batch import Batch
    from resnet_viz.core.structure import Structure
    from resnet_viz.measuring.context import MeasureContext
    from resnet_viz.sources.feeds import Feed
    from resnet_viz.sources.inputs import InputSpec
    from resnet_viz.sources.loading import Loaded


def analyse(study: Study, progress: Progress = SILENT, *, tolerant: bool = True) -> Report:
    """Runs a study through the rooms.

    Args:
        study: What is asked.
        progress: Who listens.
        tolerant: Whether a section that cannot apply, or on which the model raises
            (inputs of the tool's choice), is listed with its reason (a report) or
            raised (when it is all that was asked for).

    Raises:
        TraceError: If ``forward`` raised; ``.report`` shows what ran until then.
        UnfaithfulError: If the graph was to be verified and is not what the model does.
        ResnetVizError: For whatever else a user can cause; where the model raised while
            it was measured, ``.report`` holds everything but what was lost.
    """
    from resnet_viz.analysis import annotate
    from resnet_viz.analysis.diagnose import diagnose

    ended: ResnetVizError | None = None
    progress.start(f"loading {study.model if isinstance(study.model, str) else 'the model'}")
    loaded = load_model(study)
    with loaded.running():
        feed = given_feed(study, loaded)
        batch, specs, words = traced_batch(study, loaded, feed)
        progress.start("tracing")
        try:
            loaded, graph = traced(study, loaded, batch, False)
        except TraceError as error:
            if error.graph is None:
                raise
            graph, ended = error.graph, error
        proof = memory = None
        if ended is None:
            if study.verify:
                progress.start("replaying the trace op by op")
                proof = proof_of(graph, loaded, batch)
            progress.start("finding what the backward keeps")
            memory = memory_of(study, loaded, batch)
        progress.start("finding skip paths and blocks")
        structure = annotate(graph, memory)
        found: tuple[Measurement, ...] = ()
        missing, device = _unmeasured(study, graph), ""
        if ended is None:
            found, missing, device, ended = _measure(
                study, loaded, graph, structure, batch, specs, feed, progress, tolerant
            )
    findings = diagnose(graph, structure, found, study.thresholds)
    progress.finish()
    made = Report(
        graph=graph,
        structure=structure,
        measurements=found,
        missing=missing,
        findings=findings,
        provenance=_provenance(study, loaded, words, device),
        proof=proof,
    )
    if ended is not None:
        ended.report = made
        raise ended
    return made


def _unmeasured(study: Study, graph: ModelGraph) -> tuple[Missing, ...]:
    """Why nothing was measured, where ``forward`` raised."""
    if graph.failure is None:
        return ()
    reason = say("Not measured: forward raised {place}.", place=graph.failure.place)
    return tuple(Missing(section=section, reason=reason) for section in study.measured)


def _measure(
    study: Study,
    loaded: Loaded,
    graph: ModelGraph,
    structure: Structure,
    batch: Batch,
    specs: tuple[InputSpec, ...],
    feed: Feed | None,
    progress: Progress,
    tolerant: bool,
) -> tuple[tuple[Measurement, ...], tuple[Missing, ...], str, ResnetVizError | None]:
    """What was measured, what is missing, on what, and the error to end with, if any."""
    if not study.measured:
        return (), (), "", None
    reason = f"{loaded.name} cannot be measured: {loaded.why_hollow()}"
    if loaded.why_hollow() and loaded.sharded is None:
        if not tolerant:
            raise NotApplicableError(reason)
        return (), tuple(Missing(section=s, reason=reason) for s in study.measured), "", None
    from resnet_viz.measuring import MEASUREMENTS
    from resnet_viz.measuring.context import MeasureContext
    from resnet_viz.measuring.device import model_device, pick_device
    from resnet_viz.measuring.processes.distributed import our_part
    from resnet_viz.sources.target_texts import with_target

    model = loaded.model if loaded.sharded is None else loaded.sharded
    device = pick_device(study.device) if study.device else model_device(model)
    if isinstance(study.model, str):
        # Nobody else holds this model: it may move for good.
        loaded.model.to(device)
    context = MeasureContext(
        model=model,
        graph=graph,
        structure=structure,
        batches=lambda: iter((batch,)),
        samples=batch,
        loss_fn=loss_of(study),
        mode=study.mode,
        stats=study.stats,
        autocast=study.autocast,
        optimizer=optimizer_of(study, loaded),
        replicated=loaded.replicated,
        path_draws=study.path_draws,
        sampled_lengths=study.sampled_lengths,
        chunk=study.chunk,
        probes=study.probes,
        steps=study.steps,
        jacobian_samples=study.jacobian_samples,
        block_spectra=study.block_spectra,
        attribution=with_target(study.attribution),
        labels=loaded.labels,
        device=device,
        seed=study.seed,
        note=_note(loaded.weights_note),
        progress=progress,
    )
    if study.images and "attributions" in study.measured:
        # A picture that cannot be read is said before the minutes of gradient flow.
        samples(study, loaded, batch, specs)
    found: list[Measurement] = []
    missing: list[Missing] = []
    ended: ResnetVizError | None = None
    for section in study.measured:
        if our_part()[0] and not _together(study, section):
            continue  # what the processes do not measure together, the first one does
        try:
            if section != "gradient flow" and loaded.sharded is not None:
                raise NotApplicableError(reason)
            if section == "op times":
                found.append(MEASUREMENTS[section](replace(context, samples=batch)))
                continue
            if section != "attributions":
                batches = gradient_batches(study, loaded, batch, specs, feed)
                context = replace(context, batches=batches)
            else:
                context = _explaining(context, study, loaded, batch, specs, feed)
            found.append(told_if_short(study, MEASUREMENTS[section](context)))
        except (NotApplicableError, ModelError, InputError) as error:
            # A detector traces in eval mode and refuses to train without boxes.
            if isinstance(error, NotApplicableError) and not tolerant:
                raise
            missing.append(Missing(section=section, reason=str(error)))
            if isinstance(error, InputError) or not tolerant:
                ended = ended or error
    return tuple(found), tuple(missing), str(device), ended


def _together(study: Study, section: Section) -> bool:
    """Whether several processes measure a section together."""
    averaged = study.data is not None and study.data != "random" and study.attribution.relevance
    return section == "gradient flow" or (section == "attributions" and averaged)


def _explaining(
    context: MeasureContext,
    study: Study,
    loaded: Loaded,
    batch: Batch,
    specs: tuple[InputSpec, ...],
    feed: Feed | None,
) -> MeasureContext:
    """The context of attributions: their samples, and the data that relevance is averaged over."""
    found = explained(study, loaded, batch, specs, feed)
    if found.batches is None:
        return replace(context, samples=found.samples)
    return replace(context, samples=found.samples, batches=found.batches, data_given=True)


def _note(weights: str) -> str:
    """What a reader of attributions must know of the weights; see ``Loaded.weights_note``."""
    if not weights.startswith("random"):
        return ""
    if weights == "random":
        return say(
            "The weights are random: these maps show what the architecture alone does, nothing "
            "learned."
        )
    return say(
        "The weights are {weights}; where they are, these maps show what the architecture alone "
        "does, nothing learned.",
        weights=weights,
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
