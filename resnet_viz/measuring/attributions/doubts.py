"""What a reader must know of a model before believing any value: a score that is not a function.

Every method takes the score of a sample for a function of that sample alone. Where it depends
on chance or on the other samples, no method fails, and no number of steps helps.
"""

from __future__ import annotations

import torch

from resnet_viz.analysis.kinds import words
from resnet_viz.core.message import say, sentences
from resnet_viz.measuring.attributions.answers import in_one_line
from resnet_viz.measuring.attributions.question import Question
from resnet_viz.measuring.attributions.rows import samples_meet

_DRAWING = words(
    """dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout
    bernoulli rand rand_like randn randn_like randint randint_like normal uniform multinomial
    gumbel_softmax rrelu poisson"""
)


def doubts_of(question: Question) -> str:
    """Why a score is no function of its sample alone, in sentences; empty where it is one."""
    found = []
    if any(op.kind in _DRAWING for op in question.graph.ops) and _varies(question):
        found.append(
            say(
                "The model draws at random in eval mode, too: its score is another one in every "
                "run, and values are of one draw, or a mean over several."
            )
        )
    if samples_meet(question.model):
        found.append(
            say(
                "A batch norm without running statistics normalises each row with the others of "
                "its batch, so that methods that run more rows at once explain another score: use "
                "saliency or input_x_gradient."
            )
        )
    return sentences(*found)


def _varies(question: Question) -> bool:
    """Whether the score is another one in another run."""
    subject = question.subject
    with torch.no_grad(), in_one_line("a second run"):
        again = question.score(subject(*question.inputs, *subject.extras))
    return not torch.allclose(again, question.value, rtol=1e-3, equal_nan=True)
