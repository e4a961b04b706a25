"""Where attributions are taken: found in the graph, never by the names of modules.

Grad-CAM wants the last map (channels × height × width) before its places are pooled
away; tokens want the embedding that turns their ids into numbers.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from resnet_viz.core.errors import UserError
from resnet_viz.core.graph import GraphOutput, ModelGraph, Op, OpId

RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
_DIMS = ("1d", "2d", "3d")
_CONVOLUTIONS = frozenset(f"conv{t}{d}" for t in ("", "_transpose") for d in _DIMS)
_AVERAGES = frozenset(f"{a}avg_pool2d" for a in ("", "adaptive_")) | {"adaptive_max_pool2d"}
_CHANNELS_FIRST = (
    _CONVOLUTIONS
    | _AVERAGES
    | {"batch_norm", "group_norm", "instance_norm", "local_response_norm", "max_pool2d"}
    | {"prelu", "interpolate", "upsample", "pixel_shuffle", "pixel_unshuffle", "grid_sample"}
)
_CHANNELS_LAST = frozenset({"linear", "layer_norm", "rms_norm"})
# After these the places are as before or fewer: the map that goes in says more.
_NOT_A_MAP = _AVERAGES | {"dropout", "dropout2d", "feature_dropout"}
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapChoice:
    """Where Grad-CAM could look.

    Attributes:
        op: The op that makes the map; ``None`` where there is none.
        modules: Paths whose output is that map, outermost first.
        bypassed: Whether part of the model goes past the map.
        reason: Why there is no map; empty where there is one.
    """

    op: OpId | None = None
    modules: tuple[str, ...] = ()
    bypassed: bool = False
    reason: str = ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean layer4?"``, or nothing where nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def main_output(graph: ModelGraph) -> GraphOutput | None:
    """The output that is explained: scores or a map if there are any, else the first.

    Scores are ``(N, C)``, maps ``(N, C, H, W)``, or anything called ``logits``; integer
    outputs never count and scalars only as a last resort.
    """
    floating = [o for o in graph.outputs if _is_float(graph[o.src], o.out_slot)]

    def rank(output: GraphOutput) -> int:
        axes = len(graph[output.src].outputs[output.out_slot].shape)
        if axes in (2, 4) or output.name.rpartition(".")[2] == "logits":
            return 0
        return 1 if axes else 2

    return min(floating, key=rank, default=None)


def reaching_inputs(graph: ModelGraph) -> tuple[OpId, ...]:
    """The floating inputs, scalars left out, that lead to the explained output."""
    output = main_output(graph)
    if output is None:
        return ()
    before = _before(graph, output.src)
    return tuple(i.id for i in graph.inputs if i.id in before and i.shape and _is_float(i))


def embedding_of(graph: ModelGraph) -> tuple[OpId, str] | None:
    """The first token input that an embedding module reads, and the module's path."""
    for given in graph.inputs:
        if _is_float(given) or not given.shape:
            continue
        reached = {given.id}
        for op in graph.ops:
            if not any(e.src in reached for e in graph.edges_in(op.id)):
                continue
            if op.kind == "embedding":
                node = graph.module(op.module)
                # Only a leaf's output is what stands for its tokens.
                if op.module and not node.children and node.calls == 1:
                    return given.id, op.module
            elif not _is_float(op):
                reached.add(op.id)
    return None


def find_map(graph: ModelGraph) -> MapChoice:
    """The last map before its places are pooled or flattened away.

    Of a model that gives out a map (a segmenter) it is what enters the last layer with
    weights: that layer's own output is the score itself. Pooling and dropout at the end
    are passed over. A layout is believed only where the ops before prove that channels
    come before places.
    """
    output = main_output(graph)
    if output is None:
        return MapChoice(reason="no output is a floating tensor")
    end = output.src
    if _is_map_shape(graph[end].outputs[output.out_slot].shape):
        inside = _before(graph, end)
        heads = [op for op in graph.ops if op.id in inside and op.kind in _CONVOLUTIONS]
        if heads and graph.edges_in(heads[-1].id):
            end = graph.edges_in(heads[-1].id)[0].src
    before = _before(graph, end)
    ways = [op for op in graph.ops if op.id in before]
    maps = [op for op in ways if _is_map(graph, op)]
    if not maps:
        return MapChoice(reason="no layer gives a map of channels × height × width")
    tokens = _first_on_tokens(graph, ways, maps[-1])
    if tokens is not None:
        return MapChoice(
            reason=f"from {tokens.module or tokens.id} on the model works on tokens, and no map "
            "of channels × height × width comes after"
        )
    for op in reversed(maps):
        modules = _ending_in(graph, op)
        if modules:
            bypassed = any(
                e.src in before and graph.position(e.src) < graph.position(op.id)
                for later in ways
                if graph.position(later.id) > graph.position(op.id)
                for e in graph.edges_in(later.id)
                if graph[e.src].kind != "input"
            )
            return MapChoice(op=op.id, modules=modules, bypassed=bypassed)
    return MapChoice(reason="no module that runs once gives a map of channels × height × width")


