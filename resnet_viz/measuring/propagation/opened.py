"""One forward in eval mode that is kept open: differentiated again and again, anywhere.

Places are edges of autograd's graph and not tensors: what an activation in place has
overwritten can still be asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.attention import SDPBackend, sdpa_kernel

from resnet_viz.core.errors import NotApplicableError, one_line
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.measuring.autograd_graph import NodeMap
from resnet_viz.measuring.layers import embedding_of, main_output, reaching_inputs
from resnet_viz.tracing.failures import module_that_raised
from resnet_viz.tracing.trees import input_tensors, map_tensors, named_tensors
from resnet_viz.tracing.walk import Function, Walk

_RAISED = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AssertionError)


class Spot(NamedTuple):
    """A value of the forward that can be differentiated, samples first."""

    edge: GradientEdge
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> Spot:
        """Where this tensor, which must need a gradient, stands in the graph now."""
        return cls(get_gradient_edge(tensor), tensor.shape, tensor.dtype, tensor.device)

    @property
    def numel(self) -> int:
        """Elements of one sample."""
        return math.prod(self.shape[1:])


class Opened:
    """The forward; to be made within ``evaluating`` and gone before it ends.

    Attributes:
        start: What the net is a function of, in words: its input, or an embedding.
        end: Name of the output, in words.
        inputs: The floating inputs that lead to the output; of a net that reads tokens
            what its embedding made of them.
        output: The explained output.
        spots: Outputs of the calls asked for, as far as they have the samples in front.
        samples: How many there are.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: ModelGraph,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        wanted: Iterable[OpId],
    ) -> None:
        """Runs the forward.

        Args:
            model: In eval mode, its parameters frozen.
            graph: Its trace.
            args: For ``forward``; copied.
            kwargs: Likewise.
            wanted: Calls whose outputs become ``spots``.

        Raises:
            NotApplicableError: If ``forward`` raises in eval mode, or no floating output
                depends on the input, sample by sample.
        """
        self._starts: list[Spot] = []
        self._wanted = frozenset(wanted)
        self._embedding = ""
        self._embedding_op = OpId("")
        self.spots: dict[OpId, Spot] = {}
        args, kwargs = self._copied(model, graph, args, kwargs)
        nodes = NodeMap(model, (self,))
        try:
            # The fused attention kernels cannot be differentiated twice.
            with (
                sdpa_kernel(SDPBackend.MATH),
                _asking(model, self._embedding),
                Walk(model, nodes).watching(),
            ):
                result = model(*args, **kwargs)
        except _RAISED as error:
            raise NotApplicableError(
                f"forward raised in {module_that_raised(error, model) or 'the root module'} "
                f"in eval mode: {one_line(error)}"
            ) from error
        self.end, self.output = _output(graph, result)
        self.inputs = tuple(self._starts)
        self.samples = self.output.shape[0]
        if not self.inputs:
            raise NotApplicableError("the output depends on no floating input and no embedding")
        if any(spot.shape[:1] != self.output.shape[:1] for spot in self.inputs):
            raise NotApplicableError("input and output do not both have the samples in front")
        self.spots = {
            op: spot for op, spot in self.spots.items() if spot.shape[:1] == (self.samples,)
        }

    def called(
        self,
        op: OpId,
        _walk: Walk,
        _func: Function,
        _args: tuple[Any, ...],
        _kwargs: dict[str, Any],
        outputs: list[Tensor],
    ) -> None:
        """Remembers the outputs that were asked for."""
        if op in self._wanted and outputs and outputs[0].grad_fn is not None:
            self.spots[op] = Spot.of(outputs[0])
        if op == self._embedding_op:
            self._starts.append(Spot.of(outputs[0]))

    def _copied(
        self, model: nn.Module, graph: ModelGraph, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Copies of the arguments, those that the output is a function of with a node."""
        given = input_tensors(model, args, kwargs)
        names = {id(t): op.id for (_, t), op in zip(given, graph.inputs, strict=False)}
        reaching = [op for op in reaching_inputs(graph) if op in names.values()]
        self.start = ", ".join(graph[op].label or op for op in reaching)
        if not reaching and (tokens := embedding_of(graph)):
            _, self._embedding = tokens
            self._embedding_op = next(
                op.id for op in graph.ops if op.module == self._embedding and op.kind == "embedding"
            )
            self.start = f"what {self._embedding} gives"

        def copy(tensor: Tensor) -> Tensor:
            op = names.get(id(tensor))
            if op not in reaching:
                return tensor.detach().clone()
            # A clone of the leaf: the model may write into its input.
            seen = tensor.detach().requires_grad_().clone()
            self.spots[op] = Spot.of(seen)
            self._starts.append(self.spots[op])
            return seen

        copies: tuple[tuple[Any, ...], dict[str, Any]] = map_tensors((args, kwargs), copy)
        return copies


@contextmanager
def _asking(model: nn.Module, embedding: str) -> Iterator[None]:
    """Within it an embedding's weights ask for a gradient, so that its output has a node."""
    weights = list(model.get_submodule(embedding).parameters()) if embedding else []
    try:
        for weight in weights:
            weight.requires_grad_()
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(False)


def _output(graph: ModelGraph, result: Any) -> tuple[str, Spot]:
    # A cache is returned for the next call; an object is opened for want of anything else.
    wide = _differentiable(result, objects=False) or _differentiable(result, objects=True)
    if not wide:
        raise NotApplicableError(
            "in eval mode no floating output with an axis of samples depends on the input"
        )
    chosen = main_output(graph)
    # A model may return other things in eval mode than where it was traced.
    name = chosen.name if chosen and chosen.name in wide else next(iter(wide))
    return name or "output", Spot.of(wide[name])


def _differentiable(result: Any, *, objects: bool) -> dict[str, Tensor]:
    found = named_tensors(result, objects=objects)
    return {n: t for n, t in found if t.is_floating_point() and t.requires_grad and t.ndim}


def differentiate(
    end: Spot, starts: Iterable[Spot], v: Tensor, *, create_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """Jᵀ v at each start, ``None`` where the end does not depend on it; the graph stays.

    Raises:
        NotApplicableError: If some op's backward raises.
    """
    try:
        return torch.autograd.grad(
            end.edge,
            [spot.edge for spot in starts],
            v.to(end.device, end.dtype).reshape(end.shape),
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
        )
    except RuntimeError as error:
        raise NotApplicableError(f"backward raised: {one_line(error, 160)}") from error


def first_samples(
    args: tuple[Any, ...], kwargs: dict[str, Any], size: int, count: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with the first ``count`` of ``size`` samples."""

    def cut(tensor: Tensor) -> Tensor:
        return tensor[:count] if tensor.ndim and tensor.shape[0] == size else tensor

    fewer: tuple[tuple[Any, ...], dict[str, Any]] = map_tensors((args, kwargs), cut)
    return fewer
