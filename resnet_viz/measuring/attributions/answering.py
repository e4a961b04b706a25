"""All answers to a question: every method at every layer, and why some are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from resnet_viz.core.errors import ModelError, NotApplicableError, UserError, listed
from resnet_viz.core.progress import Progress
from resnet_viz.measuring.attributions.answers import answer, in_one_line, passes_of
from resnet_viz.measuring.attributions.looking import AUTO, Look, Wish, misfit
from resnet_viz.measuring.attributions.methods import Method
from resnet_viz.measuring.attributions.question import Question
from resnet_viz.measuring.attributions.showing import Answer
from resnet_viz.measuring.attributions.sums import completeness_of
from resnet_viz.measuring.attributions.validity import refusal

Looks = Mapping[Wish, Look | None]


class Refusals:
    """Why methods are left out, by method and layer; each said once."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[Method, str], str] = {}

    def add(self, method: Method, reason: str, layer: str = "") -> None:
        """Leaves a method out, at a layer or altogether; without a reason nothing happens."""
        if reason:
            self._reasons.setdefault((method, layer), reason)

    @property
    def reasons(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(dict.fromkeys(self._reasons.values()))

    @property
    def words(self) -> str:
        """What is left out and why, in sentences."""
        said: dict[str, list[str]] = {}
        for (method, layer), reason in self._reasons.items():
            title = f"{method.title}{f' at {layer}' if layer else ''}"
            said.setdefault(reason, []).append(title)
        sentences = []
        for reason, titles in said.items():
            who, verb = listed(titles, len(titles)), "are" if titles[1:] else "is"
            sentences.append(f"{who[0].upper()}{who[1:]} {verb} left out: {reason}.")
        return " ".join(sentences)


class Meter:
    """Progress of answers: each takes what it was said to take, however it ran."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._left = 0

    def begin(self, passes: int) -> None:
        """An answer begins."""
        self._left = passes

    def __call__(self, passes: int = 1) -> None:
        """Some passes of it are done."""
        counted = min(passes, self._left)
        self._left -= counted
        if counted:
            self._progress.advance(counted)

    def end(self) -> None:
        """It is done."""
        self(self._left)


def answers_to(
    question: Question,
    methods: Sequence[Method],
    looks: Looks,
    refusals: Refusals,
    progress: Progress,
) -> tuple[Answer, ...]:
    """Every method, at every layer where it needs one.

    Args:
        question: What is asked.
        methods: Those that may apply.
        looks: The layers.
        refusals: Told what is left out.
        progress: Told about every pass.

    Raises:
        UserError: If a layer that a person named does not fit a method.
        ModelError: If ``forward`` or ``backward`` raises under every method.
    """
    places = [place for method in methods for place in _places(question, method, looks, refusals)]
    meter = Meter(progress)
    question = question.told(meter)
    costs = [passes_of(question, method) for method, _, _ in places]
    found: list[Answer] = []
    failed: ModelError | None = None
    progress.start("computing attributions", sum(costs))
    try:
        for (method, look, forced), cost in zip(places, costs, strict=True):
            meter.begin(cost)
            path = look.path if look else ""
            try:
                values = answer(question, method, look)
            except (NotApplicableError, ModelError) as error:
                # Another method may need no backward, or less memory.
                failed = failed or (error if isinstance(error, ModelError) else None)
                refusals.add(method, str(error), path)
                continue
            finally:
                meter.end()
            if not all(bool(torch.isfinite(v).all()) for v in values):
                dtype = str(values[0].dtype).removeprefix("torch.")
                reason = f"its values hold NaN or infinity in {dtype}; use a wider one, or saliency"
                refusals.add(method, reason, path)
                continue
            with in_one_line(method.title):
                sums = completeness_of(question, method, values, look)
            found.append(Answer(method=method, look=look, values=values, sums=sums, forced=forced))
    finally:
        progress.finish()
    if failed is not None and not found:
        raise failed
    return tuple(found)


def _places(
    question: Question, method: Method, looks: Looks, refusals: Refusals
) -> list[tuple[Method, Look | None, str]]:
    """Where a method is taken, and why it should not be believed where it is forced.

    Raises:
        UserError: If a layer that a person named does not fit the method.
    """
    found: list[tuple[Method, Look | None, str]] = []
    wishes: list[tuple[Wish | None, Look | None]] = [(None, None)]
    if method.needs_layer:
        wishes = [*looks.items()]
    for wish, look in wishes:
        if look is not None and look.instead is not None and method.at_layer and method.complete:
            look = look.instead
        if reason := misfit(question.subject, method, look):
            named = wish is not None and wish.asked != AUTO
            if named and look is not None and question.subject.axis == 0:
                raise UserError(f"{method.title}: {reason}: give another module, or auto")
            if wish is not None and method.folds_channels and question.subject.axis == 0:
                reason = wish.reason or reason
            refusals.add(method, reason)
            continue
        path = look.path if look else ""
        against = refusal(method, question.graph, question.structure, path)
        if against and not question.options.force:
            refusals.add(method, f"{against} (or force it)", path)
            continue
        found.append((method, look, against))
    return found
