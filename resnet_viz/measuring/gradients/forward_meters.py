"""How alive activation functions are, and in which mode normalisation layers ran.

Looked at just after each call, since a later one may write into its output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from resnet_viz.analysis.channels import channel_axes
from resnet_viz.core.forward_facts import Activity, NormMode
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.measuring.gradients.statistics import coprime_step
from resnet_viz.tracing.functions import kind_of
from resnet_viz.tracing.module_tree import ModuleTree
from resnet_viz.tracing.walk import Function, Walk

PLACES = 128
"""Of each unit about so many outputs are looked at, evenly spaced: a strided read."""

DEAD = 0.01
"""A unit that is above zero in fewer of its places is dead (SageMaker, DeadRelu)."""

FLAT = 0.05
"""Where the slope is below this part of its largest, a function is saturated."""


def feature_axes(graph: ModelGraph) -> dict[OpId, int | None]:
    """The axis of the features in the first output of each call."""
    nodes = tuple(graph.nodes())
    sources = [[graph.position(e.src) for e in graph.edges_in(op.id)] for op in nodes]
    return dict(zip((op.id for op in nodes), channel_axes(nodes, sources), strict=True))


# -- activation functions ----------------------------------------------------------

_Test = Callable[[Tensor], Tensor]


class _Family(NamedTuple):
    """Whether a function ``cuts`` off at zero or ``squashes``, and the test of one output."""

    what: Literal["cuts", "squashes"]
    test: _Test


def _is_positive(output: Tensor) -> Tensor:
    return output > 0


_CUTS = _Family("cuts", _is_positive)


def _beyond(low: float, high: float) -> _Family:
    return _Family("squashes", lambda y: (y <= low) | (y >= high))


IS_FLAT: dict[str, _Test] = {
    "sigmoid": lambda y: y * (1 - y) < FLAT / 4,
    "tanh": lambda y: 1 - y * y < FLAT,
}
"""Where outputs are saturated: the slopes are y(1 − y), at most 1/4, and 1 − y²."""

_SQUASHES = {
    **{kind: _Family("squashes", test) for kind, test in IS_FLAT.items()},
    "hardsigmoid": _beyond(0.0, 1.0),
}


def _family(kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Family | None:
    """What a call does, by its kind and its bounds; ``None`` for anything else."""

    def bound(index: int, *names: str, default: float | None = None) -> Any:
        if index < len(args):
            return args[index]
        return next((kwargs[name] for name in names if name in kwargs), default)

    if kind in ("relu", "relu6"):
        return _CUTS
    if kind in _SQUASHES:
        return _SQUASHES[kind]
    if kind == "hardtanh":
        low, high = bound(1, "min_val", default=-1.0), bound(2, "max_val", default=1.0)
        return _CUTS if low == 0 else _beyond(low, high)
    if kind == "threshold":
        return _CUTS if bound(2, "value") == 0 else None
    if kind in ("clamp", "clamp_min", "clip"):
        low, high = bound(1, "min"), bound(2, "max")
        is_zero = isinstance(low, int | float) and low == 0
        return _CUTS if is_zero and high is None else None
    return None


def _looked_at(output: Tensor, axis: int, every: bool) -> tuple[Tensor, bool]:
    """(before, features, after) of an even sample of an output, and whether that is all."""
    shape = output.shape
    before, after = shape[:axis].numel(), shape[axis + 1 :].numel()
    table = output.detach().reshape(before, shape[axis], after)
    if every or before * after <= PLACES:
        return table, True
    rows = coprime_step(before, PLACES)
    columns = coprime_step(after, max(1, PLACES // -(-before // rows)))
    return table[::rows, :, ::columns], rows == columns == 1


@dataclass(slots=True)
class _Alive:
    """What is known of one call until its numbers are read."""

    op: OpId
    units: int
    what: Literal["cuts", "squashes"]
    exact: bool
    numbers: list[Tensor]


class Activities:
    """Watches activation functions.

    Args:
        graph: Tells which axis holds the features.
        every: Whether every output is looked at, or an even sample.
    """

    def __init__(self, graph: ModelGraph, *, every: bool) -> None:
        self._axes = feature_axes(graph)
        self._every = every
        self._rows: list[_Alive] = []

    def called(
        self,
        op: OpId,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
    ) -> None:
        """Counts outputs above zero, or where the slope is flat."""
        family = _family(kind_of(func), args, kwargs)
        if family is None:
            return
        output = outputs[0]
        if not output.is_floating_point() or not output.numel() or not output.ndim:
            return
        self._rows.append(self._measured(op, output, family))

    def _measured(self, op: OpId, output: Tensor, family: _Family) -> _Alive:
        axis = self._axes.get(op)
        if axis is None or axis >= output.ndim:
            axis = output.ndim - 1
        table, exact = _looked_at(output, axis, self._every)
        hits = family.test(table).sum((0, 2), dtype=torch.float32)
        places = table.shape[0] * table.shape[2]
        numbers = [hits.sum() / (places * len(hits))]
        if family.what == "cuts":
            numbers.append((hits < DEAD * places).mean(dtype=torch.float32))
        return _Alive(op, output.shape[axis], family.what, exact, numbers)

    @property
    def numbers(self) -> list[Tensor]:
        """What to transfer, in the order ``read`` wants it."""
        return [n for row in self._rows for n in row.numbers]

    def read(self, numbers: Iterator[float]) -> tuple[Activity, ...]:
        """One value per activation function, in forward order."""
        found = []
        for row in self._rows:
            cuts = row.what == "cuts"
            first = next(numbers)
            found.append(
                Activity(
                    op=row.op,
                    units=row.units,
                    active=first if cuts else None,
                    dead=next(numbers) if cuts else None,
                    saturated=None if cuts else first,
                    exact=row.exact,
                )
            )
        return tuple(found)


# -- normalisation -----------------------------------------------------------------

_BATCHED = frozenset({"batch_norm", "batch_norm_stats", "instance_norm"})


@dataclass(slots=True)
class _Norm:
    """One normalisation layer, and over how many places it took its statistics."""

    path: str
    module: nn.Module
    statistics: Literal["batch", "running"]
    training: bool
    places: int
    per_sample: bool


class NormModes:
    """Watches layers that can normalise by the batch or by running statistics.

    Args:
        model: Before its forward, as steps are counted by it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(ModuleTree(model).entries)
        self._rows: dict[str, _Norm] = {}
        counters = {
            path: counter
            for path, module in self._modules.items()
            if isinstance(counter := getattr(module, "num_batches_tracked", None), Tensor)
        }
        self._counted = list(counters)
        # Copies: the forward counts on in place.
        self.numbers = [counter.clone() for counter in counters.values()]
        self._stored = {
            path: module for path, module in self._modules.items() if _uses_stored(module)
        }
        self.numbers += [_is_fresh(module) for module in self._stored.values()]

    def called(
        self,
        op: OpId,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
    ) -> None:
        """Notes how a normalisation ran."""
        kind = kind_of(func)
        if kind not in _BATCHED or (path := walk.path) not in self._modules:
            return
        module, per_sample = self._modules[path], kind == "instance_norm"
        value = args[0] if args else kwargs["input"]
        # The sixth argument under every spelling of these functions.
        names = ("use_input_stats", True) if per_sample else ("training", False)
        by_batch = args[5] if len(args) > 5 else kwargs.get(*names)
        if per_sample and getattr(module, "running_mean", None) is None:
            return  # it knows one way only
        places = value.numel() // max(1, value.shape[1])
        if per_sample:
            places //= max(1, value.shape[0])
        if kind == "batch_norm_stats":
            by_batch = True
        statistics: Literal["batch", "running"] = "batch" if by_batch else "running"
        row = _Norm(path, module, statistics, module.training, places, per_sample)
        known = self._rows.setdefault(path, row)
        known.places = min(known.places, places)

    def read(self, numbers: Iterator[float]) -> tuple[NormMode, ...]:
        """One value per layer, in forward order."""
        steps = {path: int(next(numbers)) for path in self._counted}
        fresh = {path: bool(next(numbers)) for path in self._stored}
        found = []
        for row in self._rows.values():
            affine = list(row.module.parameters(recurse=False))
            by_batch = row.statistics == "batch"
            found.append(
                NormMode(
                    module=row.path,
                    type_name=type(row.module).__name__,
                    statistics=row.statistics,
                    training=row.training,
                    places=row.places if by_batch else 0,
                    # An instance norm has the counter and never moves it.
                    steps=None if row.per_sample else steps.get(row.path),
                    frozen=bool(affine) and not any(p.requires_grad for p in affine),
                    fresh=fresh.get(row.path, False),
                )
            )
        return tuple(found)


def _uses_stored(module: nn.Module) -> bool:
    """Whether it is in eval mode and keeps a mean and a variance."""
    stored = (getattr(module, name, None) for name in ("running_mean", "running_var"))
    return not module.training and all(isinstance(t, Tensor) and t.numel() for t in stored)


def _is_fresh(module: nn.Module) -> Tensor:
    """Whether mean and variance are what they start as."""
    mean, variance = module.running_mean, module.running_var
    assert isinstance(mean, Tensor)
    assert isinstance(variance, Tensor)
    return ((mean == 0).all() & (variance == 1).all()).float()
