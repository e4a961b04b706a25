"""What ``import resnet_viz as rv`` offers: each verb is a study of one model.

Each function takes plain values and gives plain values; torch loads when the
first of them is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from resnet_viz.core.display import Savable
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.study import (
    METHODS,
    Mode,
    Study,
    analyse,
    inputs_of,
    lesions_of,
    load_model,
    sized,
    traced,
    traced_batch,
    verify_batch,
)

if TYPE_CHECKING:
    from torch import nn

    from resnet_viz.analysis.rules import Thresholds
    from resnet_viz.core.experiments.lesions import LesionStudy
    from resnet_viz.core.measurement import Attributions, GradientFlow
    from resnet_viz.core.proof import Proof
    from resnet_viz.core.structure import Costs, Memory, Structure
    from resnet_viz.measuring.losses import LossFunction
    from resnet_viz.sources.family.net_config import NetConfig
    from resnet_viz.sources.loading import Loaded
    from resnet_viz.study.sizes import Dtypes, InputSize

_WANTED = "expected a ModelGraph, as rv.trace(model) makes it"


def build(net: str | NetConfig, **changes: Any) -> nn.Module:
    """A variant by name, e.g. ``build("plain56", activation="sigmoid", norm="none")``.

    Args:
        net: A name that ``resnet-viz models`` lists, or a config.
        **changes: Options of the config to set otherwise.

    Raises:
        UserError: For an unknown name or option, with near misses.
    """
    from resnet_viz.sources.variants import build as build_variant

    return build_variant(net, **changes)


def load(
    text: str,
    *,
    args: Mapping[str, Any] | None = None,
    weights: str | None = None,
    seed: int = 0,
    unsafe_load: bool = False,
    trust_remote_code: bool = False,
) -> Loaded:
    """A model from what a person types, with what is known about it.

    Args:
        text: ``resnet50``, ``torchvision:NAME``, ``timm:NAME``, ``hf:PATH_OR_ID``,
            ``file.py:Name``, ``pkg.mod:Name`` or ``model.pt2``.
        args: Keyword arguments of the constructor or factory; entries of the config for
            ``hf:``.
        weights: A file, or a tag that torchvision publishes.
        seed: Of the initial weights.
        unsafe_load: Whether files may be unpickled that run code then.
        trust_remote_code: Whether Python code that comes with a ``hf:`` config may run.

    Raises:
        UserError: In one line, for whatever keeps it from loading.
    """
    study = Study(
        model=text,
        args=args or {},
        weights=weights,
        seed=seed,
        unsafe_load=unsafe_load,
        trust_remote_code=trust_remote_code,
    )
    return load_model(study)


def trace(
    model: nn.Module | str,
    *,
    input_size: InputSize | None = None,
    input_data: Any = None,
    dtypes: Dtypes | None = None,
    mode: Mode | None = None,
    name: str = "",
    **kwargs: Any,
) -> ModelGraph:
    """The graph of one forward; the model is left exactly as it came.

    Args:
        model: A module, or text as ``load`` takes it.
        input_size: Shape of the input, batch axis included; a list of shapes, one per
            argument of ``forward``; or a dict of shapes by name.
        input_data: A tensor, a tuple (``*args``) or a dict (``**kwargs``), of any values;
            anything else, a list too, is one argument. Without either, an input that
            suits the model is found.
        dtypes: Of the inputs that ``input_size`` gives: one, or one for each.
        mode: Train or eval mode for this call. If ``None``: the mode the module has;
            eval where ``model`` is text.
        name: What to call the graph.
        **kwargs: More keyword arguments of ``forward``.

    Raises:
        TraceError: If ``forward`` raises; ``.graph`` holds what ran until then.
        UserError: If no input is given and none can be found.
    """
    study = Study(
        model=model,
        name=name,
        inputs=sized(input_size, dtypes),
        input_data=input_data,
        input_kwargs=kwargs,
        sections=(),
    )
    loaded = load_model(study)
    with loaded.running():
        batch, _, _ = traced_batch(study, loaded)
        own_mode = mode is None and not isinstance(model, str)
        return traced(study, loaded, batch, None if own_mode else mode == "train")[1]


def verify(
    graph: ModelGraph,
    model: nn.Module | str,
    *,
    input_size: InputSize | None = None,
    input_data: Any = None,
    dtypes: Dtypes | None = None,
    mode: Mode | None = None,
    **kwargs: Any,
) -> Proof:
    """The proof that ``graph`` is what one forward of ``model`` does, without gradients.

    The model is traced again for real and must give this graph; its calls are replayed
    one by one without the model, and must give the bits of a plain forward, on this input
    and on other values of it; every kernel of that forward must belong to a recorded call;
    edges are found again from memory, and parameters and MACs are added up again. What
    ``torch.compile`` has wrapped runs as Python; on CUDA algorithms are deterministic.

    Args:
        graph: As ``trace`` gave it, or read from JSON.
        model: Left exactly as it came, whatever happens.
        input_size: As ``trace`` takes it; must be as it was for the graph. If neither it nor
            ``input_data`` is given: what the graph says of its inputs.
        input_data: As ``trace`` takes it.
        dtypes: Of the inputs that ``input_size`` gives.
        mode: As ``trace`` takes it.
        **kwargs: More keyword arguments of ``forward``.

    Raises:
        UnfaithfulError: If the graph is not what the model does, naming the op.
        UnprovableError: If no replay can follow the forward: Python reads values of
            tensors, draws random numbers outside torch, or the model is on meta.
        TraceError: If ``forward`` raises.
    """
    _expect(graph, ModelGraph, _WANTED)
    study = Study(
        model=model,
        name=graph.name,
        inputs=sized(input_size, dtypes) or (() if input_data is not None else inputs_of(graph)),
        input_data=input_data,
        input_kwargs=kwargs,
        verify=True,
    )
    loaded = load_model(study)
    with loaded.running():
        batch, _, _ = traced_batch(study, loaded)
        own_mode = mode is None and not isinstance(model, str)
        return verify_batch(graph, loaded, batch, None if own_mode else mode == "train")


def annotate(graph: ModelGraph, memory: Memory | None = None) -> Structure:
    """Skips, blocks, stages and costs of a graph.

    Args:
        graph: What ran.
        memory: What the backward keeps, as ``measure_costs`` finds it; without it the
            costs say nothing of training.
    """
    from resnet_viz import analysis

    _expect(graph, ModelGraph, _WANTED)
    return analysis.annotate(graph, memory)


def measure_costs(
    model: nn.Module | str,
    *,
    input_size: InputSize | None = None,
    input_data: Any = None,
    dtypes: Dtypes | None = None,
    mode: Mode | None = None,
    **kwargs: Any,
) -> Costs:
    """What one forward and one backward cost: parameters, MACs, bytes and peaks of memory.

    Per call, module, block, stage and kind of op. Nothing is computed and no memory
    taken wherever the model runs on meta. MACs and activations are those of a forward in
    eval mode; what the backward keeps, and the peak of training, are those of ``mode``.

    Args:
        model: Left exactly as it came.
        input_size: As ``trace`` takes it; costs are those of this batch size.
        input_data: As ``trace`` takes it.
        dtypes: Of the inputs that ``input_size`` gives.
        mode: Train or eval mode of the backward; the mode the model has if ``None``.
        **kwargs: More keyword arguments of ``forward``.

    Raises:
        TraceError: If ``forward`` raises.
        UserError: If no input is given and none can be found.
    """
    study = Study(
        model=model,
        inputs=sized(input_size, dtypes),
        input_data=input_data,
        input_kwargs=kwargs,
        mode=mode,
        sections=(),
    )
    return analyse(study).structure.costs


def gradient_flow(
    model: nn.Module | str,
    data: Any = None,
    loss_fn: LossFunction | None = None,
    *,
    input_size: InputSize | None = None,
    dtypes: Dtypes | None = None,
    mode: Mode | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    thresholds: Thresholds | None = None,
    **kwargs: Any,
) -> GradientFlow:
    """Where the gradient of one batch goes, with findings.

    Args:
        model: Left as it came: mode, parameters, buffers, ``.grad``, hooks, RNG.
        data: A tuple ``(inputs, targets)``: one batch; or any other iterable of such
            tuples, whose first is taken, shuffled by ``seed`` where it shuffles.
            ``inputs`` are what ``trace`` takes as ``input_data``; a dict or a tensor in
            place of a tuple is inputs without targets. Without it seeded N(0, 1) inputs
            and random labels.
        loss_fn: ``loss_fn(outputs, targets)``; the rule of ``measuring.losses``
            without one. The loss is named in the result.
        input_size: Shape of the inputs where there are no data, as ``trace`` takes it.
        dtypes: Of these inputs.
        mode: Train or eval mode; the mode the model has if ``None``.
        device: Where to run; where the model is if ``None``.
        batch_size: Samples where there are no data; 8 if ``None``.
        seed: Of inputs, labels and dropout.
        thresholds: When to speak of vanishing, exploding and starving, as in
            ``rv.Thresholds(depth_factor=1.1)``.
        **kwargs: More keyword arguments of ``forward``.

    Raises:
        UserError: If batch norm refuses the batch or nothing can be differentiated.
        ModelError: If ``forward`` or ``backward`` raises.
    """
    study = Study(
        model=model,
        data=data,
        loss_fn=loss_fn,
        inputs=sized(input_size, dtypes),
        input_kwargs=kwargs,
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
    input_size: InputSize | None = None,
    dtypes: Dtypes | None = None,
    target: int | str | None = None,
    method: str | Sequence[str] = METHODS,
    layer: str = "auto",
    n_steps: int = 50,
    device: str | None = None,
    seed: int = 0,
    **kwargs: Any,
) -> Attributions:
    """What each part of the inputs contributes to the output, by Captum's methods.

    Args:
        model: Left as it came; runs in eval mode.
        inputs: What ``trace`` takes as ``input_data``.
        input_size: Shape of seeded inputs instead, as ``trace`` takes it.
        dtypes: Of these inputs.
        target: Class index; the strongest class of each sample if ``None``.
        method: One or more names of ``measuring.methods.METHODS``.
        layer: For methods that look at a layer: a module path, or ``auto``.
        n_steps: Steps of path methods.
        device: Where to run; where the model is if ``None``.
        seed: Of methods that draw.
        **kwargs: More keyword arguments of ``forward``.

    Raises:
        UserError: For an unknown method, layer or target.
    """
    study = Study(
        model=model,
        inputs=sized(input_size, dtypes),
        input_data=inputs,
        input_kwargs=kwargs,
        target=target,
        methods=(method,) if isinstance(method, str) else tuple(method),
        layer=layer,
        n_steps=n_steps,
        device=device,
        seed=seed,
        sections=("attributions",),
    )
    return cast("Attributions", analyse(study, tolerant=False).attributions)


def lesion_study(
    model: nn.Module | str,
    data: Any,
    *,
    classes: int | None = None,
    counts: Sequence[int] = (2, 5, 10, 15),
    draws: int = 3,
    permutations: Sequence[float] = (0.95, 0.9, 0.8, 0.6),
    seed: int = 0,
    name: str = "",
    data_name: str = "",
    progress: Progress = SILENT,
) -> LesionStudy:
    """Loss and error of a classifier with blocks deleted or permuted at test time.

    Args:
        model: Left exactly as it came; runs in eval mode, where it is.
        data: ``(inputs, targets)``, or an iterable of such batches, all of which are used.
        classes: Number of classes; as many as there are logits if ``None``.
        counts: How many blocks to delete at once.
        draws: Random choices of each count and each tau.
        permutations: Kendall's tau of the orders to try.
        seed: Of the choices.
        name: What to call the net.
        data_name: What the data are, in words.
        progress: Who listens.

    Raises:
        UserError: If the data are no batches of inputs and class numbers.
        NotApplicableError: If the net gives no logits or has no block to delete.
        ModelError: If ``forward`` raises.
    """
    return lesions_of(
        Study(model=model, name=name, seed=seed, sections=()),
        data,
        classes=classes,
        counts=counts,
        draws=draws,
        permutations=permutations,
        data_name=data_name,
        progress=progress,
    )


def report(
    model: nn.Module | str,
    *,
    input_size: InputSize | None = None,
    dtypes: Dtypes | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> Report:
    """Everything about one model: structure, costs, gradient flow, attributions, findings.

    Args:
        model: A module, or text as ``load`` takes it.
        input_size: Shape of the inputs, as ``trace`` takes it.
        dtypes: Of these inputs.
        progress: Who listens.
        **options: Any other attribute of ``Study``.

    Raises:
        TraceError: If ``forward`` raises; ``.report`` shows what ran until then, with the
            failing op in red, and saves itself like any other report.
        ResnetVizError: In one line, for whatever a user can cause.
    """
    return analyse(Study(model=model, inputs=sized(input_size, dtypes), **options), progress)


def render(
    value: Savable | ModelGraph, format: str = "svg", options: RenderOptions | None = None
) -> bytes:
    """A report, an experiment's result or a bare graph (analysed first) as bytes.

    Raises:
        UserError: For an unknown format.
        TypeError: For any other value.
    """
    from resnet_viz import reporting

    _expect(value, (Savable, ModelGraph), "expected a report, a graph or an experiment's result")
    if isinstance(value, ModelGraph):
        value = Report(graph=value, structure=annotate(value))
    return reporting.render(value, format, options)


def _expect(value: object, kind: type | tuple[type, ...], wanted: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{wanted}, not {type(value).__name__}")
