"""Which parts of the input moved the output, and how far to trust the answer.

Captum does the work; here it is told what to differentiate, kept from touching the
user's model, and its values are checked: Integrated Gradients must sum to
F(x) − F(x′) (Sundararajan et al. 2017), and the delta says how far they miss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.core.attribution import Attribution, Attributions, Picture
from resnet_viz.core.errors import ModelError, NotApplicableError, UserError, one_line
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import shape as shape_text
from resnet_viz.measuring.attributions.baselines import Baseline, baseline_of
from resnet_viz.measuring.attributions.maps import Completeness, bars_of, heatmap_of, is_image
from resnet_viz.measuring.attributions.methods import METHODS, Method, find_methods
from resnet_viz.measuring.attributions.subject import Subject
from resnet_viz.measuring.attributions.targets import Score, TargetWish, choose_score
from resnet_viz.measuring.device import model_device, placed
from resnet_viz.measuring.layers import check_layer, find_map
from resnet_viz.measuring.lesions.evaluating import evaluating
from resnet_viz.tracing.trees import on_device

__all__ = ["METHODS", "Method", "attribute_inputs"]

_CPU_BUDGET = 200e6
"""Bytes of activations to hold at once. More is slower on a CPU: ResNet-18 at 224 px
takes 5.4 s for 50 steps in tens, 6.7 s one by one and 6.3 s all at once."""


# How autograd says that nothing connects output and input.
_NO_GRADIENT = ("does not require grad", "not have been used in the graph")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What every method of one call shares."""

    subject: Subject
    score: Score
    value: Tensor
    baseline: Baseline
    n_steps: int
    at_once: int
    layer: str
    layer_note: str
    advance: Callable[[], None]

    def forward(self, *tensors: Tensor) -> Tensor:
        """What captum differentiates: a score per row."""
        self.advance()
        return self.score(self.subject(*tensors))


def attribute_inputs(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    graph: ModelGraph,
    structure: Structure,
    target: TargetWish = None,
    methods: Sequence[str] = ("saliency", "integrated_gradients", "layer_grad_cam"),
    layer: str = "auto",
    n_steps: int = 50,
    internal_batch_size: int | None = None,
    baselines: Any = None,
    pictures: Sequence[Picture] = (),
    device: torch.device | None = None,
    progress: Progress = SILENT,
    note: str = "",
    seed: int = 0,
) -> Attributions:
    """Attributions of every sample by every method that applies, in eval mode.

    Images ``(N, C, H, W)`` of 1 to 4 channels get heat maps; other floating inputs get
    bars per feature, step or channel; token ids get bars per token, taken at the output
    of the embedding that reads them.

    Args:
        model: Left as it came: mode, values, ``.grad``, ``requires_grad``, hooks, RNG.
        args: Positional arguments of ``forward``, a batch.
        kwargs: Keyword arguments of ``forward``.
        graph: Trace of the same model with arguments of the same form.
        structure: What was found in it.
        target: Which output to explain; see ``targets.choose_score``.
        methods: Names of ``METHODS``. One that cannot apply is left out, and ``note``
            says why.
        layer: Module path for methods that need one; ``auto`` takes the last map.
        n_steps: Steps from the baseline to the input (Gauss-Legendre).
        internal_batch_size: Rows per forward; chosen from the memory of the
            activations if ``None``, and halved where an accelerator runs out of it.
        baselines: Where integrated gradients start: a number, a tensor like the
            input, one per input, or token ids; zeros (padding tokens) if ``None``.
        pictures: The samples as pictures, for the report.
        device: Where to run; a copy is used if the model lives elsewhere.
        progress: Told about every forward.
        note: What the reader must know first, such as random weights.
        seed: Of whatever the model draws.

    Raises:
        UserError: For an unknown method, layer or target, a baseline that does not fit,
            or a model without values.
        NotApplicableError: If no method applies, the output is not finite, or it does
            not depend on the input through anything differentiable.
        ModelError: If ``forward`` or ``backward`` raises.
    """
    if n_steps < 1 or (internal_batch_size is not None and internal_batch_size < 1):
        raise UserError("n_steps and internal_batch_size must be 1 or more")
    reasons = {m: m.valid_when(graph, structure) for m in find_methods(tuple(methods))}
    runnable = [m for m, reason in reasons.items() if not reason]
    candidates, why_no_layer, layer_note = _layers(model, graph, layer, runnable)
    if why_no_layer:
        reasons |= {m: why_no_layer for m in runnable if m.needs_layer}
        runnable = [m for m in runnable if not m.needs_layer]
    model = placed(model, device)
    here = model_device(model)
    maps: list[Attribution] = []
    if runnable:
        args, kwargs = on_device(args, here), on_device(kwargs or {}, here)
        with evaluating(model, graph, here, seed):
            subject = Subject(model, args, kwargs, graph)
            with subject.watching():
                output = subject.first_run(candidates)
                several = len(graph.outputs) > 1
                score = choose_score(output, target, name=subject.output_name, several=several)
                run = _Run(
                    subject=subject,
                    score=score,
                    value=score(output),
                    baseline=baseline_of(subject, baselines, model),
                    n_steps=n_steps,
                    at_once=internal_batch_size or _rows_at_once(subject, graph, structure, here),
                    layer=_seen_layer(subject, candidates, layer),
                    layer_note=layer_note,
                    advance=progress.advance,
                )
                maps = _all_maps(model, run, runnable, reasons, progress)
    if not maps:
        whys = dict.fromkeys(filter(None, reasons.values()))
        raise NotApplicableError("; ".join(whys) or "no method was asked for")
    left_out = [f"{m.title} is left out: {reason}." for m, reason in reasons.items() if reason]
    return Attributions(
        pictures=tuple(pictures),
        maps=tuple(maps),
        note=" ".join(filter(None, [note, *(t[0].upper() + t[1:] for t in left_out)])),
        device=str(here),
    )


