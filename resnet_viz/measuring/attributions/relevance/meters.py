"""Conductance of every call, as one run after the other goes along the path.

The change of h is taken in the forward, just after the call, when no later one has written
into h, and meets the gradient in the backward: no activation is kept for it beyond the change
itself. Of the last row of a run h and g are kept for the next run.

At a product neither operand alone makes the change: half of Δa Δb is given to each, which
for two operands is exact: Δ(ab) = b̄ Δa + ā Δb.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from resnet_viz.core.graph import OpId
from resnet_viz.core.message import say
from resnet_viz.measuring.attributions.relevance.changes import Change, Stretch
from resnet_viz.measuring.attributions.relevance.layouts import Key, Layout
from resnet_viz.measuring.attributions.relevance.plan import Join, Operand, Plan
from resnet_viz.measuring.autograd_graph import NodeMap, Place
from resnet_viz.tracing.walk import Function, Walk

_LARGE = 1 << 15
"""Elements from which rows are added one by one, so that the sum stays in the cache."""


class Meters:
    """Adds up what each element contributes.

    Attributes:
        sums: Per key ``(samples, elements)``, twice the conductance of each.
        followed: Outputs whose change was taken.
        lost: Calls whose value could not be followed, and why.
    """

    def __init__(self, plan: Plan, layouts: dict[Key, Layout], samples: int) -> None:
        """Nothing is added up yet.

        Args:
            plan: What is measured.
            layouts: Where rows are in each output; what is not in it is not measured.
            samples: Of each point of the path.
        """
        self._plan = plan
        self._layouts = layouts
        self._samples = samples
        self._stretch = Stretch(points=0)
        self._changes: dict[Key, Change] = {}
        self._places: dict[Place, list[Key]] = {}
        self._shapes: dict[Key, torch.Size] = {}
        self._nodeless: dict[OpId, list[tuple[Key, int]]] = {}
        self._values: dict[Key, Tensor] = {}
        self._room: dict[Key, Tensor] = {}
        self._gradients: dict[Key, Tensor] = {}
        self._factors: dict[OpId, list[Tensor]] = {}
        self._last_factors: dict[OpId, list[Tensor]] = {}
        self.sums: dict[Key, Tensor] = {}
        self._partly: set[Key] = set()
        self.followed: set[Key] = set()
        self.lost: dict[OpId, str] = {}

    # -- a run -------------------------------------------------------------------------

    def begin(self, stretch: Stretch) -> None:
        """The next run is of this stretch of the path."""
        self._stretch = stretch
        self._changes.clear()
        self._places.clear()
        self._nodeless.clear()
        self._factors.clear()

    def start(self, op: OpId, value: Tensor) -> None:
        """An input of the path: its gradient is told by ``arrived``."""
        self._follow(Key(op, 0), value)

    def entering(self, op: OpId, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keeps what meets at a product: the call may write into it."""
        join = self._plan.joins.get(op)
        if join is not None and join.kind == "product" and op in self._plan.measured:
            given = [*args, *kwargs.values()]
            self._factors[op] = [
                given[o.place].detach().clone() for o in join.operands if o.place < len(given)
            ]

    def called(
        self,
        op: OpId,
        _walk: Walk,
        _func: Function,
        args: tuple[Any, ...],
        _kwargs: dict[str, Any],
        outputs: list[Tensor],
    ) -> None:
        """Takes the change of what a call gave."""
        if op not in self._plan.measured:
            return
        for slot, value in enumerate(outputs):
            key = Key(op, slot)
            if key not in self._layouts or not _is_continuous(value) or not value.numel():
                continue
            if value.grad_fn is not None:
                self._claim(key, Place(value.grad_fn, value.output_nr))
                if value._base is not None and any(value is a for a in args):
                    self._partly.add(key)
            elif torch.is_grad_enabled():
                continue
            else:
                self._nodeless.setdefault(op, []).append((key, value.numel()))
            self._follow(key, value)
        if op in self._factors:
            self._follow_factors(op, outputs[0])

    def ended(self, nodes: NodeMap) -> None:
        """Learns the nodes of what ran inside a custom ``Function``."""
        for produced in nodes.produced if self._nodeless else ():
            waiting = self._nodeless.get(produced.op, [])
            for i, (key, numel) in enumerate(waiting):
                if numel == produced.numel:
                    self._claim(key, produced.place)
                    del waiting[i]
                    break

    def _claim(self, key: Key, place: Place) -> None:
        keys = self._places.setdefault(place, [])
        if any(other.op in self._plan.forks for other in keys):
            # The gradient that arrives there is of all who read the value.
            self.lost[key.op] = say("it passes on a value that others read as well")
        else:
            keys.append(key)

    def end(self) -> None:
        """After the last run: what was only seen through what holds it is lost."""
        for key in self._partly - self.sums.keys():
            self.lost[key.op] = say("it writes into a part of another tensor")

    def hooks(self) -> Iterator[Any]:
        """Places the hooks; each is a handle to remove."""
        by_node: dict[Node, list[tuple[int, list[Key]]]] = {}
        for place, keys in self._places.items():
            by_node.setdefault(place.node, []).append((place.slot, keys))
        for node, slots in by_node.items():
            yield node.register_prehook(self._meet(slots))

    def _meet(self, slots: list[tuple[int, list[Key]]]) -> Callable[[Any], None]:
        def hook(grad_outputs: Any) -> None:
            with torch.no_grad():
                for slot, keys in slots:
                    if grad_outputs[slot] is not None:
                        # Of several calls that gave one tensor the last first.
                        for key in reversed(keys):
                            self.arrived(key, grad_outputs[slot])

        return hook

    def arrived(self, key: Key, gradient: Tensor) -> None:
        """The gradient at an output is there: what its elements contributed is added."""
        join = self._plan.joins.get(key.op) if not key.slot else None
        if join is not None:
            self._join(key, join, gradient)
        change = self._changes.pop(key, None)
        if change is not None:
            self._add(key, self._rows(key, gradient), change)

    def _join(self, key: Key, join: Join, gradient: Tensor) -> None:
        offset = 0
        for operand in join.operands:
            target = Key(key.op, operand.in_slot, True)
            source = Key(operand.src, operand.out_slot)
            if operand.alone:
                continue
            if join.kind == "product":
                change = self._changes.pop(target, None)
                if change is not None:
                    self._add(target, self._rows(key, gradient), change)
                continue
            change = self._changes.get(source)
            if change is None or source in self._partly:
                continue
            if join.kind == "stack":
                offset = self._offset(join, operand)
                size = self._shapes[source][join.axis]
                part = gradient.narrow(join.axis, offset, size)
                self._add(target, self._rows(source, part), change)
                continue
            shape = self._shapes[key]
            if self._shapes[source] != shape or self._layouts[source] != self._layouts[key]:
                change = self._spread(source, key, change)
            self._add(target, self._rows(key, gradient), change, operand.factor)

    def _offset(self, join: Join, operand: Operand) -> int:
        """Where an operand begins in a stack, by the sizes of this run."""
        before = [o for o in join.operands if o.place < operand.place]
        return sum(self._shapes[Key(o.src, o.out_slot)][join.axis] for o in before)

    # -- rows --------------------------------------------------------------------------

    def _rows(self, key: Key, value: Tensor) -> Tensor:
        """``(points, samples, elements)``, in single precision at least."""
        value = value.detach()
        if value.is_complex():
            value = torch.view_as_real(value.resolve_conj())
        if value.dtype in (torch.float16, torch.bfloat16):
            value = value.float()
        layout = self._layouts[key]
        rows = layout.rows_first(value, self._stretch.points * self._samples)
        return rows.reshape(self._stretch.points, self._samples, -1)

    def _follow(self, key: Key, value: Tensor) -> None:
        if key not in self.followed and not value.is_complex():
            self._layouts[key] = self._layouts[key].lying_as(value)
        rows = self._rows(key, value)
        self._shapes[key] = value.shape
        self.followed.add(key)
        before = self._values.get(key)
        if before is not None and before.shape != rows.shape[1:]:
            self.lost[key.op] = say("its shape changes along the path")
            return
        room = self._room.get(key)
        if room is None or room.shape != rows.shape:
            room = self._room[key] = torch.empty_like(rows, memory_format=torch.contiguous_format)
        self._changes[key] = self._stretch.change(rows, before, room)
        if not self._stretch.is_last:
            self._values[key] = _kept(before, rows[-1])

    def _follow_factors(self, op: OpId, output: Tensor) -> None:
        """The change of a product by each of its operands, on the product's own shape."""
        key, join = Key(op, 0), self._plan.joins[op]
        factors = self._factors.pop(op)
        if key not in self._changes or len(factors) != len(join.operands) or len(factors) != 2:
            return
        wide = [self._rows(key, f.expand_as(output)) for f in factors]
        before = self._last_factors.get(op)
        if not self._stretch.is_last:
            self._last_factors[op] = [rows[-1].clone() for rows in wide]
        if before is not None:
            wide = [torch.cat((b[None], rows)) for b, rows in zip(before, wide, strict=True)]
        for operand, mine, other in zip(join.operands, wide, reversed(wide), strict=True):
            moved = mine[1:] - mine[:-1]
            moved *= (other[1:] + other[:-1]) / 2
            target = Key(op, operand.in_slot, True)
            self._changes[target] = self._stretch.gathered(moved, since=before is not None)

    def _spread(self, source: Key, key: Key, change: Change) -> Change:
        """The change of an operand in the shape of the sum that it is broadcast to."""
        shape, layout = self._shapes[source], self._layouts[source]

        def wide(rows: Tensor) -> Tensor:
            points = self._stretch.points
            full = layout.as_it_was(rows, shape, points * self._samples)
            return self._rows(key, full.expand(self._shapes[key]))

        rows = None if change.rows is None else wide(change.rows)
        if change.since is None:
            return Change(rows, None)
        # One point in the shape of all of them.
        return Change(rows, wide(change.since.expand(self._stretch.points, -1, -1))[0])

    def _add(self, key: Key, gradient: Tensor, change: Change, factor: float = 1.0) -> None:
        before = self._gradients.pop(key, None)
        if not self._stretch.is_last:
            # A row of many is copied, so that the others can go.
            self._gradients[key] = gradient[-1].clone() if len(gradient) > 1 else gradient[-1]
        total = self.sums.get(key)
        if total is None:
            total = self.sums[key] = torch.zeros_like(
                gradient[0], memory_format=torch.contiguous_format
            )
        if change.since is not None and before is not None:
            total.addcmul_(before, change.since, value=factor)
        if change.rows is None:
            return
        if total.numel() < _LARGE:
            total.add_((gradient * change.rows).sum(0), alpha=factor)
            return
        for row, moved in zip(gradient, change.rows, strict=True):
            total.addcmul_(row, moved, value=factor)


def _is_continuous(value: Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()


def _kept(room: Tensor | None, row: Tensor) -> Tensor:
    """A copy of a row, in the place of the one before."""
    return row.clone() if room is None else room.copy_(row)
