"""One watched optimizer step: numbers on the device until they come to the host together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from resnet_viz.core.history import Step, WatchedActivation, WatchedParameter
from resnet_viz.watching.numbers import Transfer, dots, highs, lengths

Found = dict[str, tuple[float, float]]
"""Norm and largest magnitude of a gradient, by the parameter's name."""


@dataclass(slots=True, kw_only=True)
class Pass:
    """What one backward pass left in ``.grad``.

    Attributes:
        names: The parameters it reached.
        lengths: Norms, ``(n,)``.
        highs: Largest magnitudes, ``(n,)``.
        scale: What the loss was multiplied by.
    """

    names: tuple[str, ...]
    lengths: Tensor
    highs: Tensor
    scale: Tensor | float


@dataclass(slots=True, kw_only=True)
class Sight:
    """The gradients as the optimizer sees them: clipped, unscaled by hand, or put in by hand.

    Attributes:
        names: The parameters that have one.
        lengths: Norms, ``(n,)``.
        by_hand: Those that no backward pass has reached.
        highs: Largest magnitudes of those.
        divisor: What a fused optimizer still divides all of them by.
        compared: Those whose gradient of the step before was kept.
        products: Inner products with it.
        previous: Its norms.
    """

    names: tuple[str, ...]
    lengths: Tensor
    by_hand: tuple[str, ...]
    highs: Tensor
    divisor: Tensor | None = None
    compared: tuple[str, ...] = ()
    products: Tensor | None = None
    previous: Tensor | None = None


@dataclass(slots=True, kw_only=True)
class Recording:
    """What one step of one optimizer left on the device.

    Attributes:
        step: Optimizer steps done before.
        optimizer: Its name; empty where there is one.
        names: The parameters of the step, in registration order.
        shapes: Their shapes.
        passes: Backward passes whose numbers still hold for some parameter.
        backwards: How many passes were added up.
        sight: What the optimizer saw; ``None`` where the gradient was taken several times
            within the step.
        weights: Norms before the step, ``(n,)``.
        held: Those of ``names`` that the optimizer moves.
        updates: Norms of what the step changed, of ``held``.
        found_inf: Whether a fused optimizer left the step out; 0 or 1 on the device.
        skipped: Steps left out before.
        skipped_on_device: More of them, counted there.
        activations: By path, a count and the total for each call.
        cut_off: Those of them whose units can die.
    """

    step: int
    optimizer: str
    names: tuple[str, ...]
    shapes: Mapping[str, torch.Size]
    passes: list[Pass]
    backwards: int
    held: tuple[str, ...] = ()
    weights: Tensor | None = None
    updates: Tensor | None = None
    sight: Sight | None = None
    lr: Tensor | float | None = None
    loss: Tensor | float | None = None
    found_inf: Tensor | None = None
    skipped: int = 0
    skipped_on_device: Tensor | None = None
    activations: dict[str, list[tuple[Tensor, int]]] = field(default_factory=dict)
    cut_off: frozenset[str] = frozenset()
    seconds: float = 0.0

    def read(self) -> Step | None:
        """The step on the host, by one transfer; ``None`` where a GradScaler left it out."""
        transfer = Transfer()
        reached = _passes_reader(transfer, self.passes)
        seen = _sight_reader(transfer, self.sight)
        calls = {
            path: [(transfer.number(count), total) for count, total in pairs]
            for path, pairs in self.activations.items()
        }
        weight_row, update_row = transfer.row(self.weights), transfer.row(self.updates)
        lr, loss = transfer.number(self.lr), transfer.number(self.loss)
        left_out = transfer.number(self.found_inf)
        skipped = transfer.number(self.skipped_on_device)
        transfer.fetch()
        if left_out():
            return None
        found, scale = reached()
        clipped, by_hand, cosines = seen()
        found |= by_hand
        if self.sight is None:
            clipped = {name: norm for name, (norm, _) in found.items()}
        # What was taken away again before the step has no part in it.
        found = {name: found[name] for name in self.names if name in clipped and name in found}
        weights = dict(zip(self.names, weight_row(), strict=True))
        updates = dict(zip(self.held, update_row(), strict=False))
        return Step(
            step=self.step,
            optimizer=self.optimizer,
            loss=loss(),
            lr=lr(),
            scale=scale,
            backwards=self.backwards,
            l2=math.hypot(*(norm for norm, _ in found.values())),
            clipped_l2=math.hypot(*(clipped[name] for name in found)),
            nonfinite=tuple(n for n, (_, high) in found.items() if not math.isfinite(high)),
            skipped=self.skipped + int(skipped() or 0),
            parameters=tuple(
                _parameter(
                    name,
                    found.get(name),
                    self.shapes[name],
                    weights[name],
                    updates.get(name),
                    cosines.get(name),
                )
                for name in self.names
            ),
            activations=tuple(
                _activation(path, path in self.cut_off, [(c() or 0.0, n) for c, n in pairs])
                for path, pairs in calls.items()
            ),
            seconds=self.seconds,
        )


