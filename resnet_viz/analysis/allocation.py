"""Which ops allocate memory for their outputs, and which only look at another's.

Views and in-place ops share the memory of their operand. Where the layout decides
(``reshape`` of a permuted tensor copies), strides are followed through the graph.
"""

from __future__ import annotations

import re

from resnet_viz.analysis.channels import permutation
from resnet_viz.analysis.kinds import (
    ATTENTION,
    CASTS,
    CONVOLUTIONS,
    DROPOUTS,
    ELEMENTWISE,
    MAYBE_VIEWS,
    VIEWS,
    words,
)
from resnet_viz.analysis.strides import (
    Strides,
    channels_last,
    contiguous,
    expanded,
    indexed,
    is_contiguous,
    like,
    viewed,
)
from resnet_viz.core.graph import Arg, Edge, ModelGraph, Op, OpId, Ref, TensorSpec

_MORE_VIEWS = words(
    """meshgrid broadcast_tensors atleast_1d atleast_2d atleast_3d conj positive resolve_conj
    resolve_neg unsafe_chunk unsafe_split values indices crow_indices col_indices set_data
    align_to refine_names"""
)
_EXPANDING = words("expand expand_as broadcast_to")
_SPLITTING = words("chunk split split_with_sizes tensor_split hsplit vsplit dsplit narrow")
_SPLITTING |= words("unsafe_chunk unsafe_split")
_DROPPING = words("select unbind")
# They keep the order in which an image batch lies.
_IMAGE = re.compile(r"(?:conv|conv_transpose|\w+_pool)[23]d$|interpolate$|pixel_(?:un)?shuffle$")
# New memory, laid out like the operand.
_KEEPING = (ELEMENTWISE - VIEWS - MAYBE_VIEWS - {"softmax", "getitem"}) | words(
    "batch_norm neg abs exp log sqrt rsqrt square sin cos pow zeros_like ones_like empty_like"
)


class Allocations:
    """What each op of a graph allocates.

    Attributes:
        nbytes: Bytes of each op's own outputs; 0 for views and in-place ops.
        source: For an op that allocates nothing: the op and slot whose memory it
            shows; ``None`` where that is a parameter, a buffer or a constant.
    """

    def __init__(self, graph: ModelGraph) -> None:
        self._graph = graph
        self._buffers = {b.name: b for m in graph.modules for b in m.buffers}
        self._strides: dict[tuple[OpId, int], Strides] = {}
        self.nbytes: dict[OpId, int] = {}
        self.source: dict[OpId, tuple[OpId, int] | None] = {}
        for op in graph.ops:
            edge, spec, strides = self._operand(op)
            laid = _shared(op, spec, strides)
            if laid is None:
                self.nbytes[op.id] = sum(out.nbytes for out in op.outputs)
                laid = [_fresh(op, out, spec, strides) for out in op.outputs]
            else:
                self.nbytes[op.id] = 0
                self.source[op.id] = (edge.src, edge.out_slot) if edge else None
            for slot, found in enumerate(laid):
                if found != contiguous(op.outputs[slot].shape):
                    self._strides[op.id, slot] = found

    def _operand(self, op: Op) -> tuple[Edge | None, TensorSpec | None, Strides]:
        """The tensor that the op works on: its first argument, else its first input."""
        first = op.args[0] if op.args else None
        while isinstance(first, tuple) and first:
            first = first[0]
        edges = self._graph.edges_in(op.id)
        spec: TensorSpec | None = None
        if isinstance(first, Ref) and first.kind == "param":
            spec = self._graph.parameter(str(first.key)).spec
        elif isinstance(first, Ref) and first.kind == "buffer" and first.key in self._buffers:
            spec = self._buffers[str(first.key)].spec
        elif edges and not (isinstance(first, Ref) and first.kind == "const"):
            at = first.key if isinstance(first, Ref) and isinstance(first.key, int) else 0
            edge = next((e for e in edges if e.in_slot == at), edges[0])
            spec = self._graph[edge.src].outputs[edge.out_slot]
            strides = self._strides.get((edge.src, edge.out_slot))
            return edge, spec, strides or contiguous(spec.shape)
        return None, spec, contiguous(spec.shape) if spec else ()


def _shared(op: Op, spec: TensorSpec | None, strides: Strides) -> list[Strides] | None:
    """Strides of the outputs of an op that allocates nothing; ``None`` if it does."""
    outputs = op.outputs
    same = [strides if spec and out.shape == spec.shape else contiguous(out.shape)
            for out in outputs]  # fmt: skip
    kind = op.kind
    if op.inplace:
        return same
    if kind == "unfold":
        return same if op.target.startswith("torch.Tensor") else None
    if kind == "getitem":
        index = op.argument(1, "idx")
        if _gathers(index):
            return None
        found = indexed(spec.shape, strides, index) if spec else None
        shape = outputs[0].shape if outputs else ()
        fits = found is not None and len(found) == len(shape)
        return [found] if fits and found is not None else same
    if kind in VIEWS or kind in _MORE_VIEWS:
        return [_view(op, out, spec, strides) for out in outputs]
    if kind in CASTS:
        return same if kind != "clone" and spec and outputs[:1] == (spec,) else None
    if kind in DROPOUTS:
        return same if op.argument(2, "training") is False else None
    if kind in MAYBE_VIEWS and spec and outputs:
        if kind == "contiguous":
            # A memory format that is named is the other one: channels last.
            ready = channels_last if op.argument(1, "memory_format") else is_contiguous
            return same if ready(spec.shape, strides) else None
        found = viewed(spec.shape, strides, outputs[0].shape)
        return None if found is None else [found]
    return same if kind in MAYBE_VIEWS else None


def _view(op: Op, out: TensorSpec, spec: TensorSpec | None, strides: Strides) -> Strides:
    if spec is None:
        return contiguous(out.shape)
    shape, new = spec.shape, out.shape
    order = permutation(op, len(shape))
    if order:
        return tuple(strides[axis] for axis in order)
    if op.kind in _EXPANDING:
        return expanded(shape, strides, new)
    if op.kind in _SPLITTING and len(shape) == len(new):
        return strides
    if op.kind in _DROPPING:
        axis = op.argument(1, "dim", 0)
        if isinstance(axis, int) and len(new) == len(shape) - 1:
            axis %= len(shape)
            return strides[:axis] + strides[axis + 1 :]
    if out.numel == spec.numel:
        return viewed(shape, strides, new) or contiguous(new)
    return contiguous(new)


def _fresh(op: Op, out: TensorSpec, spec: TensorSpec | None, strides: Strides) -> Strides:
    """Strides of memory that the op has just allocated."""
    shape = out.shape
    if spec is not None and len(shape) == len(spec.shape) and op.kind in ATTENTION:
        # Fused kernels lay their output out like the query.
        return like(shape, strides)
    if spec is not None and shape == spec.shape and op.kind in _KEEPING:
        return like(shape, strides)
    same_rank = spec is not None and len(shape) == len(spec.shape) == len(strides)
    if spec is not None and same_rank and channels_last(spec.shape, strides):
        keeps = op.kind in CONVOLUTIONS or op.kind == "cat" or _IMAGE.match(op.kind)
        if keeps:
            return like(shape, strides)
    return contiguous(shape)


def _gathers(index: Arg) -> bool:
    """Whether indexing copies: by a tensor, a list of numbers or a mask it does."""
    items = index if isinstance(index, tuple) else (index,)
    return any(isinstance(item, Ref | tuple | bool) for item in items)