def check_layer(model: nn.Module, graph: ModelGraph, path: str) -> None:
    """Refuses a layer that a person named and that cannot be looked at.

    Raises:
        UserError: If there is no such module, or it runs never or more than once.
    """
    known = [name for name, _ in model.named_modules() if name]
    if path not in known:
        raise UserError(
            f"no module is called {path!r}{did_you_mean(path, known)} "
            "(give a dotted module path, or auto)"
        )
    calls = {p: n.calls for n in graph.modules for p in (n.path, *n.aliases)}.get(path, 0)
    if calls != 1:
        times = "never runs" if not calls else f"runs {calls} times"
        around = path.rpartition(".")[0]
        raise UserError(
            f"module {path!r} {times} in one forward, so its output is not one map: "
            f"give a module that runs once{f', such as {around}' if around else ''}, or auto"
        )


def _is_float(op: Op, slot: int = 0) -> bool:
    return slot < len(op.outputs) and "float" in op.outputs[slot].dtype


def _is_map_shape(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2] * shape[3] > 1


def _is_map(graph: ModelGraph, op: Op) -> bool:
    return (
        op.kind not in _NOT_A_MAP
        and _is_float(op)
        and _is_map_shape(op.shape)
        and _channels_come_first(graph, op)
    )


def _channels_come_first(graph: ModelGraph, op: Op) -> bool:
    first = True
    while True:
        if op.kind in _CHANNELS_FIRST:
            return first
        if op.kind in _CHANNELS_LAST:
            return not first
        if op.kind == "input":
            return False
        if op.kind == "permute":
            axes = op.args[1] if len(op.args) == 2 else op.args[1:]
            if axes not in (_TO_FIRST, _TO_LAST):
                return False
            first = not first
        elif op.kind in ("transpose", "movedim", "swapaxes"):
            return False
        operands = [graph[e.src] for e in graph.edges_in(op.id)]
        alike = [o for o in operands if len(o.shape) == 4]
        if not alike:
            return False
        op = alike[0]


def _first_on_tokens(graph: ModelGraph, ways: list[Op], last_map: Op) -> Op | None:
    """The first layer after the map that works on (batch, tokens, features)."""
    for op in ways:
        after = graph.position(op.id) > graph.position(last_map.id)
        if after and op.parameters and len(op.shape) == 3 and op.kind in _CHANNELS_LAST:
            return op
    return None


def _before(graph: ModelGraph, end: OpId) -> set[OpId]:
    """``end`` and everything it depends on."""
    seen = {end}
    stack = [end]
    while stack:
        for edge in graph.edges_in(stack.pop()):
            if edge.src not in seen:
                seen.add(edge.src)
                stack.append(edge.src)
    return seen


def _ending_in(graph: ModelGraph, op: Op) -> tuple[str, ...]:
    """Modules that run once, end in ``op`` and let nothing else out; outermost first."""
    parts = op.module.split(".") if op.module else []
    found = []
    for i in range(len(parts)):
        path = ".".join(parts[: i + 1])
        inside = {o.id for o in graph.ops if o.module == path or o.module.startswith(path + ".")}
        last = max(inside, key=graph.position)
        leaks = any(
            edge.dst not in inside for o in inside if o != op.id for edge in graph.edges_out(o)
        )
        if graph.module(path).calls == 1 and last == op.id and not leaks:
            found.append(path)
    return tuple(found)
