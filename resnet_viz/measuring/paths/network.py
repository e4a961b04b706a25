"""The autograd graph between a loss and one place, with its residual joins.

Forward facts (which operand of a join is the branch) come from the traced graph, the
derivative from autograd's own. ``NodeMap`` says which node belongs to which call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from torch.autograd.graph import Node

from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.paths import Side, residual_sides
from resnet_viz.core.errors import NotApplicableError
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.autograd_graph import NodeMap, Place

Links = dict[Node, list[tuple[int, Node, int]]]


@dataclass(frozen=True, slots=True, eq=False)
class Join:
    """A residual join in autograd's graph.

    Attributes:
        node: Whose output the join's is.
        inside: Other nodes of the same call (casts), consumers first.
        over_shortcut: Edges of these nodes, without those that enter the branch.
        over_branch: The same without those that enter the shortcut.
        sides: The places of the operands, and what each adds to the length.
    """

    node: Node
    inside: tuple[Node, ...]
    over_shortcut: Links
    over_branch: Links
    sides: tuple[tuple[Place, int], ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes of the call, consumers first."""
        return (self.node, *self.inside)


@dataclass(slots=True, eq=False)
class Network:
    """Nodes and edges on the ways from ``root`` to ``at``.

    Attributes:
        root: The loss.
        at: Where the gradient is wanted; the ways end here.
        order: The nodes, consumers first; ``at.node`` is the last.
        edges: Those that stay on the ways.
        joins: Residual joins on them, by node.
    """

    root: Place
    at: Place
    order: list[Node]
    edges: Links
    joins: dict[Node, Join] = field(default_factory=dict)


def network_of(
    root: Place, at: Place, nodes: NodeMap, graph: ModelGraph, structure: Structure
) -> Network:
    """The ways from the loss to a place.

    Raises:
        NotApplicableError: If there is none, or a join cannot be taken apart.
    """
    edges = _edges_to(root.node, at)
    if at.node not in edges:
        raise NotApplicableError("no gradient of the loss reaches the input")
    order = _ordered(root.node, edges)
    net = Network(root=root, at=at, order=order, edges=edges)
    flow = flow_of(graph)
    places: dict[OpId, set[Place]] = {}
    for made in nodes.produced:
        places.setdefault(made.op, set()).add(made.place)
    for position, sides in residual_sides(flow, structure.skips).items():
        op = flow.nodes[position].id
        _refuse_hidden(position, flow, nodes, places, edges)
        own = [p.node for p in places.get(op, ()) if p.node in edges]
        if own and own[0] is not at.node:
            found = [(flow.nodes[s.operand].id, s) for s in sides]
            join = _join(op, own[0], found, nodes, places, net)
            net.joins[join.node] = join
    return net


def _edges_to(root: Node, at: Place) -> Links:
    """The edges of all nodes on the ways from ``root`` to ``at``, and ``at`` without any."""
    above: dict[Node, list[tuple[Node, int, int]]] = {}
    seen, todo = {root}, [root]
    while todo:
        node = todo.pop()
        if node is at.node:
            continue
        for i, (below, slot) in enumerate(node.next_functions):
            if below is None or (below is at.node and slot != at.slot):
                continue
            above.setdefault(below, []).append((node, i, slot))
            if below not in seen:
                seen.add(below)
                todo.append(below)
    if at.node not in seen:
        return {}
    edges: Links = {at.node: []}
    todo = [at.node]
    while todo:
        below = todo.pop()
        for node, i, slot in above.get(below, ()):
            if node not in edges:
                edges[node] = []
                todo.append(node)
            edges[node].append((i, below, slot))
    return edges


def _ordered(root: Node, edges: Links) -> list[Node]:
    waiting: dict[Node, int] = {}
    for links in edges.values():
        for _, below, _ in links:
            waiting[below] = waiting.get(below, 0) + 1
    order, ready = [], [root]
    while ready:
        node = ready.pop()
        order.append(node)
        for _, below, _ in edges[node]:
            waiting[below] -= 1
            if not waiting[below]:
                ready.append(below)
    return order


def _refuse_hidden(
    join: int, flow: FlowGraph, nodes: NodeMap, places: dict[OpId, set[Place]], edges: Links
) -> None:
    """Raises if the join ran inside a custom ``Function`` that lies on the ways."""
    todo, seen = [join], {join}
    while todo:
        op = flow.nodes[todo.pop()].id
        if op not in nodes.hidden:
            continue
        if any(place.node in edges for place in places.get(op, ())):
            raise NotApplicableError(
                f"the residual join {flow.nodes[join].id} ran inside a custom autograd function "
                "(such as reentrant checkpointing), which is one node for autograd: its "
                "shortcut and its branch cannot be told apart"
            )
        new = [s for s in flow.succs[flow.graph.position(op)] if s not in seen]
        seen.update(new)
        todo += new


def _join(
    op: OpId,
    node: Node,
    operands: list[tuple[OpId, Side]],
    nodes: NodeMap,
    places: dict[OpId, set[Place]],
    net: Network,
) -> Join:
    own = _nodes_of(op, node, nodes, net)
    inside = set(own)
    entered = dict.fromkeys(
        Place(below, slot) for n in own for _, below, slot in net.edges[n] if below not in inside
    )
    sides = _told_apart(op, list(entered), operands, nodes, places)
    if len(own) > 1 and len(set(sides.values())) < 2:
        # One operand's nodes belong to no call that was seen (``torch.func.grad``).
        raise _inseparable(op)
    ways: tuple[Links, Links] = ({}, {})
    for each in own:
        for edge in net.edges[each]:
            length = sides.get(Place(*edge[1:]))
            for links in ways if length is None else (ways[length],):
                links.setdefault(each, []).append(edge)
    return Join(
        node=node,
        inside=tuple(own[1:]),
        over_shortcut=ways[0],
        over_branch=ways[1],
        sides=tuple(sides.items()),
    )


def _told_apart(
    op: OpId,
    entered: list[Place],
    operands: list[tuple[OpId, Side]],
    nodes: NodeMap,
    places: dict[OpId, set[Place]],
) -> dict[Place, int]:
    """What each operand's place adds to the length of a path."""
    sides: dict[Place, int] = {}
    strange: list[Place] = []
    for place in entered:
        lengths = {s.length for source, s in operands if place in places.get(source, ())}
        if not lengths:
            # A view whose memory was written to afterwards has another node by now.
            lengths = {s.length for source, s in operands if source == nodes.owner(place.node)}
        if len(lengths) > 1:
            raise _inseparable(op)
        if lengths:
            sides[place] = lengths.pop()
        else:
            strange.append(place)
    if strange:
        # Train mode may add a call to one side that eval mode has not: stochastic depth.
        known = set(sides.values())
        if len(known) != 1:
            raise _inseparable(op)
        sides.update(dict.fromkeys(strange, 1 - known.pop()))
    return sides


def _inseparable(op: OpId) -> NotApplicableError:
    return NotApplicableError(
        f"autograd does not tell the operands of the residual join {op} apart"
    )


def _nodes_of(op: OpId, node: Node, nodes: NodeMap, net: Network) -> list[Node]:
    """The nodes of the call whose output ``node`` makes, consumers first."""
    own, todo = {node}, [node]
    while todo:
        for _, below, _ in net.edges[todo.pop()]:
            if nodes.owner(below) == op and below not in own:
                own.add(below)
                todo.append(below)
    return [node] if len(own) == 1 else list(in_order(net.order, own))


def in_order(order: Iterable[Node], chosen: set[Node]) -> Iterator[Node]:
    """The chosen nodes, consumers first."""
    return (node for node in order if node in chosen)
