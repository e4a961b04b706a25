"""Where a method would be silently wrong, and what to use instead: known from the graph.

Captum raises where a module runs twice under DeepLift; everywhere else it answers. It takes
the gradient of what it has no rule for, makes relevance from nothing at a join, hooks the
last call of a module that runs twice, and gives a sum that cannot hold inside a branch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from resnet_viz.analysis.cuts import between, cuts_of
from resnet_viz.analysis.kinds import IDENTITIES, PRODUCTS, VALUELESS, words
from resnet_viz.core.errors import listed
from resnet_viz.core.graph import ModelGraph, Op, OpId, Ref, is_inside
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.attributions.methods import Method
from resnet_viz.measuring.attributions.rewriting.kinds import (
    ELEMENTWISE,
    LINEAR,
    MAX_POOLS,
    ZERO_AT_ZERO,
    rectifies,
)
from resnet_viz.measuring.layers import embedding_of, main_output, reaching_inputs
from resnet_viz.measuring.layers.places import output_of_module, outputs_of_modules

# Linear in everything that goes in.
_SUMS = IDENTITIES | words(
    """add sub cat stack hstack vstack dstack sum cumsum neg pad constant_pad_nd interpolate
    upsample upsample_nearest upsample_bilinear repeat repeat_interleave tile fold unfold diff
    tril triu where setitem copy"""
)
# Linear in one activation where the others are constant.
_SCALINGS = LINEAR | PRODUCTS | words("mul masked_fill bilinear lerp addcmul")
# These keep relevance as it is.
_PASSES = IDENTITIES | words("repeat_interleave cat stack pad constant_pad_nd")


def refusal(method: Method, graph: ModelGraph, structure: Structure, layer: str = "") -> str:
    """Why a method would be silently wrong here, and what is right; empty where it is valid.

    Args:
        method: A row of ``METHODS``.
        graph: The traced model.
        structure: What was found in it.
        layer: The module the method looks at, where it looks at one.

    Returns:
        The reason as the end of a sentence, with a method or a layer that works.
    """
    ways = _Ways(graph)
    if not ways.ops:
        return ""
    check = _OF_MODEL.get(method.captum)
    reason = check(ways, structure) if check is not None else ""
    if not reason and method.needs_layer and layer:
        reason = _at_layer(ways, method, layer)
    return reason


class _Ways:
    """The ops between what is attributed and what is explained.

    Attributes:
        graph: The traced model.
        output: What is explained.
        inputs: What is attributed.
        ops: All ops from there to here, in order, what is attributed left out.
    """

    def __init__(self, graph: ModelGraph) -> None:
        self.graph = graph
        self.inputs = _attributed(graph)
        main = main_output(graph)
        self.output = main.src if main is not None else OpId("")
        inside = between(graph, self.output, inputs=self.inputs) if main is not None else ()
        self._inside = frozenset(inside)
        self.ops = tuple(graph[op] for op in inside if op not in self.inputs)
        self._moving = _moving(graph, self.inputs)

    def operands(self, op: Op) -> int:
        """How many of its arguments are activations on the way; one given twice counts twice."""
        return sum(edge.src in self._inside for edge in self.graph.edges_in(op.id))

    def is_free(self, op: Op) -> bool:
        """Whether all other arguments are the same at x and at x′."""
        edges = self.graph.edges_in(op.id)
        return not any(e.src in self._moving and e.src not in self._inside for e in edges)

    def without(self, has_rule: Callable[[Op, int], bool]) -> tuple[Op, ...]:
        """The ops that have no rule, told the op and how many activations go in."""
        return tuple(
            op for op in self.ops if not self.is_free(op) or not has_rule(op, self.operands(op))
        )


def _attributed(graph: ModelGraph) -> tuple[OpId, ...]:
    if inputs := reaching_inputs(graph):
        return inputs
    tokens = embedding_of(graph)
    if tokens is None:
        return ()
    return tuple(op.id for op in graph.ops if op.module == tokens[1] and op.kind == "embedding")


def _moving(graph: ModelGraph, inputs: Collection[OpId]) -> frozenset[str]:
    """Everything that differs between x and x′, by whatever way, gradients or none."""
    found = set(inputs)
    for op in graph.ops:
        if op.kind not in VALUELESS and any(e.src in found for e in graph.edges_in(op.id)):
            found.add(op.id)
    return frozenset(found)


def _is_rescaled(op: Op, operands: int) -> bool:
    """Whether DeepLIFT's multipliers keep the sum through this op once it is rewritten."""
    if op.kind in _SUMS:
        return True
    if operands != 1:
        return False
    if op.kind in MAX_POOLS:
        return _comes_first(op) and len(op.shape) == int(op.kind[-2]) + 2
    if op.kind in ELEMENTWISE or op.kind == "div":
        return _comes_first(op)
    return op.kind in _SCALINGS and not _batch_statistics(op)


