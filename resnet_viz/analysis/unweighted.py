"""Ops without weights, each given to the layer or block that it stands beside.

What differs between two networks may be a pooling alone, outside of every block: a
matching of layers and blocks that left it out would call them equal.
"""

from __future__ import annotations

from collections.abc import Sequence


def completed(
    first: int,
    modules: Sequence[str],
    parts: Sequence[Sequence[int]],
    names: Sequence[str],
    loose: Sequence[bool],
) -> list[tuple[int, ...]]:
    """The parts with all nodes from ``first`` on, each in exactly one, in order.

    A node goes to the neighbour whose module it is in, else to the bare layer before it, else
    to the one behind it: a block is what its skip encloses, and takes of what is outside of
    its module only what has blocks on both sides. An empty part stays empty.

    Args:
        first: The first node that is an op.
        modules: The module of each node.
        parts: Their nodes; at least one part has some.
        names: Their modules.
        loose: Per part whether it is bare layers on both sides, no block and none's counterpart.
    """
    owner = {node: k for k, part in enumerate(parts) for node in part}
    size = len(modules)
    behind = [-1] * size
    following = -1
    for node in range(size - 1, first - 1, -1):
        behind[node] = following
        following = owner.get(node, following)
    held = [list(part) for part in parts]
    before = -1
    for node in range(first, size):
        if node in owner:
            before = owner[node]
            continue
        near = [k for k in (before, behind[node]) if k >= 0]
        inside = (k for k in near if f"{modules[node]}.".startswith(f"{names[k]}."))
        found = next(inside, next((k for k in near if loose[k]), near[0]))
        held[found].append(node)
    return [tuple(sorted(part)) for part in held]
