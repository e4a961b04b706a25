"""Which ops are drawn in one box: modules, blocks and stages as nested intervals.

Ops are numbered in the order they ran, so an interval of them is convex (nothing
leaves it and comes back) and boxes made of intervals never form a cycle, whatever
the module tree looks like: a module that is called twice gets two boxes. What holds
too much to be drawn at a time is cut into ranges, where the fewest edges pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from resnet_viz.analysis.blocks import common_module
from resnet_viz.core.graph import is_inside
from resnet_viz.core.structure import Block, Stage, Structure
from resnet_viz.reporting.folding.fold import from_to
from resnet_viz.reporting.layout.homes import Homes

GroupKind = Literal["module", "block", "stage", "range"]
Span = tuple[int, int, str]

_LONG = 400  # items; a box with more of them is cut into ranges
_PART = 250  # items of a range, about


@dataclass(slots=True, kw_only=True)
class Group:
    """A box in the making.

    Attributes:
        path: Module path; for a box that is no module, that of the module around it.
        low: Position of its first op.
        high: One past its last op.
        kind: What the box stands for.
        id: Unique key; the module path where that is free.
        block: Index of the block it carries; -1 for none.
        stage: Index of the stage it is; -1 for none.
        repeat: Index of the folded repeat whose first copy it is; -1 for none.
        parent: Index of the box around it; -1 for the drawing itself.
        items: What it holds, in order: an op's position, or ``-1 - index`` of a box.
    """

    path: str
    low: int
    high: int
    kind: GroupKind = "module"
    id: str = ""
    block: int = -1
    stage: int = -1
    repeat: int = -1
    parent: int = -1
    items: list[int]


@dataclass(frozen=True, slots=True)
class Grouping:
    """The boxes, each after the one around it; ``root`` holds the outermost items."""

    groups: list[Group]
    root: list[int]
    carrier: dict[int, int]
    """Block index -> index of the box that shows it."""


def group_ops(
    modules: Sequence[str],
    position: dict[str, int],
    structure: Structure,
    repeats: Sequence[Span] = (),
    *,
    edges: Iterable[tuple[int, int]] = (),
    inputs: int = 0,
) -> Grouping:
    """The boxes of a drawing.

    Args:
        modules: Module path per drawn op, in order.
        position: Op id -> its place in ``modules``; ops not drawn are left out.
        structure: The blocks and stages to show.
        repeats: Per folded repeat the first place of its first copy, one past the last,
            and the module that holds all copies.
        edges: Pairs of places; what is too long is cut where few of them pass.
        inputs: How many of the first places are no ops; they stay outside of ranges.
    """
    groups = _runs(modules)
    _claim_repeats(groups, repeats, modules)
    homes = Homes(groups, len(modules))
    _claim_blocks(groups, structure.blocks, position, homes)
    _claim_stages(groups, structure.stages, structure.blocks, position, homes)
    grouping = _nest(groups, len(modules))
    ranges = _ranges(grouping, range(inputs, len(position)), edges, len(modules))
    return _nest([*grouping.groups, *ranges], len(modules)) if ranges else grouping


def _runs(modules: Sequence[str]) -> list[Group]:
    """One box per uninterrupted stretch of ops under one module path."""
    done: list[Group] = []
    stack: list[Group] = []
    names: list[str] = []
    for place, path in enumerate([*modules, ""]):
        parts = path.split(".") if path else []
        keep = 0
        while keep < min(len(parts), len(names)) and parts[keep] == names[keep]:
            keep += 1
        while len(stack) > keep:
            closed = stack.pop()
            closed.high = place
            done.append(closed)
        stack += [
            Group(path=".".join(parts[: depth + 1]), low=place, high=place, items=[])
            for depth in range(keep, len(parts))
        ]
        names = parts
    innermost: dict[tuple[int, int], Group] = {}
    for group in done:
        if group.high - group.low > 1:
            innermost.setdefault((group.low, group.high), group)
    return list(innermost.values())


def _claim_repeats(groups: list[Group], repeats: Sequence[Span], modules: Sequence[str]) -> None:
    """A box for each folded repeat; of its own where it is no module."""
    found = {(g.low, g.high): g for g in groups}
    for i, (low, high, around) in enumerate(repeats):
        home = found.get((low, high))
        if home is not None and home.path == around:
            # That one stands for the module, and not for the first copy in it.
            home = None
        elif home is not None and around:
            # Of the module around it nothing but the first copy may be left.
            beside = [*modules[max(low - 1, 0) : low], *modules[high : high + 1]]
            if not any(is_inside(path, around) for path in beside):
                groups.append(Group(path=around, low=low, high=high, items=[]))
        if home is None:
            path = common_module(modules[low:high])
            home = Group(path=path, low=low, high=high, id=f"repeat:{path or i}", items=[])
            groups.append(home)
        home.repeat = i


def _claim_blocks(
    groups: list[Group], blocks: Sequence[Block], position: dict[str, int], homes: Homes
) -> None:
    times = Counter(block.module for block in blocks)
    order = sorted(range(len(blocks)), key=lambda i: len(blocks[i].ops))
    for i in order:
        block = blocks[i]
        inside = [position[op] for op in block.ops if op in position]
        if not inside or block.skip.join not in position:
            continue
        low, high = min(inside), max(inside) + 1
        home = None if block.kind == "dense" else homes.same(low, high)
        branch = [position[op] for op in block.skip.branch if op in position]
        if home is None and times[block.module] == 1 and branch:
            span = (min(branch), max(branch) + 1) if block.kind == "dense" else (low, high)
            home = homes.nearly(block.module, *span)
        if home is None and block.kind != "dense" and homes.fits(low, high):
            home = Group(path=block.module, low=low, high=high, items=[])
            home.id = f"{block.module}:{block.kind}"
            groups.append(home)
            homes.add(home)
        if home is None:
            home = homes.last_inside(branch)
        if home is not None:
            home.block, home.kind = i, "block"


def _claim_stages(
    groups: list[Group],
    stages: Sequence[Stage],
    blocks: Sequence[Block],
    position: dict[str, int],
    homes: Homes,
) -> None:
    carriers = [g for g in groups if g.block >= 0]
    stage_of = {op: i for i, stage in enumerate(stages) for op in stage.ops}
    held = {id(g): stage_of.get(blocks[g.block].skip.join, -1) for g in carriers}
    for i, stage in enumerate(stages):
        mine = [g for g in carriers if held[id(g)] == i]
        if not mine:
            # A plain net has stages and no blocks: the stage's own module is its box.
            home = next((g for g in groups if g.path == stage.name and g.stage < 0), None)
            if home is not None:
                home.stage, home.kind = i, "stage"
            continue
        low, high = min(g.low for g in mine), max(g.high for g in mine)
        around = [
            g
            for g in groups
            if g.block < 0
            and g.stage < 0
            and g.repeat < 0
            and g.low <= low
            and high <= g.high
            and all(held[id(c)] == i for c in carriers if g.low <= c.low and c.high <= g.high)
        ]
        home = min(around, key=lambda g: g.high - g.low, default=None)
        if home is None and len(mine) > 1 and homes.fits(low, high):
            path = mine[0].path.rpartition(".")[0]
            home = Group(path=path, low=low, high=high, id=f"stage:{stage.name}", items=[])
            groups.append(home)
        if home is not None:
            home.stage, home.kind = i, "stage"


def _ranges(
    grouping: Grouping, ops: range, edges: Iterable[tuple[int, int]], count: int
) -> list[Group]:
    """Boxes for stretches of what is too long, so that no box holds too much itself."""
    groups = grouping.groups
    if all(len(items) <= _LONG for items in (grouping.root, *(g.items for g in groups))):
        return []
    passing = [0] * (count + 2)
    for src, dst in edges:
        passing[src + 1] += 1
        passing[dst + 1] -= 1
    for place in range(count):
        passing[place + 1] += passing[place]

    found: list[Group] = []
    for path, items in [("", grouping.root), *((g.path, g.items) for g in groups)]:
        parts = [_Part(x, x + 1) if x >= 0 else _whole(groups[-1 - x]) for x in items]
        parts = [part for part in parts if part.low in ops]
        while len(parts) > _LONG:
            parts = [_joined(run) for run in _runs_of(parts, passing)]
            found += [_range(part, path, ops.start) for part in parts]
    return found


class _Part(NamedTuple):
    """Something in a box that is too long; the paths of its first and last module."""

    low: int
    high: int
    first: str = ""
    last: str = ""


def _whole(group: Group) -> _Part:
    return _Part(group.low, group.high, group.path, group.path)


def _joined(run: list[_Part]) -> _Part:
    return _Part(run[0].low, run[-1].high, run[0].first, run[-1].last)


def _range(part: _Part, path: str, inputs: int) -> Group:
    """A box called by its first and last module, or by the numbers of its ops."""
    below = f"{path}." if path else ""
    first, last = part.first.removeprefix(below), part.last.removeprefix(below)
    numbers = f"{part.low - inputs + 1:,} … {part.high - inputs:,}"
    # An id ends in what the box is called, behind a colon.
    name = from_to(first, last) if first and last and ":" not in first + last else numbers
    return Group(
        path=path, low=part.low, high=part.high, kind="range", id=f"{path}:{name}", items=[]
    )


def _runs_of(parts: list[_Part], passing: Sequence[int]) -> list[list[_Part]]:
    """The parts in runs of about equal length, parted where the fewest edges pass."""
    count = -(-len(parts) // _PART)
    step = len(parts) / count
    borders = [0]
    for k in range(1, count):
        wanted = round(k * step)
        near = range(wanted - int(step / 4), wanted + int(step / 4) + 1)
        borders.append(min(near, key=lambda i: (passing[parts[i].low], abs(i - wanted))))
    return [parts[a:b] for a, b in zip(borders, [*borders[1:], len(parts)], strict=True)]


def _nest(groups: list[Group], count: int) -> Grouping:
    """Sorts the boxes, drops those that hold one thing only, and fills them."""
    keep = sorted(groups, key=lambda g: (g.low, -g.high, g.repeat >= 0, g.block >= 0))
    while True:
        root = _fill(keep, count)
        alone = {id(g) for g in keep if g.kind == "module" and g.repeat < 0 and len(g.items) == 1}
        if not alone:
            break
        keep = [g for g in keep if id(g) not in alone]
    seen: dict[str, int] = {}
    for group in keep:
        name = group.id or group.path
        seen[name] = seen.get(name, 0) + 1
        group.id = name if seen[name] == 1 else f"{name}@{seen[name]}"
    carrier = {g.block: i for i, g in enumerate(keep) if g.block >= 0}
    return Grouping(groups=keep, root=root, carrier=carrier)


def _fill(groups: list[Group], count: int) -> list[int]:
    root: list[int] = []
    stack: list[int] = []
    upcoming = 0
    for group in groups:
        group.items = []
    for place in range(count):
        while stack and groups[stack[-1]].high <= place:
            stack.pop()
        while upcoming < len(groups) and groups[upcoming].low == place:
            groups[upcoming].parent = stack[-1] if stack else -1
            (groups[stack[-1]].items if stack else root).append(-1 - upcoming)
            stack.append(upcoming)
            upcoming += 1
        (groups[stack[-1]].items if stack else root).append(place)
    return root
