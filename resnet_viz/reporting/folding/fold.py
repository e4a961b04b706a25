"""Repeats drawn once: the report with one copy of each, and what each thing stands for.

Everything that draws takes the folded report as it takes any other. In it the first
copy stands for all: its ops carry the sums of parameters and MACs, so that every box
and column still adds up, and of the gradient norms the one farthest from the
network's median, so that a colour never hides the worst. What came out of the last
copy comes out of the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from resnet_viz.analysis.blocks import common_module
from resnet_viz.core.gradient_flow import CallGradient, EdgeShare, GradientFlow, GradientStats
from resnet_viz.core.graph import GraphOutput, ModelGraph, Op, OpId, is_inside
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.structure import Block, Repeat, Skip, Stage, Structure
from resnet_viz.core.units import count

MANY = 2000
"""Ops; a larger graph is folded unless somebody asks for all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """A report as it is drawn.

    Attributes:
        report: With the first copy of each repeat in place of all.
        whole: The report itself.
        repeats: Those that are folded; each before those inside its first copy.
        members: What a drawn op stands for, itself first, where that is more than one.
        skips: Per drawn skip the skips it stands for, its own first.
    """

    report: Report
    whole: Report
    repeats: tuple[Repeat, ...] = ()
    members: dict[OpId, tuple[OpId, ...]] = field(default_factory=dict)
    skips: tuple[tuple[Skip, ...], ...] = ()

    def times(self, op: str) -> int:
        """How many ops this drawn one stands for; 1 for its own."""
        return len(self.members.get(OpId(op), (op,)))

    def spread(self, op: str) -> tuple[float, float] | None:
        """Smallest and largest gradient norm of what the op stands for, where measured."""
        flow = self.whole.gradient_flow
        if flow is None or op not in self.members:
            return None
        stats = [flow.get(member) for member in self.members[OpId(op)]]
        norms = [s.l2 for s in stats if s is not None and math.isfinite(s.l2)]
        return (min(norms), max(norms)) if norms else None

    def shares(self, skip: int) -> list[float]:
        """The shares of what the drawn skip stands for, as far as measured."""
        flow = self.whole.gradient_flow
        found = [flow.share_of(s) for s in self.skips[skip]] if flow else []
        return [share for share in found if share is not None]


def folds(report: Report, options: RenderOptions) -> bool:
    """Whether repeats are drawn once: as the options say, else in a large graph."""
    if options.fold_repeats is not None:
        return options.fold_repeats
    return len(report.graph) > MANY


def folding_note(report: Report, options: RenderOptions) -> str:
    """One line about what was folded unasked; empty where nothing was."""
    if options.fold_repeats is not None:
        return ""
    folded = fold(report, options)
    if not folded.repeats:
        return ""
    ops, drawn = count(len(report.graph), "op"), len(folded.report.graph)
    return (
        f"{ops}: equal parts in a row are shown once, marked × n, so that {drawn:,} are left "
        "(--no-fold-repeats shows all)"
    )


def fold(report: Report, options: RenderOptions) -> Folded:
    """The report to draw; the report itself where nothing is folded."""
    chosen = _chosen(report, options.focus) if folds(report, options) else []
    while chosen and (clash := _clash(report.graph, chosen)):
        chosen.remove(clash)
    if not chosen:
        alone: list[tuple[Skip, ...]] = [(skip,) for skip in report.structure.skips]
        return Folded(report=report, whole=report, skips=tuple(alone))
    stand_in = _stand_ins(report.graph, chosen)
    members: dict[OpId, list[OpId]] = {}
    for op in report.graph.ops:
        members.setdefault(stand_in.get(op.id, op.id), []).append(op.id)
    several = {op: tuple(ops) for op, ops in members.items() if len(ops) > 1}
    structure, skips = _structure(report.structure, stand_in)
    drawn = replace(
        report,
        graph=_graph(report.graph, stand_in, several),
        structure=structure,
        measurements=tuple(
            _flow(m, stand_in, several) if isinstance(m, GradientFlow) else m
            for m in report.measurements
        ),
    )
    return Folded(report=drawn, whole=report, repeats=tuple(chosen), members=several, skips=skips)


