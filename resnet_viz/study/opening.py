"""The model of a study, its graph, and what is measured of the graph itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resnet_viz.core.errors import TraceError, UnprovableError
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.proof import Proof
from resnet_viz.study.asked import Study

if TYPE_CHECKING:
    from resnet_viz.core.batch import Batch
    from resnet_viz.core.structure import Memory
    from resnet_viz.sources.loading import Loaded


def load_model(study: Study) -> Loaded:
    """The study's model, and what is known about it.

    Raises:
        UserError: If there is no such model, or the names of its classes cannot be read.
    """
    loaded = _loaded(study)
    if not study.labels:
        return loaded
    from resnet_viz.sources.labels import read_labels

    given = study.labels
    return replace(loaded, labels=read_labels(given) if isinstance(given, str) else tuple(given))


def _loaded(study: Study) -> Loaded:
    from resnet_viz.sources import loading

    if not isinstance(study.model, str):
        return loading.given(study.model, study.name)
    # What is only traced needs no memory; whoever asks for weights wants to know if they fit.
    needed = study.measured or study.weights is not None or study.verify
    spared = study.model.startswith("hf:") and not needed
    spec = loading.ModelSpec(
        text=study.model,
        args=tuple(study.args.items()),
        weights=study.weights,
        unsafe_load=study.unsafe_load,
        trust_remote_code=study.trust_remote_code,
        meta=study.device == "meta" or (spared and study.device in (None, "auto")),
    )
    loaded = loading.load(spec, seed=study.seed)
    return replace(loaded, name=study.name or loaded.name)


def trace_batch(loaded: Loaded, batch: Batch, training: bool | None) -> ModelGraph:
    """The graph of one forward on this batch."""
    from resnet_viz.measuring.device import model_device
    from resnet_viz.tracing.tracer import trace_model
    from resnet_viz.tracing.trees import on_device

    def values() -> tuple[tuple[Any, ...], dict[str, Any]]:
        full = batch.filled()
        given: tuple[tuple[Any, ...], dict[str, Any]] = on_device(
            (full.args, full.kwargs), model_device(loaded.model)
        )
        return given

    return trace_model(
        loaded.model,
        batch.args,
        batch.kwargs,
        name=loaded.name,
        training=training,
        input_was_given=batch.was_given,
        values=None if batch.fill is None else values,
    )


def traced(
    study: Study, loaded: Loaded, batch: Batch, training: bool | None
) -> tuple[Loaded, ModelGraph]:
    """The graph, with what is to be known about the model among its warnings.

    A model that was built without memory unasked is built again with it where its forward
    needs values: the model comes back too.

    Raises:
        TraceError: If ``forward`` raises.
    """
    try:
        graph = trace_batch(loaded, batch, training)
    except TraceError as error:
        spared = isinstance(study.model, str) and study.device != "meta" and loaded.why_hollow()
        if spared:
            loaded = load_model(replace(study, device="cpu"))
            return loaded, trace_batch(loaded, batch, training)
        if error.graph is not None:
            error.graph = replace(error.graph, warnings=(*loaded.notes, *error.graph.warnings))
        raise
    return loaded, replace(graph, warnings=(*loaded.notes, *graph.warnings))


def verify_batch(graph: ModelGraph, loaded: Loaded, batch: Batch, training: bool | None) -> Proof:
    """The proof that the graph is what the model does on this batch; see ``rv.verify``."""
    from resnet_viz.measuring.device import model_device
    from resnet_viz.tracing.proving.steps import prove
    from resnet_viz.tracing.trees import on_device

    args, kwargs = batch.args, batch.kwargs
    if batch.fill is not None:
        full = batch.filled()
        args, kwargs = on_device((full.args, full.kwargs), model_device(loaded.model))
    return prove(graph, loaded.model, args, kwargs, training=training)


def proof_of(graph: ModelGraph, loaded: Loaded, batch: Batch) -> Proof:
    """What a report says of its graph: a refusal is an answer, an unfaithful graph is none."""
    try:
        return verify_batch(graph, loaded, batch, False)
    except UnprovableError as error:
        return Proof(verdict="refused", reason=str(error))


def memory_of(study: Study, loaded: Loaded, batch: Batch) -> Memory:
    """What the backward of this batch keeps, in the mode that gradients are measured in."""
    from resnet_viz.tracing.memory import measure_memory

    training = None if study.mode is None else study.mode == "train"
    return measure_memory(loaded.model, batch.args, batch.kwargs, training=training)
