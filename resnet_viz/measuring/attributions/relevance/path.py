"""The straight path from x′ to x, run by run."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from resnet_viz.core.errors import ModelError, NotApplicableError, one_line
from resnet_viz.core.graph import OpId
from resnet_viz.measuring.attributions.question import NO_GRADIENT, Question
from resnet_viz.measuring.attributions.relevance.changes import Stretch
from resnet_viz.measuring.attributions.relevance.layouts import WHOLE, Key, Layout, Looked
from resnet_viz.measuring.attributions.relevance.meters import Meters
from resnet_viz.measuring.attributions.relevance.watching import Seeing, Watched
from resnet_viz.measuring.attributions.rows.memory import is_out_of_memory
from resnet_viz.measuring.one_pass import hooked


class Ends(NamedTuple):
    """The score at both ends of the path, per sample."""

    baseline: Tensor
    input: Tensor


class Path:
    """Some samples of a question along its path.

    Attributes:
        samples: How many of each point.
        starts: Per attributed tensor the call (or input) of the graph that it stands for.
    """

    def __init__(self, question: Question, watched: Watched, first: int, samples: int) -> None:
        """Runs nothing yet.

        Args:
            question: Asked of ``watched``.
            watched: Its model.
            first: The first of the samples.
            samples: How many.
        """
        self._question = question
        self._watched = watched
        self._axis = question.subject.axis
        self._first = first
        self.samples = samples
        self.starts = start_ops(question)
        self._x = [self._own(t) for t in question.inputs]
        self._baseline = [self._own(t) for t in question.baseline.tensors]

    def _own(self, tensor: Tensor) -> Tensor:
        if self._axis is None:
            return tensor
        return tensor.narrow(self._axis, self._first, self.samples)

    def look(self, points: int) -> Looked:
        """What calls give, by one or two runs without gradients.

        Args:
            points: Of each run that is to come.
        """
        once = Looked(self.samples)
        self._forward([1.0], once)
        keys = [Key(op, 0) for op in self.starts]
        if points == self.samples == 1 or self._axis is None:
            once.layouts = dict.fromkeys((*once.shapes, *keys), WHOLE)
            return once
        twice = Looked(self.samples, once)
        # The rows looked at before come last: whichever order holds them is theirs.
        self._forward([0.0, 1.0], twice)
        twice.layouts |= dict.fromkeys(keys, Layout(axis=self._axis or 0))
        return twice

    def follow(self, meters: Meters, steps: int, points: int) -> Ends:
        """Goes along the path, ``points`` of it at a time; ``steps`` and two are on it.

        Raises:
            NotApplicableError: If no gradient connects input and score.
            ModelError: If ``backward`` raises.
        """
        alphas = [0.0, *((i + 0.5) / steps for i in range(steps)), 1.0]
        scores: list[Tensor] = []
        for first in range(0, len(alphas), points):
            mine = alphas[first : first + points]
            stretch = Stretch(
                points=len(mine),
                is_first=not first,
                is_last=first + points >= len(alphas),
                after_start=first == points == 1,
            )
            meters.begin(stretch)
            scores += self._run(mine, meters).reshape(len(mine), -1)
        meters.end()
        return Ends(scores[0], scores[-1])

    def _run(self, alphas: list[float], meters: Meters) -> Tensor:
        leaves = [t.requires_grad_() for t in self._tensors(alphas)]
        for op, leaf in zip(self.starts, leaves, strict=True):
            meters.start(op, leaf)
        scores = self._forward(alphas, meters, leaves)
        if scores.grad_fn is None:
            raise NotApplicableError(NO_GRADIENT)
        if alphas == [0.0]:
            return scores.detach()
        wanted = [float(0 < a < 1) for a in alphas for _ in range(self.samples)]
        try:
            with hooked(meters.hooks):
                gradients = torch.autograd.grad(
                    scores, leaves, scores.new_tensor(wanted), allow_unused=True
                )
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise ModelError(f"relevance failed: {one_line(error)}") from error
        for op, gradient in zip(self.starts, gradients, strict=True):
            if gradient is not None:
                meters.arrived(Key(op, 0), gradient)
        return scores.detach()

    def _forward(
        self, alphas: list[float], seeing: Seeing, leaves: list[Tensor] | None = None
    ) -> Tensor:
        rows = self._tensors(alphas) if leaves is None else leaves
        question = self._question
        extras = [self._grown(t, len(alphas)) for t in question.subject.extras]
        question.advance()
        self._watched.seeing = seeing
        try:
            with torch.set_grad_enabled(leaves is not None):
                return self._score(question.subject(*rows, *extras), len(alphas))
        finally:
            self._watched.seeing = None

    def _score(self, output: Tensor, points: int) -> Tensor:
        """A score per row: of another column per sample, so each goes to its sample's place."""
        question = self._question
        before, after = self._first, question.subject.samples - self._first - self.samples
        if not (before or after):
            return question.score(output)
        rows = output.reshape(points, self.samples, *output.shape[1:])
        filler = rows.detach()[:, :1]
        sides = [filler.expand(-1, n, *filler.shape[2:]) for n in (before, after)]
        scores = question.score(torch.cat([sides[0], rows, sides[1]], 1).flatten(0, 1))
        mine = scores.reshape(points, -1)[:, before : before + self.samples]
        return mine.flatten()

    def _tensors(self, alphas: list[float]) -> list[Tensor]:
        """x′ + α(x − x′), point after point along the axis of the samples."""
        # Of one number on the device for all samples ``lerp`` gives the ends exactly.
        return [
            torch.cat([torch.lerp(b, x, a) for a in alphas], self._axis or 0)
            if len(alphas) > 1
            else torch.lerp(b, x, alphas[0])
            for b, x in zip(self._baseline, self._x, strict=True)
        ]

    def _grown(self, tensor: Tensor, points: int) -> Tensor:
        if self._axis is None or not self._question.subject.grows(tensor):
            return tensor
        return torch.cat([self._own(tensor)] * points, self._axis)


def start_ops(question: Question) -> tuple[OpId, ...]:
    """Per attributed tensor the call of the graph that gives it: an input, or an embedding."""
    subject, graph = question.subject, question.graph
    if not subject.embedding:
        return tuple(OpId(source) for source in subject.sources)
    return tuple(
        op.id for op in graph.ops if op.module == subject.embedding and op.kind == "embedding"
    )[:1]
