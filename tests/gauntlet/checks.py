"""What must hold for each model: every law, checked one after the other, none aborting another."""

from __future__ import annotations

import gc
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from resnet_viz.core.errors import TraceError, UnfaithfulError, UnprovableError, one_line
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.tracing.proving.steps import prove
from resnet_viz.tracing.tracer import trace_model
from tests.gauntlet.cases import Case, Given, Mode, Seen, seed
from tests.gauntlet.oracles import flops_of, no_caches_kept, on_meta, ours
from tests.gauntlet.portrait import changes, portrait, read, values, world

# Beyond these a real forward costs more than it tells.
LARGEST_REAL = 400_000_000


@dataclass(slots=True)
class Row:
    """What came out for one model; plain values, so that it crosses processes."""

    name: str
    family: str
    mode: str = ""
    ops: int = 0
    edges: int = 0
    skips: int = 0
    params: int = 0
    macs: int | None = None
    uncounted: int = 0
    flops: str = ""
    modes: str = ""
    verified: str = ""
    seconds: float = 0.0
    ratio: float | None = None
    limit: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems


class _StopRowError(Exception):
    """Nothing more can be checked of this row."""


def examine(case: Case, *, timed: bool = True) -> Row:
    """The row of ``case``: never raises, whatever the model or the tracer does."""
    row = Row(name=case.name, family=case.family, limit=case.limit)
    try:
        with warnings.catch_warnings(), _same_world():
            warnings.simplefilter("ignore")
            _examine(case, row, timed)
    except _StopRowError:
        pass
    except Exception as error:
        row.problems.append(f"the harness raised {_reason(error)}")
    if timed:
        gc.collect()
    return row


@contextmanager
def _same_world() -> Iterator[None]:
    """Models here change defaults; the next row must not see it."""
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    benchmark = torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        torch.backends.cudnn.benchmark = benchmark


def _reason(error: BaseException) -> str:
    line = one_line(error, 160) if isinstance(error, Exception) else repr(error)
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "resnet_viz" in f.filename or "gauntlet" in f.filename]
    where = f" at {ours[-1].filename.rpartition('/')[2]}:{ours[-1].lineno}" if ours else ""
    return f"{line}{where}"


def _trace(model: nn.Module, given: Given, **options: Any) -> ModelGraph:
    seed(2)
    return trace_model(model, given.args, given.kwargs, **options)


def _examine(case: Case, row: Row, timed: bool) -> None:
    model, given = case.build(), case.given()
    params = _own_params(model)
    large = params > LARGEST_REAL
    graph = _first_trace(case, row, model, given)
    seen = Seen(graph)
    row.mode, row.ops, row.edges = seen.mode, len(graph.ops), len(graph.edges)
    row.params, row.macs, row.uncounted = graph.total_params, graph.total_macs, len(graph.uncounted)

    def check(what: str, test: Callable[[], Any]) -> None:
        try:
            with _same_world():
                problem = test()
        except AssertionError as error:
            problem = _assertion(error)
        except Exception as error:
            problem = f"raised {_reason(error)}"
        if problem:
            row.problems.append(f"{what}: {problem}")

    def equal(**options: Any) -> Callable[[], str | None]:
        return lambda: difference(graph, _trace(model, case.given(), **options))

    if case.mode is not None and case.mode != row.mode:
        row.problems.append(f"mode: {row.mode} ran, not {case.mode}: {graph.how.why}")
    if case.expect is not None:
        check("expected", lambda: case.expect(seen))
    check("skips", lambda: setattr(row, "skips", len(seen.structure.skips)))
    check("params", lambda: _params(graph, params))
    check("JSON", lambda: None if from_json(to_json(graph)) == graph else "round trip differs")
    check("second trace", equal())
    check("without remembering", equal(remember=False))
    if case.modes and not large:
        check("modes", lambda: _modes(case, row, model, graph))
    if not large:
        check("verify", lambda: _verify(case, row, model, graph))
        check("after an exception", lambda: _after_exception(case, model))
        check("next forward", lambda: _next_forward(case, model))
    # Last, because both run models on meta without our care: they may leave tensors behind.
    with nullcontext() if case.group == "nasty" else no_caches_kept():
        if timed:
            check("time", lambda: _time(case, row, model if large else case.build(), large))
        if case.flops:
            check("FLOPs", lambda: _flops(case, row, model, graph, large))


