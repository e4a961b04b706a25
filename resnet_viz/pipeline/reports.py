"""What a person reads: ``rv.report``, ``rv.compare``, ``rv.attribute`` and ``rv.render``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, cast

from resnet_viz.core.attribution_options import DEFAULT_METHODS, NAMES
from resnet_viz.core.display import Savable
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.pipeline.checking import expect
from resnet_viz.study import Study, analyse, compared, sized, study_of

if TYPE_CHECKING:
    from torch import nn

    from resnet_viz.core.attribution import Attributions
    from resnet_viz.core.comparison import Comparison
    from resnet_viz.study.sizes import Dtypes, InputSize


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
        **options: Any other attribute of ``Study``, or of ``AttributionOptions``.

    Raises:
        TraceError: If ``forward`` raises; ``.report`` shows what ran until then, with the
            failing op in red, and saves itself like any other report.
        ResnetVizError: In one line, for whatever a user can cause.
    """
    return analyse(study_of(model, inputs=sized(input_size, dtypes), **options), progress)


def compare(
    a: nn.Module | str,
    b: nn.Module | str,
    *,
    input_size: InputSize | None = None,
    dtypes: Dtypes | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> Comparison:
    """Two models side by side: structure, costs, gradient flow and findings, matched by block.

    Args:
        a: A module, or text as ``load`` takes it.
        b: Likewise.
        input_size: Shape of the inputs of both, as ``trace`` takes it.
        dtypes: Of these inputs.
        progress: Who listens.
        **options: Any other attribute of ``Study``; both models get the same.

    Raises:
        ResnetVizError: In one line, for whatever a user can cause.
    """
    options.setdefault("sections", ("gradient flow",))
    inputs = sized(input_size, dtypes)
    first = study_of(a, inputs=inputs, **options)
    return compared(first, replace(first, model=b), progress)


def attribute(
    model: nn.Module | str,
    inputs: Any = None,
    *,
    input_size: InputSize | None = None,
    dtypes: Dtypes | None = None,
    method: str | Sequence[str] = DEFAULT_METHODS,
    relevance: bool = False,
    stages: bool = False,
    device: str | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
    **options: Any,
) -> Attributions:
    """What each part of the inputs contributes to the output, by Captum's methods.

    ``result["integrated_gradients"]`` are the maps of a method, by input;
    ``result.arrays("integrated_gradients")["x"]`` is what captum gave.

    Args:
        model: Left as it came; runs in eval mode.
        inputs: What ``trace`` takes as ``input_data``.
        input_size: Shape of seeded inputs instead, as ``trace`` takes it.
        dtypes: Of these inputs.
        method: One or more names of ``measuring.attributions.methods.METHODS``.
        relevance: Whether to measure the relevance of every block and branch, too.
        stages: Whether to look at what each depth sees, too.
        device: Where to run; where the model is if ``None``.
        seed: Of methods that draw.
        progress: Who listens.
        **options: Captum's arguments and all others of ``AttributionOptions`` (``target``,
            ``layer``, ``n_steps``, ``baselines``, ``stdevs``, ``trust``, …); any other of
            ``Study`` (``images``, ``data``, ``weights``, …); the rest goes to ``forward``.

    Raises:
        UserError: For an unknown method, layer or target.
        NotApplicableError: If none of the methods applies.
    """
    known = {f.name for f in fields(Study)} | NAMES
    mine = {name: value for name, value in options.items() if name in known}
    study = study_of(
        model,
        inputs=sized(input_size, dtypes),
        input_data=inputs,
        input_kwargs={name: value for name, value in options.items() if name not in known},
        methods=(method,) if isinstance(method, str) else tuple(method),
        relevance=relevance,
        stages=stages,
        device=device,
        seed=seed,
        sections=("attributions",),
        **mine,
    )
    return cast("Attributions", analyse(study, progress, tolerant=False).attributions)


def render(value: Savable, format: str = "svg", options: RenderOptions | None = None) -> bytes:
    """A report, an experiment's result or a bare graph (analysed first) as bytes.

    Raises:
        UserError: For an unknown format.
        TypeError: For any other value.
    """
    from resnet_viz import reporting

    expect(value, Savable, "expected a report, a graph or an experiment's result")
    return reporting.render(value, format, options)