def name_of(repeat: Repeat, graph: ModelGraph) -> tuple[str, str]:
    """The first and the last copy by name; twice the same where it is one module."""
    first, last = repeat.modules[0], repeat.modules[-1]
    home = common_module(repeat.modules)
    if first != last and home not in (first, last):
        return first, last
    paths = [[graph[op].module for op in copy] for copy in repeat.copies[:2]]
    if home and paths[0] == paths[1]:
        return home, home
    start, end = repeat.copies[0][0], repeat.copies[-1][-1]
    return _child(graph[start], home), _child(graph[end], home)


def _child(op: Op, home: str) -> str:
    """The child of ``home`` in which the op runs; the op, where in none."""
    child = op.module[len(home) + 1 if home else 0 :].partition(".")[0]
    return ".".join(filter(None, (home, child))) if child else str(op.id)


def from_to(first: str, last: str) -> str:
    """Both names, of the second only what is new: ``layer3.1 … 5``."""
    if first == last:
        return first
    a, b = first.split("."), last.split(".")
    same = _common(a, b)
    if len(a) == len(b) == same + 1:
        # layer3.1 … 5, and encoder_layer_0 … 11
        stem = len(a[-1][: _common(a[-1], b[-1])].rstrip("0123456789"))
        if a[-1][stem:].isdigit() and b[-1][stem:].isdigit():
            return f"{first} … {b[-1][stem:]}"
    return f"{first} … {'.'.join(b[same:])}"


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many first items are the same."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))


def _chosen(report: Report, focus: str) -> list[Repeat]:
    """The repeats that are drawn once: in focus, and in no copy that is not drawn."""
    graph = report.graph
    stopped = graph.failure is not None and not graph.failure.op
    chosen: list[Repeat] = []
    # Ends of the first copy and of the last, of the repeats around the present one.
    around: list[tuple[int, int]] = []
    for repeat in report.structure.repeats:
        if focus and not all(is_inside(path, focus) for path in repeat.modules):
            continue
        if stopped and repeat.copies[-1][-1] == graph.ops[-1].id:
            # Plain Python raised in or after the last copy: that one is like no other.
            if repeat.count == 2:
                continue
            repeat = replace(repeat, copies=repeat.copies[:-1], modules=repeat.modules[:-1])
        low, high = (graph.position(repeat.copies[i][j]) for i, j in ((0, 0), (-1, -1)))
        while around and around[-1][1] < low:
            around.pop()
        if around and high > around[-1][0]:
            continue
        chosen.append(repeat)
        around.append((graph.position(repeat.copies[0][-1]), high))
    return chosen


def _stand_ins(graph: ModelGraph, chosen: Sequence[Repeat]) -> dict[OpId, OpId]:
    """Per op that is not drawn, the one that stands for it."""
    found: dict[OpId, OpId] = {}
    for repeat in chosen:
        for copy in repeat.copies[1:]:
            found.update(zip(copy, repeat.copies[0], strict=True))
    # The first copy may have repeats inside: their ops have stand-ins of their own.
    for op in found:
        while found[op] in found:
            found[op] = found[found[op]]
    return found


def _clash(graph: ModelGraph, chosen: Sequence[Repeat]) -> Repeat | None:
    """A repeat whose first copy would be torn by the box of a module.

    A module that runs at the end of the first copy, and again right after the last,
    is one stretch once the copies between are gone.
    """
    hidden = {op for repeat in chosen for copy in repeat.copies[1:] for op in copy}
    drawn = [op for op in graph.ops if op.id not in hidden]
    place = {op.id: i for i, op in enumerate(drawn)}
    for repeat in chosen:
        copy = [op for op in repeat.copies[0] if op in place]
        home = common_module(graph[op].module for op in copy)
        low, high = place[copy[0]], place[copy[-1]] + 1
        for border in (low, high):
            if 0 < border < len(drawn):
                both = common_module(op.module for op in drawn[border - 1 : border + 1])
                if not is_inside(home, both):
                    return repeat
    return None


def _graph(
    graph: ModelGraph, stand_in: dict[OpId, OpId], members: dict[OpId, tuple[OpId, ...]]
) -> ModelGraph:
    return replace(
        graph,
        ops=tuple(
            _summed(graph, op, members.get(op.id)) for op in graph.ops if op.id not in stand_in
        ),
        edges=tuple(
            replace(edge, src=stand_in.get(edge.src, edge.src))
            for edge in graph.edges
            if edge.dst not in stand_in
        ),
        outputs=_outputs(graph, stand_in),
    )


