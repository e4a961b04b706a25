"""The graded backward: the gradient split by the number of branches it came through.

G(t) = Σ_k t^k g_k is carried from the loss to the input. At a residual join
G ← J_Sᵀ G + t·J_Fᵀ G; everywhere else G ← Jᵀ G. That is exact and linear, in n²/2
branch backwards for n blocks.

Autograd's graph is cut at *stations*: the joins, and every node that the gradient reaches
from more than one station. Between two stations all degrees run one after the other, so a
whole polynomial is only ever held at stations. For a chain of n blocks the memory is that
of the forward, plus n + 1 gradients the size of the block's input, plus what one backward of
one block needs for ``chunk`` degrees at a time. What a segment saved in the forward is
let go with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.autograd.graph import Node

from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.measuring.paths.network import Links, Network
from resnet_viz.measuring.paths.pulling import Arrived, Slots, pull, put

Polynomial: TypeAlias = list[Slots | None]
"""Per degree the gradient at each output of a node; ``None`` where there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """What lies between a station and those behind it.

    Attributes:
        node: The station.
        head: The station's own nodes, consumers first.
        same: Edges out of the head that keep the degree.
        lifted: Edges out of the head that raise it by one; empty but for joins.
        body: The other nodes, consumers first.
        edges: Their edges.
    """

    node: Node
    head: tuple[Node, ...]
    same: Links
    lifted: Links
    body: tuple[Node, ...]
    edges: Links

    def advance(self, same: Slots | None, below: Slots | None) -> Arrived:
        """What one degree sends to the stations behind.

        Args:
            same: The gradient of this degree here.
            below: The gradient of one degree less here.
        """
        arrived: Arrived = {}
        for slots, links in ((same, self.same), (below, self.lifted)):
            if slots is not None and links:
                for node, more in pull(links, self.head, {self.node: slots}).items():
                    for slot, gradient in enumerate(more):
                        if gradient is not None:
                            put(arrived, node, slot, gradient)
        return pull(self.edges, self.body, arrived)


def segments_of(net: Network) -> list[Segment]:
    """The segments of a network, those nearest to the loss last (to be popped)."""
    above: dict[Node, Node] = {}
    stations: dict[Node, list[Node]] = {}
    owners = {node: join.node for join in net.joins.values() for node in join.inside}
    reached: dict[Node, set[Node]] = {net.root.node: set()}
    for node in net.order:
        if node in owners:
            above[node] = owners[node]
        elif node in net.joins or node is net.at.node or len(reached[node]) != 1:
            above[node] = node
            stations[node] = []
        else:
            above[node] = next(iter(reached[node]))
            stations[above[node]].append(node)
        for _, below, _ in net.edges[node]:
            reached.setdefault(below, set()).add(above[node])
    del stations[net.at.node]
    return [_segment(net, node, body) for node, body in reversed(stations.items())]


def _segment(net: Network, node: Node, body: list[Node]) -> Segment:
    join = net.joins.get(node)
    return Segment(
        node=node,
        head=(node,) if join is None else join.nodes,
        same={node: net.edges[node]} if join is None else join.over_shortcut,
        lifted={} if join is None else join.over_branch,
        body=tuple(body),
        edges={each: net.edges[each] for each in body},
    )


def graded_backward(
    segments: list[Segment],
    seed: Tensor,
    *,
    chunk: int = 1,
    progress: Progress = SILENT,
) -> Polynomial:
    """The g_k at the end of the last segment, by degree.

    Args:
        segments: Those nearest to the loss last; taken off one by one, so that nothing
            holds on to what their nodes saved.
        seed: The gradient of the loss.
        chunk: Degrees in one batched backward (``torch.vmap``), where the kernels allow it.
        progress: Told of each segment.
    """
    polynomials: dict[Node, Polynomial] = {segments[-1].node: [[seed]]}
    while segments:
        segment = segments.pop()
        given = polynomials.pop(segment.node, [])
        for degree, arrived in _advanced(segment, given, chunk):
            for node, more in arrived.items():
                _add(polynomials.setdefault(node, []), degree, more)
        progress.advance()
    # All stations but the last were used up on the way.
    return next(iter(polynomials.values()), [])


def _add(polynomial: Polynomial, degree: int, more: Slots) -> None:
    polynomial.extend([None] * (degree + 1 - len(polynomial)))
    known = polynomial[degree]
    if known is None:
        polynomial[degree] = list(more)
        return
    for slot, gradient in enumerate(more):
        before = known[slot]
        if gradient is not None:
            known[slot] = gradient if before is None else before + gradient


def _advanced(segment: Segment, given: Polynomial, chunk: int) -> Iterator[tuple[int, Arrived]]:
    """What each degree sends on, from the highest down; ``given`` is used up on the way."""
    top = len(given) if segment.lifted else len(given) - 1
    while top >= 0:
        low = max(top - chunk + 1, 0)
        degrees = range(low, top + 1)
        same = [given[k] if k < len(given) else None for k in degrees]
        below = [given[k - 1] if segment.lifted and k else None for k in degrees]
        batched = _batched(segment, same, below) if len(degrees) > 1 else None
        if batched is None:
            batched = [segment.advance(a, b) for a, b in zip(same, below, strict=True)]
        # The next degree down still needs ``given[low - 1]``, and nobody what is above.
        del given[low:], same, below
        while batched:
            yield top, batched.pop()
            top -= 1


def _batched(
    segment: Segment, same: list[Slots | None], below: list[Slots | None]
) -> list[Arrived] | None:
    """All these degrees in one backward; ``None`` where some kernel cannot be batched."""
    packed, unpack = _pack([same, below])
    if not packed:
        return [{} for _ in same]
    keys: list[tuple[Node, int, int]] = []

    def run(stacks: list[Tensor]) -> list[Tensor]:
        here, before = unpack(stacks)
        arrived = segment.advance(here, before)
        found = [
            ((node, slot, len(slots)), gradient)
            for node, slots in arrived.items()
            for slot, gradient in enumerate(slots)
            if gradient is not None
        ]
        keys[:] = [key for key, _ in found]
        return [gradient for _, gradient in found]

    try:
        with warnings.catch_warnings():
            # A kernel without a rule for batches runs in a loop of torch's own.
            warnings.simplefilter("ignore")
            stacks = torch.vmap(run)(packed)
    except Exception:  # a custom Function may do what no batch can; one by one raises it again
        return None
    results: list[Arrived] = [{} for _ in same]
    for (node, slot, width), stack in zip(keys, stacks, strict=True):
        for arrived, gradient in zip(results, stack.unbind(), strict=True):
            arrived.setdefault(node, [None] * width)[slot] = gradient
    return results


def _pack(
    groups: list[list[Slots | None]],
) -> tuple[list[Tensor], Callable[[list[Tensor]], list[Slots | None]]]:
    """One stack per slot that holds anything, zeros where a degree lacks it."""
    stacks: list[Tensor] = []
    places: list[list[int | None] | None] = []
    for rows in groups:
        width = max((len(row) for row in rows if row is not None), default=0)
        where: list[int | None] = []
        for slot in range(width):
            column = [None if row is None else row[slot] for row in rows]
            like = next((g for g in column if g is not None), None)
            where.append(None if like is None else len(stacks))
            if like is not None:
                zero = torch.zeros_like(like)
                stacks.append(torch.stack([zero if g is None else g for g in column]))
        places.append(where or None)

    def unpack(given: list[Tensor]) -> list[Slots | None]:
        return [
            None if where is None else [None if i is None else given[i] for i in where]
            for where in places
        ]

    return stacks, unpack
