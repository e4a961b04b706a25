"""``Question``: which parts of these inputs moved this score of this model.

Every room of attributions (methods, trust, relevance, what each depth sees) takes one and
runs its ``forward``; how the question came about is known here alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.attributions.baselines import Baseline, baseline_of
from resnet_viz.measuring.attributions.rows import (
    MemoryUse,
    channels_last,
    rows_at_once,
)
from resnet_viz.measuring.attributions.subject import Subject
from resnet_viz.measuring.attributions.targets import Score, choose_scores, function_score
from resnet_viz.measuring.device import model_device, placed
from resnet_viz.measuring.lesions.evaluating import evaluating
from resnet_viz.tracing.trees import on_device

NO_GRADIENT = (
    "the output does not depend on the input through anything differentiable; use occlusion or "
    "feature_ablation, which need no gradient"
)
"""Why a method that differentiates has no answer."""

CHECKPOINTED = (
    "a layer looked at is inside a checkpoint, which runs it again without what was put there: "
    "take a layer outside, or checkpoint not at all"
)
"""Why nothing can be seen inside where a backward runs the forward again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """F, x and x′: what is asked, of which model, and how.

    Attributes:
        model: What runs, in eval mode, its parameters without gradient: the user's own, or
            a copy of it.
        graph: Trace of the user's model.
        structure: What was found in it.
        subject: The model as a function of the tensors that are attributed; x is
            ``subject.inputs``.
        score: What is explained.
        rank: 0 for the first of several targets of the same inputs.
        value: F(x), ``(S,)``.
        probabilities: Of what is explained, per sample, where it is one class of (S, C).
        baseline: x′.
        options: What is asked of attributions.
        rows: Rows of the batch per forward.
        device: Where it runs.
        seed: Of everything drawn.
        advance: Told about every pass of the samples.
        use: What was seen of the memory that it takes; one for all targets.
        settings: How it runs, where not in float32 and the default layout.
    """

    model: nn.Module
    graph: ModelGraph
    structure: Structure
    subject: Subject
    score: Score
    rank: int = 0
    value: Tensor
    probabilities: tuple[float, ...] = ()
    baseline: Baseline
    options: AttributionOptions
    rows: int
    device: torch.device
    seed: int
    advance: Callable[..., None]
    use: MemoryUse = field(default_factory=MemoryUse)
    settings: str = ""

    def forward(self, *tensors: Tensor) -> Tensor:
        """What captum differentiates: a score per row, ``(k · S,)``.

        Args:
            *tensors: In place of ``subject.inputs``, then of ``subject.extras``.
        """
        scores = self.score(self.subject(*tensors))
        self.advance(max(1, len(scores) // self.subject.samples))
        return scores

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """x: fresh, detached copies of the tensors that are attributed."""
        return tuple(t.detach().clone() for t in self.subject.inputs)

    def told(self, advance: Callable[..., None]) -> Question:
        """The same question, which tells somebody else about every pass."""
        return replace(self, advance=advance)

    @contextmanager
    def asked_of(self, model: nn.Module) -> Iterator[Question]:
        """The same question of another model of the same form, such as a rewritten copy.

        The value and the embedded tokens of the other model are not computed anew.
        """
        subject = copy.copy(self.subject)
        subject.model = model
        with subject.watching():
            yield replace(self, model=model, subject=subject)


@contextmanager
def asking(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    graph: ModelGraph,
    structure: Structure,
    options: AttributionOptions,
    labels: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    device: torch.device | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Iterator[tuple[Question, ...]]:
    """Within it the model runs in eval mode without parameter gradients; one question per target.

    Args:
        model: Left as it came: mode, values, ``.grad``, ``requires_grad``, hooks, RNG.
        args: Positional arguments of ``forward``, a batch.
        kwargs: Keyword arguments of ``forward``.
        graph: Trace of the same model with arguments of the same form.
        structure: What was found in it.
        options: What is asked of attributions.
        labels: Names of the classes, where they are known.
        layers: Modules whose output the first run notes (``subject.layers``).
        device: Where to run; a copy is used if the model lives elsewhere.
        seed: Of whatever the model draws.
        progress: Told about every forward.

    Raises:
        UserError: For a target or a baseline that does not fit, or a model without values.
        NotApplicableError: If the output is not finite or has no floating tensor.
        ModelError: If ``forward`` raises.
    """
    model = placed(model, device)
    here = model_device(model)
    args, kwargs = on_device(args, here), on_device(kwargs or {}, here)
    with ExitStack() as stack:
        stack.enter_context(evaluating(model, graph, here, seed))
        wish = options.target
        function = wish if callable(wish) else None
        subject = Subject(model, args, kwargs, graph, function)
        stack.enter_context(subject.watching())
        subject.autocast = options.autocast
        if options.channels_last:
            stack.enter_context(channels_last(model))
        output = subject.first_run(layers)
        if function is not None:
            scores: tuple[Score, ...] = (function_score(output, function),)
        else:
            scores = choose_scores(
                output,
                wish,
                name=subject.output_name,
                several=len(graph.outputs) > 1,
                labels=labels,
            )
        baseline = baseline_of(subject, options.baselines, model, seed)
        rows = options.internal_batch_size or rows_at_once(subject, graph, structure, here)
        use = MemoryUse.beginning(here)
        words = ("bfloat16 autocast" * options.autocast, "channels last" * options.channels_last)
        yield tuple(
            Question(
                model=model,
                graph=graph,
                structure=structure,
                subject=subject,
                score=score,
                rank=rank,
                value=score(output),
                probabilities=_listed(score.probabilities(output)),
                baseline=baseline,
                options=options,
                rows=rows,
                device=here,
                seed=seed,
                advance=progress.advance,
                use=use,
                settings=", ".join(filter(None, words)),
            )
            for rank, score in enumerate(scores)
        )


def _listed(values: Tensor | None) -> tuple[float, ...]:
    return () if values is None else tuple(values.tolist())
