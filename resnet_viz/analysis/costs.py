"""What each op, module, block and stage costs at the traced batch size.

Rows of ops, blocks, stages and kinds are exclusive: each column adds up to the total.
For that a block row holds only ops whose innermost block it is, and one row with an
empty key holds the ops outside any block. Module rows are inclusive, as a tree is read:
each holds everything below its path, and the root's row (empty path) is the total.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from resnet_viz.analysis.allocation import Allocations
from resnet_viz.analysis.peaks import inference_peak, training_peak
from resnet_viz.core.graph import Arg, ModelGraph, Op, Ref
from resnet_viz.core.structure import Block, Cost, Costs, Memory, Stage, innermost


def find_costs(
    graph: ModelGraph,
    blocks: Sequence[Block],
    stages: Sequence[Stage],
    memory: Memory | None = None,
) -> Costs:
    """Parameters, MACs and bytes, added up five ways, and the peaks of memory.

    Parameters and buffers count where they are first read, MACs as torch's formulas
    give them (1 MAC = 2 FLOPs); activation bytes are those of the outputs an op
    allocates: views and in-place ops allocate nothing, and neither do inputs.

    Args:
        graph: What ran.
        blocks: Its blocks.
        stages: Its stages.
        memory: What the backward keeps, where that was measured.
    """
    allocations = Allocations(graph)
    ops = {row.key: row for row in _op_rows(graph, allocations, memory)}
    modules: dict[str, list[Cost]] = {module.path: [] for module in graph.modules}
    modules.setdefault("", [])
    kinds: dict[str, list[Cost]] = {}
    for op in graph.ops:
        for path in _above(op.module):
            modules.setdefault(path, []).append(ops[op.id])
        kinds.setdefault(op.kind, []).append(ops[op.id])
    owners = innermost(blocks)
    held: dict[str, list[Cost]] = {block.skip.join: [] for block in blocks}
    held[""] = []
    for op in graph.ops:
        owner = owners.get(op.id)
        held[owner.skip.join if owner else ""].append(ops[op.id])
    known = memory is not None and not memory.unknown
    total = _sum("", ops.values(), known)
    return Costs(
        total=total,
        ops=tuple(ops.values()),
        modules=tuple(_sum(path, rows, known) for path, rows in modules.items()),
        blocks=tuple(_sum(key, rows, known) for key, rows in held.items()),
        stages=tuple(_sum(s.name, [ops[op] for op in s.ops], known) for s in stages),
        kinds=tuple(_sum(kind, rows, known) for kind, rows in kinds.items()),
        memory=memory,
        unplaced_bytes=(memory.saved_bytes or 0) - (total.saved_bytes or 0) if memory else 0,
        inference_peak=inference_peak(graph, allocations),
        training_peak=training_peak(graph, allocations, memory) if memory and known else None,
    )


def _op_rows(graph: ModelGraph, allocations: Allocations, memory: Memory | None) -> Iterator[Cost]:
    specs = {p.name: p for p in graph.parameters}
    buffers = {b.name: b.spec for b in graph.buffers}
    read: set[str] = set()
    saved: dict[str, int] | None = None
    if memory is not None and not memory.unknown:
        saved = {}
        for row in memory.saved:
            saved[row.op] = saved.get(row.op, 0) + row.nbytes
    for op in graph.ops:
        first = [specs[name] for name in op.parameters if name not in read]
        held = [
            buffers[n] for n in dict.fromkeys(_buffers_of(op)) if n in buffers and n not in read
        ]
        read.update(op.parameters, _buffers_of(op))
        yield Cost(
            key=op.id,
            params=op.params,
            macs=op.macs or 0,
            activation_bytes=allocations.nbytes[op.id],
            uncounted=int(op.macs is None),
            trainable=sum(p.spec.numel for p in first if p.trainable),
            param_bytes=sum(p.spec.nbytes for p in first),
            buffers=sum(spec.numel for spec in held),
            buffer_bytes=sum(spec.nbytes for spec in held),
            saved_bytes=None if saved is None else saved.get(op.id, 0),
        )


def _buffers_of(op: Op) -> list[str]:
    return [str(ref.key) for ref in _refs((op.args, op.kwargs)) if ref.kind == "buffer"]


def _refs(value: Arg) -> Iterator[Ref]:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            if isinstance(item, Ref | tuple):
                yield from _refs(item)


def _sum(key: str, rows: Iterable[Cost], known: bool) -> Cost:
    """The rows added up; what is saved is ``None`` unless it is ``known``."""
    rows = tuple(rows)
    return Cost(
        key=key,
        params=sum([row.params for row in rows]),
        macs=sum([row.macs for row in rows]),
        activation_bytes=sum([row.activation_bytes for row in rows]),
        uncounted=sum([row.uncounted for row in rows]),
        trainable=sum([row.trainable for row in rows]),
        param_bytes=sum([row.param_bytes for row in rows]),
        buffers=sum([row.buffers for row in rows]),
        buffer_bytes=sum([row.buffer_bytes for row in rows]),
        saved_bytes=sum([row.saved_bytes or 0 for row in rows]) if known else None,
    )


def _above(path: str) -> list[str]:
    parts = path.split(".") if path else []
    return ["", *(".".join(parts[: i + 1]) for i in range(len(parts)))]