def _all_maps(
    model: nn.Module,
    run: _Run,
    methods: list[Method],
    reasons: dict[Method, str],
    progress: Progress,
) -> list[Attribution]:
    """Sample by sample, each by every method; a method that fails is given a reason."""
    found: dict[Method, tuple[tuple[Tensor, ...], list[Completeness] | None]] = {}
    progress.start("computing attributions", sum(_forwards(run, m) for m in methods))
    try:
        for method in methods:
            if method.needs_layer and (not run.layer or run.subject.axis != 0):
                reasons[method] = "no single module gives the map of one sample"
                continue
            values = _attributed(model, run, method)
            if not all(bool(torch.isfinite(v).all()) for v in values):
                reasons[method] = "its values hold NaN or infinity"
                continue
            found[method] = values, _completeness(run, values) if method.complete else None
    finally:
        progress.finish()
    return [
        attribution
        for i in range(run.subject.samples)
        for method, (values, sums) in found.items()
        for attribution in _shown(run, method, i, values, sums[i] if sums else None)
    ]


def _attributed(model: nn.Module, run: _Run, method: Method) -> tuple[Tensor, ...]:
    """Captum's attributions, one tensor per input of the subject."""
    import captum.attr

    subject = run.subject
    inputs = tuple(t.detach().clone() for t in subject.inputs)
    options: dict[str, Any] = dict(method.options)
    if subject.extras:
        options["additional_forward_args"] = subject.extras
    kind = getattr(captum.attr, method.captum)
    try:
        if method.needs_layer:
            explainer = kind(run.forward, model.get_submodule(run.layer))
            values = explainer.attribute(inputs, **options).detach()
            size = next(tuple(t.shape[2:]) for t in inputs if t.ndim == 4)
            enlarge = captum.attr.LayerAttribution.interpolate
            return (enlarge(values, size, interpolate_mode="bilinear"),)
        if method.needs_baseline:
            return _in_steps(kind(run.forward), run, inputs, options)
        # Captum warns about inputs that it has to switch to requiring a gradient.
        leaves = tuple(t.requires_grad_() for t in inputs)
        return tuple(v.detach() for v in kind(run.forward).attribute(leaves, **options))
    except (RuntimeError, AssertionError) as error:
        if any(words in str(error) for words in _NO_GRADIENT):
            raise NotApplicableError(
                "the output does not depend on the input through anything differentiable"
            ) from error
        raise ModelError(f"{method.title} failed: {one_line(error)}") from error


