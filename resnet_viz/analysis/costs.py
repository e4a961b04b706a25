"""What each op, module, block and stage costs at the traced batch size.

Rows of ops, blocks and stages are exclusive: each column adds up to the total. For
that a block row holds only ops whose innermost block it is, and one row with an empty
key holds the ops outside any block. Module rows are inclusive, as a tree is read:
each holds everything below its path, and the root's row (empty path) is the total.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from resnet_viz.analysis.channels import permutation
from resnet_viz.analysis.kinds import CASTS, DROPOUTS, MAYBE_VIEWS, PERMUTING, VIEWS
from resnet_viz.core.graph import ModelGraph, Op, TensorSpec
from resnet_viz.core.structure import Block, Cost, Costs, Stage, innermost


def find_costs(graph: ModelGraph, blocks: Sequence[Block], stages: Sequence[Stage]) -> Costs:
    """Parameters, MACs and activation bytes, added up four ways.

    Parameters count where they are first read, MACs as torch's formulas give them
    (1 MAC = 2 FLOPs); activation bytes are those of the outputs an op allocates:
    views and in-place ops allocate nothing, and neither do inputs.
    """
    ops = {op.id: _cost(graph, op) for op in graph.ops}
    modules: dict[str, list[Cost]] = {module.path: [] for module in graph.modules}
    modules.setdefault("", [])
    for op in graph.ops:
        for path in _above(op.module):
            modules.setdefault(path, []).append(ops[op.id])
    owners = innermost(blocks)
    held: dict[str, list[Cost]] = {block.skip.join: [] for block in blocks}
    held[""] = []
    for key, cost in ops.items():
        owner = owners.get(key)
        held[owner.skip.join if owner else ""].append(cost)
    return Costs(
        total=_sum("", ops.values()),
        ops=tuple(ops.values()),
        modules=tuple(_sum(path, rows) for path, rows in modules.items()),
        blocks=tuple(_sum(key, rows) for key, rows in held.items()),
        stages=tuple(_sum(stage.name, [ops[op] for op in stage.ops]) for stage in stages),
    )


def _cost(graph: ModelGraph, op: Op) -> Cost:
    return Cost(
        key=op.id,
        params=op.params,
        macs=op.macs or 0,
        activation_bytes=sum(o.nbytes for o in op.outputs) if _allocates(graph, op) else 0,
        uncounted=int(op.macs is None),
    )


def _sum(key: str, rows: Iterable[Cost]) -> Cost:
    rows = tuple(rows)
    return Cost(
        key=key,
        params=sum(row.params for row in rows),
        macs=sum(row.macs for row in rows),
        activation_bytes=sum(row.activation_bytes for row in rows),
        uncounted=sum(row.uncounted for row in rows),
    )


def _above(path: str) -> list[str]:
    parts = path.split(".") if path else []
    return ["", *(".".join(parts[: i + 1]) for i in range(len(parts)))]


def _allocates(graph: ModelGraph, op: Op) -> bool:
    if op.inplace or op.kind in VIEWS:
        return False
    if op.kind == "getitem":
        # Indexing by a tensor gathers; by numbers and slices it is a view.
        return len(graph.edges_in(op.id)) > 1
    if op.kind in CASTS:
        return op.kind == "clone" or op.outputs[:1] != _operand(graph, op)
    if op.kind in DROPOUTS:
        return op.argument(2, "training") is not False
    if op.kind in MAYBE_VIEWS:
        return _is_permuted(graph, op)
    return True


def _operand(graph: ModelGraph, op: Op) -> tuple[TensorSpec, ...]:
    edges = graph.edges_in(op.id)
    return (graph[edges[0].src].outputs[edges[0].out_slot],) if edges else ()


def _is_permuted(graph: ModelGraph, op: Op) -> bool:
    # A reshape or contiguous() copies only what a permutation has put out of order.
    while (edges := graph.edges_in(op.id)) and not op.inplace:
        op = graph[edges[0].src]
        if op.kind in PERMUTING and _reorders(graph, op):
            return True
        if op.kind not in VIEWS and op.kind != "getitem":
            return False
    return False


def _reorders(graph: ModelGraph, op: Op) -> bool:
    # Axes of size one may go anywhere without a change in memory.
    shape = next((spec.shape for spec in _operand(graph, op)), ())
    order = permutation(op, len(shape))
    kept = [axis for axis in order if shape[axis] > 1]
    return not order or kept != sorted(kept)
