"""The diagram as other layout engines want it: boxes, nodes and edges, no coordinates.

``diagram`` says what is in the picture; here it is decided what of it stands for
what once boxes are closed. A closed block becomes two nodes, its body and its
join, so that its skip can be drawn past it. The law that tests hold this to: in
every collapse mode each skip is exactly one edge, each block one box or one node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from resnet_viz.core import units
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.structure import Skip
from resnet_viz.reporting.colouring.quantities import colouring_of, stream_of
from resnet_viz.reporting.drawing.diagram import drawn
from resnet_viz.reporting.drawing.river import OUTPUT, River
from resnet_viz.reporting.folding.fold import fold

NodeKind = Literal["op", "body", "join", "module"]
EdgeKind = Literal["plain", "skip", "shortcut"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneNode:
    """A node: an op, a closed block's body or join, or a closed module.

    Attributes:
        key: Unique, and plain ASCII.
        kind: What it stands for.
        box: Index of the box it lies in; -1 for the drawing itself.
        fact: The diagram's facts about the op or group.
        block: Index of the block it marks; -1 for none.
        order: Place among all nodes, by first op.
    """

    key: str
    kind: NodeKind
    box: int
    fact: dict[str, Any]
    block: int = -1
    order: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneEdge:
    """An edge.

    Attributes:
        src: Key of its start.
        dst: Key of its end.
        kind: What it is.
        skip: Index of the skip it marks or belongs to; -1 for none.
        carries: Its part of the gradient, signed, and whether it is a branch (1) or what all
            of the gradient passes (0), as ``river`` says; ``None`` where not known.
        shape: What it carries, where ``options.edge_shapes`` asks and it is new at its start.
    """

    src: str
    dst: str
    kind: EdgeKind = "plain"
    skip: int = -1
    carries: tuple[float, int] | None = None
    shape: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What to draw.

    Attributes:
        report: What is drawn: the report, folded where repeats are drawn once.
        data: The diagram's JSON, for names, chips, colours and totals.
        boxes: Indices of the groups that are open, each after the one around it.
        nodes: All nodes, in execution order.
        edges: All edges, each skip's mark among them.
    """

    report: Report
    data: dict[str, Any]
    boxes: tuple[int, ...]
    nodes: tuple[SceneNode, ...]
    edges: tuple[SceneEdge, ...]
    _children: dict[int, list[int]] = field(init=False, repr=False, compare=False)
    _inside: dict[int, list[SceneNode]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Builds the look-up tables."""
        children: dict[int, list[int]] = {}
        for box in self.boxes:
            children.setdefault(self.data["groups"][box]["parent"], []).append(box)
        inside: dict[int, list[SceneNode]] = {}
        for node in self.nodes:
            inside.setdefault(node.box, []).append(node)
        object.__setattr__(self, "_children", children)
        object.__setattr__(self, "_inside", inside)

    def children(self, box: int) -> Sequence[int]:
        """The open boxes right inside this one."""
        return self._children.get(box, ())

    def inside(self, box: int) -> Sequence[SceneNode]:
        """The nodes right inside this open box; of the drawing itself for -1."""
        return self._inside.get(box, ())


def scene(report: Report, options: RenderOptions, *, marked: bool = True) -> Scene:
    """The diagram after closing what ``options.collapse`` closes.

    A box stays open, whatever the mode, while there is a block inside it that would
    go unmarked.

    Args:
        report: What to draw.
        options: How.
        marked: Keep that law; without it a closed box may hide skips and blocks.

    Raises:
        UserError: If ``options.focus`` is no module that ran.
    """
    folded = fold(report, options)
    data = drawn(folded, options)
    is_open = _opened(data, options.collapse, marked)
    stand_in = _StandIn(data, is_open)
    nodes: dict[str, SceneNode] = {}
    for place in range(len(data["nodes"])):
        node = stand_in.node(place)
        nodes.setdefault(node.key, node)
    for node in [n for n in nodes.values() if n.kind == "join"]:
        # A block that is nothing but its join (a gate of one op) still has a body.
        body = stand_in.body(int(node.key[1:]))
        nodes.setdefault(body.key, body)
    stream = stream_of(folded.report, colouring_of(report, options))
    edges = _edges(folded.report, data, stand_in, stream)
    if not marked:
        edges = [edge for edge in edges if edge.src != edge.dst]
    if options.edge_shapes:
        edges = _with_shapes(folded.report, data, stand_in, edges)
    return Scene(
        report=folded.report,
        data=data,
        boxes=tuple(i for i in range(len(is_open)) if stand_in.shown(i)),
        nodes=tuple(sorted(nodes.values(), key=lambda n: (n.order, n.key))),
        edges=tuple(edges),
    )


def _opened(data: dict[str, Any], collapse: str, marked: bool) -> list[bool]:
    groups = data["groups"]
    if not marked:
        return [bool(is_open) for is_open in data["open"][collapse]]
    must = [False] * len(groups)
    kinds = [block["kind"] for block in data["blocks"]]
    for node in data["nodes"]:
        if "block" in node and node["group"] >= 0:
            must[node["group"]] = True
    for i in range(len(groups) - 1, -1, -1):
        block, parent = groups[i].get("block", -1), groups[i]["parent"]
        # A nameless block (a gate) is a detail of the block around it, not one to list.
        named = block >= 0 and not kinds[block].endswith("other")
        if parent >= 0 and (must[i] or named or (block >= 0 and "block" not in groups[parent])):
            must[parent] = True
    return [bool(a) or b for a, b in zip(data["open"][collapse], must, strict=True)]


class _StandIn:
    """Which node stands for an op once boxes are closed."""

    def __init__(self, data: dict[str, Any], is_open: list[bool]) -> None:
        self.data = data
        self.is_open = is_open
        self.groups = data["groups"]
        self.place = {node["id"]: i for i, node in enumerate(data["nodes"])}
        self.closed = [self._outermost_closed(i) for i in range(len(self.groups))]

    def _outermost_closed(self, group: int) -> int:
        found = -1
        while group >= 0:
            if not self.is_open[group]:
                found = group
            group = self.groups[group]["parent"]
        return found

    def shown(self, group: int) -> bool:
        """Whether the group is drawn as an open box."""
        return self.closed[group] < 0

    def closed_at(self, place: int) -> int:
        """The closed group that holds this op; -1 where it is drawn itself."""
        group = self.data["nodes"][place]["group"]
        return self.closed[group] if group >= 0 else -1

    def join_of(self, group: int) -> int:
        """Place of the join inside a closed block's group; -1 where it lies outside."""
        fact = self.groups[group]
        if "block" not in fact:
            return -1
        join = self.place.get(self.data["blocks"][fact["block"]]["join"], -1)
        return join if fact["low"] <= join < fact["high"] else -1

    def body(self, group: int) -> SceneNode:
        """The node of a closed group."""
        fact = self.groups[group]
        block = fact.get("block", -1)
        kind: NodeKind = "body" if block >= 0 else "module"
        return SceneNode(
            key=f"g{group}", kind=kind, box=fact["parent"], fact=fact, block=block,
            order=fact["low"],
        )  # fmt: skip

    def node(self, place: int) -> SceneNode:
        """The node that stands for the op at this place."""
        group, fact = self.closed_at(place), self.data["nodes"][place]
        if group < 0:
            return SceneNode(
                key=f"n{place}", kind="op", box=fact["group"], fact=fact,
                block=fact.get("block", -1), order=place,
            )  # fmt: skip
        join = self.join_of(group)
        if join < 0 or place < join:
            return self.body(group)
        box = self.groups[group]["parent"]
        fact = self.data["nodes"][join]
        return SceneNode(key=f"j{group}", kind="join", box=box, fact=fact, order=join)


def _edges(
    report: Report, data: dict[str, Any], stand_in: _StandIn, found: River | None
) -> list[SceneEdge]:
    skips, ids = report.structure.skips, list(stand_in.place)
    pairs = [(edge[0], edge[1]) for edge in data["edges"]]
    marks, parts = _ways(skips, set(pairs), stand_in.place)
    out: dict[SceneEdge, list[tuple[str, str]]] = {}
    for skip, (src, dst) in marks.items():
        way = skips[skip]
        fork = stand_in.place.get(way.fork, src)
        hidden = _inside_the_block(stand_in, src, dst) and src != fork
        start = stand_in.node(fork if hidden else src).key
        out[SceneEdge(src=start, dst=stand_in.node(dst).key, kind="skip", skip=skip)] = []
    consumed = set(marks.values())
    for pair in pairs:
        if pair in consumed:
            continue
        tail, head = stand_in.node(pair[0]).key, stand_in.node(pair[1]).key
        if tail == head:
            continue
        part = parts.get(pair, -1)
        is_end = data["nodes"][pair[1]]["kind"] == "io"
        ends = ids[pair[0]], OUTPUT if is_end else ids[pair[1]]
        if part < 0:
            out.setdefault(SceneEdge(src=tail, dst=head), []).append(ends)
        elif not any(_inside_the_block(stand_in, end, marks[part][1]) for end in pair):
            edge = SceneEdge(src=tail, dst=head, kind="shortcut", skip=part)
            out.setdefault(edge, []).append(ends)
    if found is None:
        return list(out)
    return [replace(edge, carries=found.piece(stands_for)) for edge, stands_for in out.items()]


def _with_shapes(
    report: Report, data: dict[str, Any], stand_in: _StandIn, edges: list[SceneEdge]
) -> list[SceneEdge]:
    """The edges with what they carry, where it is not what comes into their start."""
    graph, ids = report.graph, list(stand_in.place)
    slots: dict[tuple[str, str], list[int]] = {}
    for edge in graph.edges:
        slots.setdefault((edge.src, edge.dst), []).append(edge.out_slot)
    carried: dict[tuple[str, str], dict[str, None]] = {}
    for src, dst, *_ in data["edges"]:
        if ids[src] not in graph:
            continue
        outputs = graph[ids[src]].outputs
        for slot in slots.get((ids[src], ids[dst]), [0]):
            if slot < len(outputs):
                ends = stand_in.node(src).key, stand_in.node(dst).key
                carried.setdefault(ends, {})[units.shape(outputs[slot].shape)] = None
    enters: dict[str, set[str]] = {}
    for (_, head), texts in carried.items():
        enters.setdefault(head, set()).update(texts)
    out: list[SceneEdge] = []
    said: set[tuple[str, str]] = set()
    for drawn_as in edges:
        src = drawn_as.src
        texts = carried.get((src, drawn_as.dst), {})
        new = [t for t in texts if t not in enters.get(src, ()) and (src, t) not in said]
        said.update((src, text) for text in new)
        out.append(replace(drawn_as, shape=", ".join(new)) if new else drawn_as)
    return out


def _inside_the_block(stand_in: _StandIn, place: int, join: int) -> bool:
    """Whether the op is hidden in the closed box that also holds the join."""
    group = stand_in.closed_at(join)
    return group >= 0 and stand_in.closed_at(place) == group


def _ways(
    skips: tuple[Skip, ...], pairs: set[tuple[int, int]], place: dict[str, int]
) -> tuple[dict[int, tuple[int, int]], dict[tuple[int, int], int]]:
    """Per skip the edge that enters its join, and the other edges of its shortcut."""
    marks: dict[int, tuple[int, int]] = {}
    parts: dict[tuple[int, int], int] = {}
    for k, skip in enumerate(skips):
        if skip.join not in place or not {skip.fork, *skip.shortcut} & place.keys():
            continue
        stops = [place[op] for op in (skip.fork, *skip.shortcut, skip.join) if op in place]
        hops = [(a, b) for i, a in enumerate(stops) for b in stops[i + 1 :] if (a, b) in pairs]
        entering = [hop for hop in hops if hop[1] == stops[-1]]
        marks[k] = entering[-1] if entering else (stops[-2], stops[-1])
        parts.update(dict.fromkeys((hop for hop in hops if hop != marks[k]), k))
    return marks, parts