def _first_trace(case: Case, row: Row, model: nn.Module, given: Given) -> ModelGraph:
    """The trace as a user makes it, between two portraits."""
    seed(2)
    before, outside = portrait(model, given.args, given.kwargs), world()
    begin = time.process_time()
    try:
        graph = _trace(model, given)
    except Exception as error:
        row.problems.append(f"trace: {_reason(error)}")
        graph = None
    row.seconds = time.process_time() - begin
    changed = changes(before, portrait(model, given.args, given.kwargs))
    if changed:
        row.problems.append(f"pristine: {len(changed)} changed, as {', '.join(changed[:3])}")
    moved = changes(outside, world())
    if moved:
        row.problems.append(f"pristine: left behind {', '.join(moved)}")
    if graph is None:
        raise _StopRowError
    return graph


def _own_params(model: nn.Module) -> int:
    distinct = {id(p): p for p in model.parameters()}
    lazy = nn.parameter.UninitializedTensorMixin
    return sum(0 if isinstance(p, lazy) else p.numel() for p in distinct.values())


def _params(graph: ModelGraph, params: int) -> str | None:
    if graph.total_params != params and params:
        return f"{graph.total_params} instead of {params}"
    used = sum(p.spec.numel for p in graph.parameters if p.used)
    added = sum(op.params for op in graph.ops)
    return None if added == used else f"the column adds up to {added}, used are {used}"


def difference(graph: ModelGraph, other: ModelGraph) -> str | None:
    """Where two graphs that should be equal part; ``None`` if they are."""
    if graph == other:
        return None
    for i, (a, b) in enumerate(zip(graph.ops, other.ops, strict=False)):
        if a != b:
            fields = [n for n in a.__dataclass_fields__ if getattr(a, n) != getattr(b, n)]
            first = fields[0]
            return f"op {i} {a.id}: {first} {getattr(a, first)!r:.60} != {getattr(b, first)!r:.60}"
    if len(graph.ops) != len(other.ops):
        return f"{len(graph.ops)} ops against {len(other.ops)}"
    for name in ("inputs", "edges", "modules", "outputs", "name", "failure"):
        left, right = getattr(graph, name), getattr(other, name)
        if left != right:
            pairs = zip(left, right, strict=False) if isinstance(left, tuple) else [(left, right)]
            a, b = next(((a, b) for a, b in pairs if a != b), (len(left), len(right)))
            return f"{name}: {a!r:.90} != {b!r:.90}"
    return "unequal"


def _modes(case: Case, row: Row, model: nn.Module, graph: ModelGraph) -> str | None:
    """The graphs of the other modes, where those run."""
    ran, bad = [row.mode], []
    others: dict[str, tuple[Mode, ...]] = {"meta": ("fake", "real"), "fake": ("real",), "real": ()}
    for mode in others[row.mode]:
        try:
            other = _trace(model, case.given(), modes=(mode,))
        except Exception as error:
            if mode == "real":
                bad.append(f"real raised {_reason(error)}")
            else:
                row.notes.append(f"fake does not run: {one_line(error.__cause__ or error, 80)}")
            continue
        unlike = difference(graph, other)
        if unlike and case.limit:
            row.notes.append(f"{mode} differs: {unlike}")
            continue
        ran.append(mode)
        if unlike:
            bad.append(f"{mode} differs: {unlike}")
    row.modes = " = ".join(ran)
    return "; ".join(bad) or None