def pass_of(names: Sequence[str], gradients: Sequence[Tensor], scale: Tensor | float) -> Pass:
    """What a backward pass left, measured on the device."""
    return Pass(
        names=tuple(names),
        lengths=lengths(gradients),
        highs=highs(gradients),
        scale=scale.clone() if isinstance(scale, Tensor) else scale,
    )


def with_pass(passes: Sequence[Pass], new: Pass) -> list[Pass]:
    """The passes and a new one, without those it replaces altogether."""
    fresh = set(new.names)
    return [*(old for old in passes if not fresh.issuperset(old.names)), new]


def sight_of(
    gradients: Mapping[str, Tensor],
    passes: Sequence[Pass],
    previous: Mapping[str, Tensor],
    divisor: Tensor | None,
) -> Sight:
    """What the optimizer sees, measured on the device.

    Args:
        gradients: By name, as they stand.
        passes: What was measured at the end of backward passes.
        previous: Gradients of the step before, where they were kept.
        divisor: What a fused optimizer still divides by.
    """
    reached = {name for one in passes for name in one.names}
    by_hand = tuple(name for name in gradients if name not in reached)
    both = tuple(
        name
        for name, gradient in gradients.items()
        if name in previous and _comparable(gradient, previous[name])
    )
    old = [previous[name] for name in both]
    return Sight(
        names=tuple(gradients),
        lengths=lengths(list(gradients.values())),
        by_hand=by_hand,
        highs=highs([gradients[name] for name in by_hand]),
        divisor=divisor,
        compared=both,
        products=dots([gradients[name] for name in both], old) if both else None,
        previous=lengths(old) if both else None,
    )


def _comparable(gradient: Tensor, before: Tensor) -> bool:
    """Whether two gradients have an inner product: a model may be cast or moved in between."""
    is_alike = (gradient.dtype, gradient.device) == (before.dtype, before.device)
    return is_alike and not (gradient.is_sparse or before.is_sparse)


def _passes_reader(transfer: Transfer, passes: Sequence[Pass]) -> Callable[[], tuple[Found, float]]:
    rows = [
        (p.names, transfer.row(p.lengths), transfer.row(p.highs), transfer.number(p.scale))
        for p in passes
    ]

    def read() -> tuple[Found, float]:
        found: Found = {}
        scale = 1.0
        for names, norms, peaks, by in rows:
            scale = by() or 1.0
            for name, norm, high in zip(names, norms(), peaks(), strict=True):
                found[name] = norm / scale, high / scale
        return found, scale

    return read


def _sight_reader(
    transfer: Transfer, sight: Sight | None
) -> Callable[[], tuple[dict[str, float], Found, dict[str, float]]]:
    if sight is None:
        return lambda: ({}, {}, {})
    norms, peaks = transfer.row(sight.lengths), transfer.row(sight.highs)
    products, old = transfer.row(sight.products), transfer.row(sight.previous)
    divisor = transfer.number(sight.divisor)

    def read() -> tuple[dict[str, float], Found, dict[str, float]]:
        by = divisor() or 1.0
        raw = dict(zip(sight.names, norms(), strict=True))
        by_hand = {
            name: (raw[name] / by, high / by)
            for name, high in zip(sight.by_hand, peaks(), strict=True)
        }
        cosines = {
            name: product / (raw[name] * norm)
            for name, product, norm in zip(sight.compared, products(), old(), strict=True)
            if raw[name] * norm
        }
        return {name: norm / by for name, norm in raw.items()}, by_hand, cosines

    return read


def _parameter(
    name: str,
    found: tuple[float, float] | None,
    shape: torch.Size,
    weight: float,
    update: float | None,
    cosine: float | None,
) -> WatchedParameter:
    l2, high = found or (None, None)
    return WatchedParameter(
        name=name,
        l2=l2,
        rms=None if l2 is None else l2 / math.sqrt(shape.numel()),
        high=high,
        weight_l2=weight,
        update_ratio=None if update is None or not weight else update / weight,
        cosine=cosine,
        axes=len(shape),
    )


def _activation(path: str, cut_off: bool, calls: list[tuple[float, int]]) -> WatchedActivation:
    part = sum(count for count, _ in calls) / sum(total for _, total in calls)
    if not cut_off:
        return WatchedActivation(name=path, saturated=part)
    return WatchedActivation(name=path, dead=part, units=max(total for _, total in calls))