def _in_steps(
    explainer: Any, run: _Run, inputs: tuple[Tensor, ...], options: dict[str, Any]
) -> tuple[Tensor, ...]:
    """A method that walks from the baseline; fewer rows at once where memory runs out."""
    length = len(inputs[0])
    # A bigger batch is made along axis 0, which is right only if the samples are there.
    rows = max(run.at_once, length) if run.subject.axis == 0 else length
    while True:
        try:
            values = explainer.attribute(
                inputs,
                baselines=run.baseline.tensors,
                n_steps=run.n_steps,
                internal_batch_size=rows,
                **options,
            )
        except torch.OutOfMemoryError:
            if rows <= length:
                raise
            rows = max(rows // 2, length)
            torch.cuda.empty_cache()
        else:
            return tuple(v.detach() for v in values)


def _completeness(run: _Run, values: tuple[Tensor, ...]) -> list[Completeness]:
    """F(x) − F(x′), and what the attributions miss of it, per sample."""
    subject = run.subject
    with torch.no_grad():
        start = run.forward(*run.baseline.tensors, *subject.extras)
    rounding = 16 * torch.finfo(start.dtype).eps
    found = []
    for i, (at_input, at_start) in enumerate(zip(run.value.tolist(), start.tolist(), strict=True)):
        difference = at_input - at_start
        total = sum(float(subject.sample(v, i).cpu().sum(dtype=torch.float64)) for v in values)
        found.append(
            Completeness(
                difference=difference,
                delta=difference - total,
                rounding=rounding * max(abs(at_input), abs(at_start)),
            )
        )
    return found


def _shown(
    run: _Run,
    method: Method,
    index: int,
    values: tuple[Tensor, ...],
    sums: Completeness | None,
) -> Iterator[Attribution]:
    """One attribution per tensor of one sample."""
    subject = run.subject
    for k, tensor in enumerate(values):
        one = subject.sample(tensor, index)
        words = []
        if len(values) > 1:
            words.append(f"For the input {subject.names[k]}.")
        words.append(sums.verdict(run.baseline.words, run.n_steps) if sums else method.says)
        heatmap, bars = None, None
        if method.needs_layer or (subject.axis == 0 and is_image(tensor)):
            heatmap = heatmap_of(one, method)
            if heatmap.low == heatmap.high == 0:
                words.append("Here it is zero everywhere.")
        else:
            axis, noun, labels = subject.places(k, index)
            bars = bars_of(one, method, axis, labels, noun)
            words.append(bars.left_out)
        if method.needs_layer:
            places = shape_text(tuple(subject.layers[run.layer].shape[2:]))
            words.append(f"The layer has {places} places.")
            words.append(run.layer_note)
        yield Attribution(
            method=method.title,
            input=index,
            target=run.score.words[index],
            layer=run.layer if method.needs_layer else subject.embedding,
            heatmap=heatmap,
            bars=bars.bars if bars else (),
            signed=method.signed,
            delta=sums.delta if sums else None,
            relative_delta=sums.relative if sums else None,
            verdict=" ".join(filter(None, words)),
        )


def _layers(
    model: nn.Module, graph: ModelGraph, wish: str, methods: list[Method]
) -> tuple[tuple[str, ...], str, str]:
    """Modules to look at, outermost first; why there is none; what to say beside it."""
    if not any(m.needs_layer for m in methods):
        return (), "", ""
    if wish != "auto":
        check_layer(model, graph, wish)
        return (wish,), "", ""
    choice = find_map(graph)
    known = {path for path, _ in model.named_modules()}
    bypass = "Part of the model goes past this layer." if choice.bypassed else ""
    return tuple(p for p in choice.modules if p in known), choice.reason, bypass


def _seen_layer(subject: Subject, candidates: tuple[str, ...], wish: str) -> str:
    """The outermost candidate whose output really is a map; empty where none is."""
    for path in candidates:
        out = subject.layers.get(path)
        if out is not None and out.ndim == 4 and out.shape[2] * out.shape[3] > 1:
            return path
    if candidates and wish != "auto":
        out = subject.layers.get(wish)
        gives = f"gives {shape_text(tuple(out.shape))}" if out is not None else "gives no tensor"
        raise UserError(
            f"module {wish!r} {gives}, not a map of batch × channels × height × width with more "
            "than one place: give another module, or auto"
        )
    return ""


def _rows_at_once(
    subject: Subject, graph: ModelGraph, structure: Structure, device: torch.device
) -> int:
    """Rows whose activations fit the budget, by the bytes the graph allocates."""
    traced = sum(graph[i].outputs[0].numel for i in subject.sources) or 1
    given = (subject.ids,) if subject.ids is not None else subject.inputs
    grown = sum(t.numel() for t in given) / traced
    bytes_per_row = structure.costs.total.activation_bytes * grown / len(subject.inputs[0])
    budget = _CPU_BUDGET
    if device.type == "cuda":
        budget = torch.cuda.mem_get_info(device)[0] / 4
    return max(1, int(budget / max(bytes_per_row, 1)))


def _forwards(run: _Run, method: Method) -> int:
    if not method.needs_baseline:
        return 1
    length = len(run.subject.inputs[0])
    steps = max(1, run.at_once // length) if run.subject.axis == 0 else 1
    return -(-run.n_steps // steps) + method.complete