def _verify(case: Case, row: Row, model: nn.Module, graph: ModelGraph) -> str | None:
    """What ``rv.verify`` says; a refusal is an answer, and says why."""
    given = case.given()
    seed(2)
    try:
        prove(graph, model, given.args, given.kwargs)
    except (UnprovableError, TraceError) as error:
        if isinstance(error, TraceError) and not case.grad:
            raise
        row.verified = "refused"
        row.notes.append(f"not verified: {one_line(error, 160)}")
    except UnfaithfulError as error:
        row.verified = "no"
        if not case.limit:
            return one_line(error, 240)
        row.notes.append(f"not verified: {one_line(error, 160)}")
    else:
        row.verified = "yes"
    return None


def _forward(case: Case, model: nn.Module, given: Given) -> list[Any]:
    seed(3)
    with _same_world(), torch.set_grad_enabled(case.grad):
        return values(model(*given.args, **given.kwargs))


def _next_forward(case: Case, model: nn.Module) -> str | None:
    """The traced model's next forward against that of a twin nobody traced."""
    expected, got = _forward(case, case.build(), case.given()), _forward(case, model, case.given())
    if got == expected or not case.bits:
        return None
    if expected != _forward(case, case.build(), case.given()):
        return "two untouched twins differ: the case must say bits=False"
    return "other numbers than an untouched twin"


def _after_exception(case: Case, model: nn.Module) -> str | None:
    """A forward that raises in its last leaf call leaves the model as it came."""
    leaves = [m for m in model.modules() if not list(m.children())]
    if len(leaves) < 2:
        return None

    def fail(*_: Any) -> None:
        raise LookupError("from the gauntlet")

    given = case.given()
    handle = leaves[-1].register_forward_pre_hook(fail)
    try:
        before = portrait(model, given.args, given.kwargs)
        try:
            _trace(model, given)
        except Exception as error:
            if getattr(error, "graph", None) is None:
                return f"no partial graph: {_reason(error)}"
        changed = changes(before, portrait(model, given.args, given.kwargs))
    finally:
        handle.remove()
    return f"{len(changed)} changed, as {', '.join(changed[:3])}" if changed else None


def _time(case: Case, row: Row, model: nn.Module, large: bool) -> None:
    """CPU time of a trace over that of the bare forward it watched (the best of two each)."""
    traces, bare = [], []
    for _ in range(2):
        given = case.given()
        begin = time.process_time()
        _trace(model, given)
        traces.append(time.process_time() - begin)
    if large:
        return
    try:
        device = torch.device("meta" if row.mode == "meta" else "cpu")
        for _ in range(2):
            given = on_meta(model, case.given()) if row.mode == "meta" else case.given()
            begin = time.process_time()
            with torch.set_grad_enabled(case.grad), device:
                read(model(*given.args, **given.kwargs))
            bare.append(time.process_time() - begin)
    except Exception as error:
        row.notes.append(f"no bare forward to compare with: {one_line(error, 60)}")
    else:
        row.ratio = min(traces) / max(min(bare), 1e-6)


def _flops(case: Case, row: Row, model: nn.Module, graph: ModelGraph, large: bool) -> str | None:
    """MACs against half of FlopCounterMode's figure, on meta where that runs."""
    with_kernels, without = ours(graph)
    said = []
    for counted in flops_of(model if large else None, case):
        row.flops = counted.where
        if counted.flops == 2 * with_kernels:
            return None
        if counted.where == "real" and counted.flops - counted.by_kernel == 2 * without:
            row.notes.append("MACs compared without attention and recurrent kernels")
            return None
        said.append(f"on {counted.where} they are {counted.flops / 2:.0f}")
        # Where only values tell the way, the way that meta takes is another.
        if row.mode == "meta" and counted.where == "meta":
            break
        if graph.uncounted and 2 * with_kernels <= counted.flops:
            kinds = sorted({graph[op].kind for op in graph.uncounted})
            row.notes.append(f"not counted: {len(graph.uncounted)} × {', '.join(kinds)}")
            return None
    if not said:
        row.flops = "–"
        row.notes.append("torch cannot count it, on meta or for real")
        return None
    return f"{with_kernels} MACs, {', '.join(said)}"


def _assertion(error: AssertionError) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    said = f" ({one_line(error, 120)})" if str(error) else ""
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.line}{said}"
