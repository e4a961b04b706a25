"""Which ops are drawn in one box: modules, blocks and stages as nested intervals.

Ops are numbered in the order they ran, so an interval of them is convex (nothing
leaves it and comes back) and boxes made of intervals never form a cycle, whatever
the module tree looks like: a module that is called twice gets two boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from resnet_viz.analysis.blocks import common_module
from resnet_viz.core.graph import is_inside
from resnet_viz.core.structure import Block, Stage, Structure

GroupKind = Literal["module", "block", "stage"]
Span = tuple[int, int, str]


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
) -> Grouping:
    """The boxes of a drawing.

    Args:
        modules: Module path per drawn op, in order.
        position: Op id -> its place in ``modules``; ops not drawn are left out.
        structure: The blocks and stages to show.
        repeats: Per folded repeat the first place of its first copy, one past the last,
            and the module that holds all copies.
    """
    groups = _runs(modules)
    _claim_repeats(groups, repeats, modules)
    _claim_blocks(groups, structure.blocks, position)
    _claim_stages(groups, structure.stages, structure.blocks, position)
    return _nest(groups, len(modules))


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


def _claim_blocks(groups: list[Group], blocks: Sequence[Block], position: dict[str, int]) -> None:
    homes: dict[str, int] = {}
    for block in blocks:
        homes[block.module] = homes.get(block.module, 0) + 1
    order = sorted(range(len(blocks)), key=lambda i: len(blocks[i].ops))
    for i in order:
        block = blocks[i]
        inside = [position[op] for op in block.ops if op in position]
        if not inside or block.skip.join not in position:
            continue
        low, high = min(inside), max(inside) + 1
        home = None if block.kind == "dense" else _same(groups, low, high)
        branch = [position[op] for op in block.skip.branch if op in position]
        if home is None and homes[block.module] == 1 and branch:
            span = (min(branch), max(branch) + 1) if block.kind == "dense" else (low, high)
            home = _nearly(groups, block.module, *span)
        if home is None and block.kind != "dense" and _fits(groups, low, high):
            home = Group(path=block.module, low=low, high=high, items=[])
            home.id = f"{block.module}:{block.kind}"
            groups.append(home)
        if home is None:
            home = _last_inside(groups, branch)
        if home is not None:
            home.block, home.kind = i, "block"


def _same(groups: list[Group], low: int, high: int) -> Group | None:
    return next((g for g in groups if (g.low, g.high) == (low, high) and g.block < 0), None)


def _nearly(groups: list[Group], path: str, low: int, high: int) -> Group | None:
    """The block's own module, where it runs only a few ops more than the block holds."""
    for group in groups:
        around = group.low <= low and high <= group.high
        if around and group.path == path and group.block < 0:
            return group if (high - low) >= 0.6 * (group.high - group.low) else None
    return None


def _fits(groups: list[Group], low: int, high: int) -> bool:
    """Whether the interval cuts through no box."""
    return high - low > 1 and all(
        high <= g.low
        or g.high <= low
        or (g.low <= low and high <= g.high)
        or (low <= g.low and g.high <= high)
        for g in groups
    )


def _last_inside(groups: list[Group], branch: Sequence[int]) -> Group | None:
    """The last outermost free box inside the branch: a dense layer's own module."""
    if not branch:
        return None
    low, high = min(branch), max(branch) + 1
    inside = [g for g in groups if low <= g.low and g.high <= high and g.block < 0]
    return max(inside, key=lambda g: (g.high, g.high - g.low), default=None)


def _claim_stages(
    groups: list[Group],
    stages: Sequence[Stage],
    blocks: Sequence[Block],
    position: dict[str, int],
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
        if home is None and len(mine) > 1 and _fits(groups, low, high):
            path = mine[0].path.rpartition(".")[0]
            home = Group(path=path, low=low, high=high, id=f"stage:{stage.name}", items=[])
            groups.append(home)
        if home is not None:
            home.stage, home.kind = i, "stage"


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
