"""``Explained``: a question in the form captum wants, whatever the model's own form is.

Captum takes rows along axis 0 and makes more of them, some methods sample by sample and some
in turn; some hook modules, so that what they are given must be a module. Here the samples
come first wherever the model has them, every row says whose it is, and the model is inside.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from resnet_viz.measuring.attributions.arguments import Given
from resnet_viz.measuring.attributions.maps import is_image
from resnet_viz.measuring.attributions.question import Question

Scores = Callable[..., Tensor]


class Explained(nn.Module):
    """From rows, samples first, and the sample each row is of, to scores.

    Attributes:
        extras: What captum must grow with the inputs and hand back after them.
    """

    def __init__(
        self, question: Question, scores: Scores | None = None, *, from_layer: bool = False
    ) -> None:
        """A question as a module.

        Args:
            question: What is asked.
            scores: In place of ``question.forward``.
            from_layer: Whether no gradient is taken before a layer, so that nothing needs to
                be kept for it.
        """
        super().__init__()
        self.model = question.model
        self._scores = scores or question.forward
        self._from_layer = from_layer
        subject = question.subject
        self._axis = subject.axis
        self._count = len(subject.inputs)
        self._growing = [subject.grows(t) for t in subject.extras]
        self._still = subject.extras
        self._dtypes = [t.dtype for t in subject.inputs]
        who = torch.arange(subject.samples, device=question.device)
        moved = (self.first(t) for t, g in zip(subject.extras, self._growing, strict=True) if g)
        self.extras: tuple[Tensor, ...] = (*moved, who)

    def first(self, tensor: Tensor) -> Tensor:
        """A tensor of the model's form, samples first."""
        return tensor[None] if self._axis is None else tensor.movedim(self._axis, 0)

    def back(self, rows: Tensor) -> Tensor:
        """Rows, in the model's form."""
        return rows[0] if self._axis is None else rows.movedim(0, self._axis)

    def forward(self, *rows: Tensor) -> Tensor:
        """The score of every row, ``(rows,)``."""
        *tensors, who = rows
        # Captum draws noise in float32, and half a float with it is a whole one.
        own = [t.to(d) for t, d in zip(tensors, self._dtypes, strict=False)]
        tensors = own + tensors[self._count :]
        if self._from_layer:
            tensors = [t.detach() for t in tensors]
        if self._axis is None:
            # Such samples cannot share a batch.
            alone = [self._run([t[i : i + 1] for t in tensors]) for i in range(len(who))]
            return torch.cat(alone)
        order = _in_turn(who)
        if order is None:
            return self._run(tensors)
        scores = self._run([t[order] for t in tensors])
        return scores[order.argsort()]

    def _run(self, tensors: list[Tensor]) -> Tensor:
        moved = [self.back(t) for t in tensors]
        inputs, growing = moved[: self._count], iter(moved[self._count :])
        extras = (
            next(growing) if grows else still
            for grows, still in zip(self._growing, self._still, strict=True)
        )
        return self._scores(*inputs, *extras)


def given_by(question: Question, explained: Explained) -> Given:
    """What the arguments of methods are made from, samples first."""
    subject = question.subject
    kept, whole = zip(
        *(_kept(question, explained, k) for k in range(len(subject.inputs))), strict=True
    )
    return Given(
        inputs=tuple(map(explained.first, question.inputs)),
        names=subject.names,
        baselines=tuple(map(explained.first, question.baseline.tensors)),
        drawn=tuple(question.baseline.drawn),
        kept=kept,
        whole=whole,
        options=question.options,
        rows=max(question.rows, subject.samples) if subject.axis is not None else 1,
    )


def _kept(question: Question, explained: Explained, k: int) -> tuple[tuple[int, ...], bool]:
    """The axes of one sample along which places lie, and whether neighbours are alike."""
    tensor = explained.first(question.subject.inputs[k])
    if question.subject.axis == 0 and is_image(tensor):
        return (1, 2), True
    axis, noun, _labels = question.subject.places(k, 0)
    return (axis,) if tensor.ndim > 1 else (), noun == "step"


def _in_turn(who: Tensor) -> Tensor | None:
    """The order in which every sample comes once before any comes again; ``None`` if it is so.

    A score is of a column per sample, and the baselines of DeepLIFT are the second half of
    the rows: both stay right.
    """
    samples = int(who.max()) + 1
    times = len(who) // samples
    if torch.equal(who, torch.arange(samples, device=who.device).repeat(times)):
        return None
    return who.argsort(stable=True).view(samples, times).T.reshape(-1)
