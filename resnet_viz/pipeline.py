"""What ``import resnet_viz as rv`` offers: each verb is a study of one model.

Each function takes plain values and gives plain values; torch loads when the
first of them is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.study import METHODS, Mode, Study, analyse, load_model, trace_batch, traced_batch

if TYPE_CHECKING:
    from torch import nn

    from resnet_viz.analysis.rules import Thresholds
    from resnet_viz.core.measurement import Attributions, GradientFlow
    from resnet_viz.core.structure import Structure
    from resnet_viz.measuring.losses import LossFunction
    from resnet_viz.sources.inputs import InputSpec
    from resnet_viz.sources.loading import Loaded


def build(name: str, **changes: Any) -> nn.Module:
    """A variant by name, e.g. ``build("plain56", activation="sigmoid", norm="none")``.

    Raises:
        UserError: For an unknown name or option, with near misses.
    """
    from resnet_viz.sources.variants import build as build_variant

    return build_variant(name, **changes)


def load(
    text: str, *, args: Mapping[str, Any] | None = None, weights: str | None = None, seed: int = 0
) -> Loaded:
    """A model from what a person types, with what is known about it.

    Args:
        text: ``resnet50``, ``torchvision:NAME``, ``timm:NAME``, ``file.py:Name`` or
            ``pkg.mod:Name``.
        args: Keyword arguments of the constructor or factory.
        weights: A file, or a tag that torchvision publishes.
        seed: Of the initial weights.

    Raises:
        UserError: In one line, for whatever keeps it from loading.
    """
    return load_model(Study(model=text, args=args or {}, weights=weights, seed=seed))


def trace(
    model: nn.Module | str,
    *,
    input_size: Sequence[int] | None = None,
    input_data: Any = None,
    mode: Mode | None = None,
    name: str = "",
    **kwargs: Any,
) -> ModelGraph:
    """The graph of one forward; the model is left exactly as it came.

    Args:
        model: A module, or text as ``load`` takes it.
        input_size: Shape of one float input, batch axis included.
        input_data: A tensor, a tuple (``*args``) or a dict (``**kwargs``). Without
            either, an input that suits the model is found.
        mode: Train or eval mode for this call. If ``None``: the mode the module has;
            eval where ``model`` is text.
        name: What to call the graph.
        **kwargs: More keyword arguments of ``forward``.

    Raises:
        TraceError: If ``forward`` raises; ``.graph`` holds what ran until then.
        UserError: If no input is given and none can be found.
    """
    study = Study(model=model, name=name, inputs=_sized(input_size), input_data=input_data)
    loaded = load_model(study)
    with loaded.running():
        batch, _, _ = traced_batch(study, loaded)
        batch = replace(batch, kwargs={**batch.kwargs, **kwargs})
        own_mode = mode is None and not isinstance(model, str)
        return trace_batch(loaded, batch, None if own_mode else mode == "train")


def annotate(graph: ModelGraph) -> Structure:
    """Skips, blocks, stages and costs of a graph."""
    from resnet_viz import analysis

    return analysis.annotate(graph)


def gradient_flow(
    model: nn.Module | str,
    data: Any = None,
    loss_fn: LossFunction | None = None,
    *,
    input_size: Sequence[int] | None = None,
    mode: Mode | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    thresholds: Thresholds | None = None,
) -> GradientFlow:
    """Where the gradient of one batch goes, with findings.

    Args:
        model: Left as it came: mode, parameters, buffers, ``.grad``, hooks, RNG.
        data: A tuple ``(inputs, targets)``: one batch; or any other iterable of such
            tuples, whose first is taken, shuffled by ``seed`` where it shuffles. Without
            it seeded N(0, 1) inputs and random labels.
        loss_fn: ``loss_fn(outputs, targets)``; the rule of ``measuring.losses``
            without one. The loss is named in the result.
        input_size: Shape of one input where there are no data.
        mode: Train or eval mode; the mode the model has if ``None``.
        device: Where to run; where the model is if ``None``.
        batch_size: Samples where there are no data; 8 if ``None``.
        seed: Of inputs, labels and dropout.
        thresholds: When to speak of vanishing, exploding and starving, as in
            ``rv.Thresholds(depth_factor=1.1)``.

    Raises:
        UserError: If batch norm refuses the batch or nothing can be differentiated.
        ModelError: If ``forward`` or ``backward`` raises.
    """
    study = Study(
        model=model,
        data=data,
        loss_fn=loss_fn,
        inputs=_sized(input_size),
        mode=mode,
        device=device,
        batch_size=batch_size,
        seed=seed,
        thresholds=thresholds,
        sections=("gradient flow",),
    )
    made = analyse(study, tolerant=False)
    flow = cast("GradientFlow", made.gradient_flow)
    return replace(flow, findings=made.findings)


def attribute(
    model: nn.Module | str,
    inputs: Any = None,
    *,
    target: int | str | None = None,
    method: str | Sequence[str] = METHODS,
    layer: str = "auto",
    n_steps: int = 50,
    device: str | None = None,
    seed: int = 0,
) -> Attributions:
    """What each part of the inputs contributes to the output, by Captum's methods.

    Args:
        model: Left as it came; runs in eval mode.
        inputs: A tensor, a tuple (``*args``) or a dict (``**kwargs``).
        target: Class index; the strongest class of each sample if ``None``.
        method: One or more names of ``measuring.methods.METHODS``.
        layer: For methods that look at a layer: a module path, or ``auto``.
        n_steps: Steps of path methods.
        device: Where to run; where the model is if ``None``.
        seed: Of methods that draw.

    Raises:
        UserError: For an unknown method, layer or target.
    """
    study = Study(
        model=model,
        input_data=inputs,
        target=target,
        methods=(method,) if isinstance(method, str) else tuple(method),
        layer=layer,
        n_steps=n_steps,
        device=device,
        seed=seed,
        sections=("attributions",),
    )
    return cast("Attributions", analyse(study, tolerant=False).attributions)


def report(
    model: nn.Module | str,
    *,
    input_size: Sequence[int] | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> Report:
    """Everything about one model: structure, costs, gradient flow, attributions, findings.

    Args:
        model: A module, or text as ``load`` takes it.
        input_size: Shape of one float input, batch axis included.
        progress: Who listens.
        **options: Any other attribute of ``Study``.

    Raises:
        ResnetVizError: In one line, for whatever a user can cause.
    """
    return analyse(Study(model=model, inputs=_sized(input_size), **options), progress)


def render(
    value: Report | ModelGraph, format: str = "svg", options: RenderOptions | None = None
) -> bytes:
    """A report, or a bare graph (analysed first, so that it has its skips), as bytes.

    Raises:
        UserError: For an unknown format.
        TypeError: For any other value.
    """
    from resnet_viz import reporting

    if isinstance(value, ModelGraph):
        value = Report(graph=value, structure=annotate(value))
    elif not isinstance(value, Report):
        raise TypeError(f"expected a Report or a ModelGraph, not {type(value).__name__}")
    return reporting.render(value, format, options)


def _sized(input_size: Sequence[int] | None) -> tuple[InputSpec, ...]:
    if input_size is None:
        return ()
    from resnet_viz.sources.inputs import InputSpec

    return (InputSpec(shape=tuple(input_size)),)
