"""What the gradient of every parameter is, and why one has none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from resnet_viz.core.gradient_flow import Cosine, ParameterGradient
from resnet_viz.core.message import say
from resnet_viz.measuring.gradients.products import dot, flat
from resnet_viz.measuring.gradients.statistics import (
    Detail,
    measure,
    measure_units,
    measure_weight,
    read,
    read_units,
)

Gradients = Mapping[int, Tensor]
"""Gradients by the ``id`` of their parameter."""


@dataclass(slots=True)
class _Row:
    """One parameter and which of its numbers were measured."""

    name: str
    parameter: nn.Parameter
    has_gradient: bool = False
    has_units: bool = False
    has_cosine: bool = False
    has_update: bool = False


class ParameterMeters:
    """Measures every parameter, with a gradient or without.

    Args:
        model: Whose parameters.
        gradients: Of this batch.
        reads: ``id`` of every parameter that some call read.
        detail: How much.
        before: Gradients of the batch before; empty for the first.
        updates: Squared norm of the optimizer's step, by the ``id`` of the parameter.
    """

    def __init__(
        self,
        model: nn.Module,
        gradients: Gradients,
        reads: set[int],
        detail: Detail,
        before: Gradients,
        updates: Mapping[int, Tensor],
    ) -> None:
        self._reads = reads
        self._detail = detail
        self._rows: list[_Row] = []
        self.numbers: list[Tensor] = []
        for name, parameter in model.named_parameters():
            row = _Row(name, parameter)
            self._rows.append(row)
            gradient = gradients.get(id(parameter))
            if gradient is None or not gradient.numel():
                self.numbers.append(measure_weight(parameter))
            else:
                row.has_gradient = True
                self._measure(row, gradient, before.get(id(parameter)))
            update = updates.get(id(parameter))
            if update is not None:
                row.has_update = True
                self.numbers.append(update)

    def _measure(self, row: _Row, gradient: Tensor, before: Tensor | None) -> None:
        parameter = row.parameter
        row.has_units = self._detail != "norm" and parameter.ndim > 1
        square = None
        if row.has_units:
            units, square, weight = measure_units(gradient, parameter)
            self.numbers += units
        else:
            weight = measure_weight(parameter)
        self.numbers.append(weight)
        self.numbers += measure(gradient, self._detail, square)
        if before is not None:
            row.has_cosine = True
            here, there = flat(gradient), flat(before)
            self.numbers += [dot(here, there), dot(there, there)]

    def read(self, numbers: Iterator[float]) -> tuple[ParameterGradient, ...]:
        """One row per parameter, in registration order."""
        return tuple(self._read(row, numbers) for row in self._rows)

    def _read(self, row: _Row, numbers: Iterator[float]) -> ParameterGradient:
        parameter = row.parameter
        units = read_units(numbers, len(parameter)) if row.has_units else None
        weight = math.sqrt(next(numbers))
        if not row.has_gradient:
            stats, reason = None, self._why_none(parameter)
        else:
            stats = read(numbers, parameter.numel(), self._detail)
            reason = say("exactly zero") if stats.vanished else ""
        cosine = None
        if row.has_cosine and stats is not None:
            cosine = _cosine(next(numbers), stats.l2, math.sqrt(next(numbers)))
        update = math.sqrt(next(numbers)) if row.has_update else None
        return ParameterGradient(
            name=row.name,
            stats=stats,
            weight_l2=weight,
            reason=reason,
            units=units,
            update_ratio=update / weight if update is not None and weight else None,
            cosine=cosine,
        )

    def _why_none(self, parameter: nn.Parameter) -> str:
        if not parameter.requires_grad:
            return say("frozen")
        if id(parameter) not in self._reads:
            return say("never used in the forward")
        if not parameter.numel():
            return say("it has no elements")
        return say("not on a path to the loss")


def _cosine(product: float, one: float, other: float) -> Cosine | None:
    """``None`` where a gradient is zero and has no direction."""
    size = one * other
    return Cosine(mean=product / size, count=1) if size else None
