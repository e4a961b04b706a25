"""Why a step of training needs more memory than a forward."""

from __future__ import annotations

from resnet_viz.core.message import say, sentences
from resnet_viz.core.units import nbytes
from resnet_viz.reporting.explain.note import Note, note
from resnet_viz.reporting.explain.papers import CHEN_2016
from resnet_viz.reporting.page.tables import Facts


def memory(facts: Facts) -> Note | None:
    """What autograd keeps for the backward, and what keeps less."""
    costs = facts.structure.costs
    inference, training, total = costs.inference_peak, costs.training_peak, costs.total
    if inference is None or training is None or not total.saved_bytes or costs.memory is None:
        return None
    most = sorted(costs.kinds, key=lambda cost: -(cost.saved_bytes or 0))[:2]
    where = [f"{c.key} ({nbytes(c.saved_bytes)})" for c in most if c.saved_bytes]
    return note(
        "memory",
        say("Why training takes more memory"),
        "θ + ∂L/∂θ + x₁ … xₙ",
        say(
            "Inference can forget an activation once its last reader has run. The backward needs "
            "many of them again: a convolution its input, a ReLU its output, a normalisation its "
            "input and statistics. So what is kept grows with depth and with the batch. "
            "Activations computed in place, frozen layers and lower precision keep less; "
            "checkpointing keeps almost nothing and computes it again."
        ),
        sentences(
            say("For the traced input {model} keeps {saved} ({mode} mode), most of it in {where}.",
                model=facts.graph.name, saved=nbytes(total.saved_bytes), mode=costs.memory.mode,
                where=say("{a} and {b}", a=where[0], b=where[1]) if where[1:] else where[0]),
            say("By estimate its memory peaks at {inference} in inference and {training} in "
                "training, the state of an optimizer not counted.",
                inference=nbytes(inference.total), training=nbytes(training.total)),
        ),
        CHEN_2016,
    )  # fmt: skip
