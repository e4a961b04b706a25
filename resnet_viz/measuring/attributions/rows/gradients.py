"""The score of every row together with its gradient, a few rows at a time.

Rows do not know of each other, so that ∂score_i/∂x_i is all that a backward can ask for. It is
taken at once, while the activations of these few rows are there, and only it is kept; what
captum then differentiates is a product with it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from resnet_viz.measuring.attributions.rows.kernels import faster_on
from resnet_viz.measuring.attributions.rows.memory import in_fewer_rows

if TYPE_CHECKING:
    from resnet_viz.measuring.attributions.question import Question

Scores = Callable[..., Tensor]


def row_scores(question: Question) -> Scores:
    """The question's scores for any method that takes gradients of the input.

    Equal to ``question.forward``, as are its gradients, whatever the number of rows; it keeps
    no activations, and rows that do not fit the memory are halved. Where samples cannot be
    told apart, or meet in a batch norm without running statistics, it is
    ``question.forward`` itself.

    Args:
        question: Rows come in turn: sample 0, 1, … S − 1, 0, 1, …

    Returns:
        A function of the tensors of ``question.forward``. Its gradient cannot be
        differentiated again: ``create_graph`` raises ``RuntimeError``.
    """
    if question.subject.axis is None or samples_meet(question.model):
        return question.forward
    parts = _Parts(question)

    def scores(*tensors: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return parts.forward(tensors)
        if not any(t.requires_grad for t in tensors):
            # Something inside the model is differentiated, so its activations are needed.
            return question.forward(*tensors)
        result: Tensor = _RowScores.apply(parts, *tensors)
        return result

    return scores


def samples_meet(model: nn.Module) -> bool:
    """Whether a batch norm without running statistics mixes the rows of a batch."""
    norms = nn.modules.batchnorm._BatchNorm
    return any(
        isinstance(m, norms) and (m.training or m.running_mean is None) for m in model.modules()
    )


class _Parts:
    """Runs of some of the rows."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._axis = question.subject.axis or 0
        self._samples = question.subject.samples
        self._faster = faster_on(question)

    def forward(self, tensors: tuple[Tensor, ...]) -> Tensor:
        """Scores alone."""

        def run(part: list[Tensor], start: int) -> tuple[Tensor]:
            return (self._scored(part, start),)

        scores: Tensor = self._by_parts(tensors, run)[0]
        return scores

    def with_gradients(
        self, tensors: tuple[Tensor, ...], wanted: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        """Scores, then per tensor ∂score_i/∂x_i for every row i, where wanted."""

        def run(part: list[Tensor], start: int) -> tuple[Tensor | None, ...]:
            fresh = [t.detach().requires_grad_(w) for t, w in zip(part, wanted, strict=True)]
            asked = [t for t in fresh if t.requires_grad]
            with torch.enable_grad():
                with self._measuring():
                    scores = self._scored(fresh, start)
                found = iter(torch.autograd.grad(scores.sum(), asked, allow_unused=True))
            grads = (next(found) if t.requires_grad else None for t in fresh)
            return scores.detach(), *grads

        found: tuple[Tensor | None, ...] = self._by_parts(tensors, run)
        return found

    def _measuring(self) -> AbstractContextManager[None]:
        use = self._question.use
        return nullcontext() if use.held else use.measuring(self._question.model)

    def _scored(self, part: list[Tensor], start: int) -> Tensor:
        question = self._question
        output = question.subject(*part)
        before, count = start % self._samples, len(output)
        question.advance(max(1, count // self._samples))
        after = -(before + count) % self._samples
        if before or after:
            # A score may be of another column per sample: each row goes to its sample's place.
            filler = output.detach()[:1]
            parts = [filler.expand(n, *filler.shape[1:]) for n in (before, after)]
            output = torch.cat([parts[0], output, parts[1]])
        return question.score(output)[before : before + count]

    def _by_parts(
        self,
        tensors: tuple[Tensor, ...],
        run: Callable[[list[Tensor], int], tuple[Tensor | None, ...]],
    ) -> Any:
        grows = self._growing(tensors)
        total = tensors[0].shape[self._axis]
        rows = self._whole_samples(self._question.rows)
        found: list[tuple[Tensor | None, ...]] = []
        start = 0

        def part(rows: int) -> tuple[int, tuple[Tensor | None, ...]]:
            count = min(rows, total - start)
            cut = [
                t.narrow(self._axis, start, count) if g else t
                for t, g in zip(tensors, grows, strict=True)
            ]
            return start + count, run(cut, start)

        with self._faster(-(-total // rows)):
            while start < total:
                start, results = in_fewer_rows(
                    part, min(rows, total - start), use=self._question.use
                )
                found.append(results)
        scores, *gradients = zip(*found, strict=True)
        return torch.cat(scores), *(_joined(column, scores, self._axis) for column in gradients)

    def _growing(self, tensors: tuple[Tensor, ...]) -> list[bool]:
        subject = self._question.subject
        return [True] * len(subject.inputs) + [subject.grows(t) for t in subject.extras]

    def _whole_samples(self, rows: int) -> int:
        """A multiple of the samples where so many fit, so that nothing need be filled in."""
        return rows - rows % self._samples if rows > self._samples else rows


def _joined(
    column: tuple[Tensor | None, ...], scores: tuple[Tensor, ...], axis: int
) -> Tensor | None:
    """Gradients of all rows; zeros for those that are not used where others are."""
    like = next((t for t in column if t is not None), None)
    if like is None:
        return None
    parts = []
    for gradient, of in zip(column, scores, strict=True):
        shape = (*like.shape[:axis], len(of), *like.shape[axis + 1 :])
        parts.append(like.new_zeros(shape) if gradient is None else gradient)
    return torch.cat(parts, axis)


class _RowScores(torch.autograd.Function):
    """Scores whose derivative by the rows was taken on the way."""

    @staticmethod
    def forward(ctx: Any, parts: _Parts, *tensors: Tensor) -> Tensor:
        scores, *gradients = parts.with_gradients(tensors, ctx.needs_input_grad[1:])
        ctx.axis = parts._axis
        ctx.save_for_backward(*gradients)
        assert scores is not None
        return scores

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # ``once_differentiable`` would let ``autograd.grad`` take a part of it for the whole.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "scores in parts have no second derivative: differentiate question.forward"
            )

        def weighed(gradient: Tensor | None) -> Tensor | None:
            if gradient is None:
                return None
            shape = [1] * gradient.ndim
            shape[ctx.axis] = len(grad)
            return gradient * grad.to(gradient.dtype).view(shape)

        return None, *(weighed(g) for g in ctx.saved_tensors)