def _outputs(graph: ModelGraph, stand_in: dict[OpId, OpId]) -> tuple[GraphOutput, ...]:
    """The outputs, of those that each copy gives (keys of a cache) one with a common name."""
    series: dict[tuple[OpId, int], dict[OpId, GraphOutput]] = {}
    for output in graph.outputs:
        place = stand_in.get(output.src, output.src), output.out_slot
        series.setdefault(place, {}).setdefault(output.src, output)
    drawn: list[GraphOutput] = []
    for output in graph.outputs:
        src = stand_in.get(output.src, output.src)
        first, *others = series[src, output.out_slot].values()
        if output is first:
            name = from_to(first.name, others[-1].name) if others else first.name
            drawn.append(replace(output, name=name, src=src))
        elif output not in others:
            drawn.append(replace(output, src=src))
    return tuple(drawn)


def _summed(graph: ModelGraph, op: Op, members: Sequence[OpId] | None) -> Op:
    if members is None:
        return op
    macs = [graph[member].macs for member in members]
    return replace(
        op,
        params=sum(graph[member].params for member in members),
        macs=None if None in macs else sum(m or 0 for m in macs),
    )


def _structure(
    structure: Structure, stand_in: dict[OpId, OpId]
) -> tuple[Structure, tuple[tuple[Skip, ...], ...]]:
    """The drawn skips, blocks and stages, and what each drawn skip stands for."""
    alike: dict[OpId, list[Skip]] = {}
    for skip in structure.skips:
        alike.setdefault(stand_in.get(skip.join, skip.join), []).append(skip)
    drawn = [skip for skip in structure.skips if skip.join not in stand_in]
    skips = {skip: _skip(skip, stand_in) for skip in drawn}
    return (
        replace(
            structure,
            skips=tuple(skips.values()),
            blocks=tuple(
                _block(block, skips, stand_in)
                for block in structure.blocks
                if block.skip.join not in stand_in
            ),
            stages=tuple(_stage(stage, stand_in) for stage in structure.stages),
            repeats=(),
        ),
        tuple(tuple(alike[skip.join]) for skip in drawn),
    )


def _mapped(ops: Sequence[OpId], stand_in: dict[OpId, OpId]) -> tuple[OpId, ...]:
    return tuple(dict.fromkeys(stand_in.get(op, op) for op in ops))


def _skip(skip: Skip, stand_in: dict[OpId, OpId]) -> Skip:
    return replace(
        skip,
        fork=stand_in.get(skip.fork, skip.fork),
        branch=_mapped(skip.branch, stand_in),
        shortcut=_mapped(skip.shortcut, stand_in),
    )


def _block(block: Block, skips: dict[Skip, Skip], stand_in: dict[OpId, OpId]) -> Block:
    skip = skips.get(block.skip) or _skip(block.skip, stand_in)
    return replace(block, skip=skip, ops=_mapped(block.ops, stand_in))


def _stage(stage: Stage, stand_in: dict[OpId, OpId]) -> Stage:
    return replace(stage, ops=_mapped(stage.ops, stand_in))


def _flow(
    flow: GradientFlow, stand_in: dict[OpId, OpId], members: dict[OpId, tuple[OpId, ...]]
) -> GradientFlow:
    """The flow of what is drawn: of several calls the one farthest from the median."""
    norms = [c.stats.l2 for c in flow.calls if c.stats.l2 > 0 and math.isfinite(c.stats.l2)]
    middle = math.log10(median(norms)) if norms else 0.0

    def strangeness(stats: GradientStats) -> float:
        if not (stats.l2 > 0 and math.isfinite(stats.l2)):
            return math.inf
        return abs(math.log10(stats.l2) - middle)

    calls = []
    for call in flow.calls:
        if call.op not in stand_in:
            found = [flow.get(op) for op in members.get(call.op, (call.op,))]
            worst = max((s for s in found if s is not None), key=strangeness)
            calls.append(CallGradient(op=call.op, stats=worst))
    shares = [
        EdgeShare(
            src=stand_in.get(s.src, s.src),
            dst=s.dst,
            share=s.share,
            norm_ratio=s.norm_ratio,
            cosine=s.cosine,
        )
        for s in flow.shares
        if s.dst not in stand_in
    ]
    return replace(flow, calls=tuple(calls), shares=tuple(shares))
