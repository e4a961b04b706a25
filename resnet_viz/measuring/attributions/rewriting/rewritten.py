"""The same question of the model with one module per call, and proof that it is the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from resnet_viz.core.errors import NotApplicableError
from resnet_viz.core.units import scientific
from resnet_viz.measuring.attributions.question import NO_GRADIENT, Question
from resnet_viz.measuring.attributions.rewriting.kinds import RULES
from resnet_viz.measuring.attributions.rewriting.routing import OnePerCall, as_written

_TOLERANCE = 100
"""Roundings of the largest output, where kernels add in another order; none on most."""


@contextmanager
def one_module_per_call(question: Question, method: str = "DeepLift") -> Iterator[Question]:
    """The same question of the model in which every activation call is a module of its own.

    For methods that hook modules: DeepLift, DeepLiftShap, Guided Backprop, Deconvolution,
    Guided Grad-CAM, LRP. Paths of modules stay valid, ``question.model.get_submodule(layer)``
    is the user's own module, and no weight is copied. Everything is gone afterwards.

    Args:
        question: What is asked.
        method: The class in ``captum.attr`` that asks: one of ``RULES``. LRP must see the
            convolutions, linear and pooling layers too.

    Raises:
        NotApplicableError: If the outputs differ by more than rounding, the calls change from
            forward to forward, or a reentrant checkpoint would run them again unseen.
    """
    model = OnePerCall(question.model, RULES[method])
    with question.asked_of(model) as asked:
        _check_equal(question, asked, model)
        yield asked


def _check_equal(question: Question, asked: Question, model: OnePerCall) -> None:
    extras = question.subject.extras
    leaves = [t.requires_grad_() for t in question.inputs]
    # Both with gradients, without which torch takes other, fused ways through some layers.
    with torch.enable_grad(), as_written():
        expected = question.subject(*leaves, *extras).detach()
        output = asked.subject(*leaves, *extras)
    if model.hidden and _has_custom_node(output):
        raise NotApplicableError(
            "the model runs activations inside a reentrant checkpoint or a custom autograd "
            "Function, where no hook reaches them: checkpoint with use_reentrant=False or not "
            "at all, or use integrated_gradients"
        )
    if not output.requires_grad:
        raise NotApplicableError(NO_GRADIENT)
    off = _apart(output, expected)
    if not off:
        return
    with torch.no_grad(), as_written():
        again = question.subject(*leaves, *extras)
    if _apart(again, expected):
        raise NotApplicableError(
            "the model's output is another one in every run, in eval mode too, so two of them "
            "cannot be compared: use smoothgrad, which averages over draws"
        )
    said = "in shape" if output.shape != expected.shape else f"by {scientific(off)}"
    raise NotApplicableError(
        f"with one module per activation call the model's output differs {said}, so the answer "
        "would be that of another model: use a method without hooks, such as integrated_gradients"
    )


def _apart(output: Tensor, expected: Tensor) -> float:
    """The largest difference, where it is more than rounding; else 0."""
    if output.shape != expected.shape:
        return math.inf
    off = float((output.detach() - expected).abs().max())
    rounding = min(_TOLERANCE * torch.finfo(expected.dtype).eps, 0.01)
    return 0.0 if off <= rounding * float(expected.abs().max()) else off


def _has_custom_node(output: Tensor) -> bool:
    """Whether the backward runs through a ``torch.autograd.Function`` written in Python."""
    stack = [output.grad_fn]
    seen: set[Node] = set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        if issubclass(type(node), BackwardCFunction):
            return True
        seen.add(node)
        stack += [way for way, _ in node.next_functions]
    return False
