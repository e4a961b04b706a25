"""Captum's answer to a question, by one method.

Captum does the method; here it is told what to differentiate, in how many rows, and its
refusals end in one line.
"""

from __future__ import annotations

import inspect
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.errors import ModelError, NotApplicableError, UserError, listed, one_line
from resnet_viz.measuring.attributions.explained import Explained, Scores, given_by
from resnet_viz.measuring.attributions.looking import Look, standing_after
from resnet_viz.measuring.attributions.methods import Method
from resnet_viz.measuring.attributions.question import CHECKPOINTED, NO_GRADIENT, Question
from resnet_viz.measuring.attributions.rewriting import one_module_per_call
from resnet_viz.measuring.attributions.rows import in_fewer_rows, is_out_of_memory, row_scores
from resnet_viz.measuring.layers import did_you_mean

# How autograd says that nothing connects output and input.
_DISCONNECTED = ("does not require grad", "not have been used in the graph")
# What captum is told by us alone.
_OURS = frozenset({"self", "inputs", "target", "additional_forward_args", "show_progress"})
_OURS_TOO = frozenset({"return_convergence_delta", "kwargs"})


def answer(question: Question, method: Method, look: Look | None = None) -> tuple[Tensor, ...]:
    """Captum's attributions, detached; fewer rows at once where memory runs out.

    Args:
        question: What is asked.
        method: A row of ``METHODS`` that is valid here.
        look: The layer, for methods that need one.

    Returns:
        One tensor per input of the subject, of its shape; of a layer one tensor
        ``(S, …)`` at its own resolution, ``(S, 1, places…)`` where captum folds channels.

    Raises:
        NotApplicableError: If no gradient connects input and output, or captum cannot run
            the method on this model.
        ModelError: If ``forward`` or ``backward`` raises.
    """

    def asked(rows: int) -> tuple[Tensor, ...]:
        return _answer(replace(question, rows=rows), method, look)

    samples = question.subject.samples
    with in_one_line(method.title):
        return in_fewer_rows(asked, max(question.rows, samples), least=samples)


@contextmanager
def in_one_line(title: str) -> Iterator[None]:
    """Within it what a model, autograd or captum raises becomes an error of ours.

    Args:
        title: What is done, to say that it failed.

    Raises:
        NotApplicableError: If no gradient connects input and output, or captum cannot run
            here: the forward itself ran before.
        ModelError: If ``forward`` or ``backward`` raises, or memory runs out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise ModelError(
                f"{title} ran out of memory with one row per sample: give fewer or smaller "
                f"samples ({one_line(error)})"
            ) from error
        if any(words in str(error) for words in _DISCONNECTED):
            raise NotApplicableError(NO_GRADIENT) from error
        if isinstance(error, CheckpointError):
            raise NotApplicableError(CHECKPOINTED) from error
        raise ModelError(f"{title} failed: {one_line(error)}") from error
    except (AssertionError, TypeError, ValueError, IndexError) as error:
        if _is_ours(error):
            raise
        raise NotApplicableError(f"captum cannot run it here: {one_line(error)}") from error


def _is_ours(error: BaseException) -> bool:
    """Whether it was raised by this package, or by torch as this package called it: a bug."""
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    outside_torch = [file for file in files if "torch" not in file.parts]
    return bool(outside_torch) and "resnet_viz" in outside_torch[-1].parts


def _answer(question: Question, method: Method, look: Look | None) -> tuple[Tensor, ...]:
    with ExitStack() as stack:
        if method.rewrites:
            question = stack.enter_context(one_module_per_call(question, method.captum))
        stack.enter_context(_quiet())
        stack.enter_context(_drawing_from(question.seed))
        place = None
        if look is not None:
            place = stack.enter_context(
                standing_after(question.model, look, channels_first=method.folds_channels)
            )
        explained = Explained(question, _scores(question, method), from_layer=method.at_layer)
        given = given_by(question, explained)
        told = {**method.arguments(given), **_taken(method, question.options)}
        # Captum warns about inputs that it has to switch to requiring a gradient.
        differentiates = method.needs_gradient and not method.at_layer
        inputs = tuple(t.requires_grad_(differentiates) for t in given.inputs)
        found: list[Tensor] = []
        for weight, part in method.parts(given, told):
            values = _explainer(method, explained, place).attribute(
                inputs, additional_forward_args=explained.extras, **part
            )
            several = values if isinstance(values, tuple) else (values,)
            weighted = [weight * v.detach() if weight != 1 else v.detach() for v in several]
            found = [a + b for a, b in zip(found, weighted, strict=True)] if found else weighted
        return tuple(found if method.at_layer else map(explained.back, found))


def _scores(question: Question, method: Method) -> Scores:
    """What gives a score to every row: in parts, unless something inside is looked at."""
    inside = method.needs_layer or method.rewrites
    return question.forward if inside else row_scores(question)


def _explainer(method: Method, explained: Explained, place: nn.Module | None) -> Any:
    import captum.attr

    given = (explained,) if place is None else (explained, place)
    explainer = getattr(captum.attr, method.captum)(*given)
    return getattr(captum.attr, method.through)(explainer) if method.through else explainer


def _arguments_of(method: Method) -> frozenset[str]:
    """What captum's ``attribute`` can be told by a user."""
    import captum.attr

    classes = filter(None, (method.captum, method.through))
    names = {
        n for c in classes for n in inspect.signature(getattr(captum.attr, c).attribute).parameters
    }
    return frozenset(names) - _OURS - _OURS_TOO


def _taken(method: Method, options: AttributionOptions) -> dict[str, Any]:
    known = _arguments_of(method) if options.extra else frozenset()
    return {name: value for name, value in options.extra.items() if name in known}


def check_extra(methods: tuple[Method, ...], options: AttributionOptions) -> None:
    """Refuses an argument that none of the methods takes.

    Raises:
        UserError: With what they take.
    """
    if not options.extra:
        return
    known = sorted(frozenset().union(*map(_arguments_of, methods)))
    for name in options.extra:
        if name not in known:
            raise UserError(
                f"no method asked for takes {name!r}{did_you_mean(name, known)} "
                f"(captum takes {listed(known)})"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Captum says of every hook that it sets and takes away that it will."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting (forward, )?backward hooks")
        warnings.filterwarnings("ignore", message="Internal batch size cannot be less")
        warnings.filterwarnings("ignore", message="Multiple layers provided")
        yield


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """What is drawn within depends on the seed alone; captum draws from NumPy, too."""
    import numpy as np

    before = np.random.get_state()
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def passes_of(question: Question, method: Method) -> int:
    """How often the samples will go through the model, for the progress bar."""
    given = given_by(question, Explained(question))
    told = {**method.arguments(given), **_taken(method, question.options)}
    return method.passes(given, told)