def _is_relevance_kept(op: Op, operands: int) -> bool:
    """Whether captum's LRP hands relevance through this op once it is rewritten."""
    if op.kind in _PASSES:
        return True
    if operands != 1:
        return False
    if op.kind == "add":
        return True  # A constant beside it, which takes no relevance.
    known = op.kind in ZERO_AT_ZERO or op.kind in MAX_POOLS or op.kind in LINEAR
    return known and _comes_first(op) and not _batch_statistics(op)


def _comes_first(op: Op) -> bool:
    """Whether the activation is the first argument, which the others tell what to do with."""
    first = op.argument(0, "input")
    return isinstance(first, Ref) and first.kind == "in" and "rtruediv" not in op.target


def _batch_statistics(op: Op) -> bool:
    """Whether a batch norm has no running statistics, so that it normalises with its input."""
    return op.kind == "batch_norm" and op.argument(1, "running_mean") is None


def _deep_lift(ways: _Ways, _structure: Structure) -> str:
    found = ways.without(_is_rescaled)
    if not found:
        return ""
    return (
        f"DeepLIFT has no rule for {_kinds(ways, found)}: captum takes the plain gradient there, "
        "and the values do not sum to F(x) − F(x′); use integrated_gradients"
    )


def _lrp(ways: _Ways, structure: Structure) -> str:
    instead = "integrated_gradients" if _deep_lift(ways, structure) else "deep_lift"
    # A concatenation hands every branch its own part; a sum would hand each the whole.
    joins = [op for op in ways.ops if ways.operands(op) > 1 and op.kind not in _PASSES]
    if joins:
        what = f"{len(joins)} places" if len(joins) > 1 else "one place"
        return (
            f"branches join at {what} ({listed([op.id for op in joins], 2)}), where captum's "
            f"LRP has no rule: relevance is made from nothing, without an error; use {instead}"
        )
    found = ways.without(_is_relevance_kept)
    if found:
        return f"captum's LRP has no rule for {_kinds(ways, found)}; use {instead}"
    return ""


def _rectified(ways: _Ways, _structure: Structure) -> str:
    if any(rectifies(op.kind, op.args[1:], dict(op.kwargs)) for op in ways.ops):
        return ""
    others = [op for op in ways.ops if op.kind in ELEMENTWISE]
    has = f"its activations are {listed(dict.fromkeys(op.kind for op in others), 3)}"
    return (
        f"no ReLU lies between input and output{f' ({has})' if others else ''}, so it is the "
        "plain gradient under another name; use saliency"
    )


_OF_MODEL: dict[str, Callable[[_Ways, Structure], str]] = {
    "DeepLift": _deep_lift,
    "DeepLiftShap": _deep_lift,
    "GuidedBackprop": _rectified,
    "Deconvolution": _rectified,
    "GuidedGradCam": _rectified,
    "LRP": _lrp,
}


def _at_layer(ways: _Ways, method: Method, layer: str) -> str:
    graph = ways.graph
    node = next((m for m in graph.modules if layer in (m.path, *m.aliases)), None)
    if node is None:
        return ""
    if node.calls > 1:
        return (
            f"module {layer!r} runs {node.calls} times in one forward, and captum hooks its "
            f"last call without a word; {_instead(ways, layer)}"
        )
    if not (method.needs_cut or (method.at_layer and method.complete)):
        return ""
    op = output_of_module(graph, layer)
    if op is None or op in cuts_of(graph, ways.output, inputs=ways.inputs):
        return ""
    return (
        f"part of the score goes past {layer!r} on a skip, so its values cannot sum to "
        f"F(x) − F(x′), however many steps; {_instead(ways, layer)}"
    )


def _instead(ways: _Ways, layer: str) -> str:
    """The smallest module around the layer that everything goes through, else the next."""
    graph = ways.graph
    cuts = cuts_of(graph, ways.output, inputs=ways.inputs) - {ways.output}
    paths = {op: found for op, found in outputs_of_modules(graph).items() if op in cuts}
    around = [p for found in paths.values() for p in found if p != layer and is_inside(layer, p)]
    if around:
        return f"take {max(around, key=len)!r} around it"
    last = max((graph.position(o.id) for o in graph.ops if is_inside(o.module, layer)), default=0)
    after = [op for op in paths if graph.position(op) > last]
    if after:
        return f"take {paths[min(after, key=graph.position)][0]!r}, where all of the score is"
    return "use integrated_gradients"


def _kinds(ways: _Ways, ops: Sequence[Op]) -> str:
    """The kinds of ops, each with the first place: ``layer_norm (encoder.ln) and softmax``."""
    first: dict[str, Op] = {}
    for op in ops:
        first.setdefault(_said(ways, op), op)
    return listed((f"{kind} ({op.module or op.id})" for kind, op in first.items()), 3)


def _said(ways: _Ways, op: Op) -> str:
    if op.kind in ("mul", *PRODUCTS):
        two = ways.operands(op) > 1 or not ways.is_free(op)
        return "the product of two activations" if two else "a product with a constant"
    if op.kind == "div":
        return "a quotient by an activation"
    return op.kind
