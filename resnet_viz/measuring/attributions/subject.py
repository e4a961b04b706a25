"""The model as a function of the tensors that are attributed.

Captum wants ``f(*tensors)`` whose first axis is the batch, and makes bigger batches
out of it. Here the tensors are picked out of any argument tree, token ids are
replaced by their embedding, and it is tested, not assumed, where the samples are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.core.errors import ModelError, NotApplicableError, UserError, one_line
from resnet_viz.core.graph import ModelGraph
from resnet_viz.measuring.attributions.targets import DETECTIONS, function_value, packed
from resnet_viz.measuring.layers import embedding_of, main_output, reaching_inputs
from resnet_viz.tracing.failures import module_that_raised
from resnet_viz.tracing.trees import input_tensors, map_tensors, named_tensors

_RAISED = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AssertionError)


class Subject:
    """What is attributed, and the model around it.

    Attributes:
        model: What runs.
        inputs: The tensors to attribute, detached.
        names: Their names as arguments of ``forward``.
        sources: Their ids in the graph.
        extras: Tensors that grow with the batch but are not attributed (masks, ids).
        embedding: Path of the embedding module; empty where inputs are floating.
        ids: The token ids, where an embedding is attributed.
        output_name: Place of the explained output in what ``forward`` returns.
        layers: The first tensor that modules put out in the first run, by path.
        axis: Where the samples are; ``None`` where they cannot be told apart.
        autocast: Whether the model runs under bfloat16 autocast; scores are float32 then.
    """

    def __init__(
        self,
        model: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        graph: ModelGraph,
        function: Callable[[Any], Any] | None = None,
    ) -> None:
        self.model = model
        self._function = function
        self._args, self._kwargs = args, kwargs
        given = [tensor for _, tensor in input_tensors(model, args, kwargs)]
        if len(given) != len(graph.inputs):
            raise UserError(
                f"{len(given)} tensors go in, but the graph was traced with {len(graph.inputs)}: "
                "trace the model with the same arguments"
            )
        by_id = dict(zip((i.id for i in graph.inputs), given, strict=True))
        found = reaching_inputs(graph)
        tokens = None if found else embedding_of(graph)
        output = main_output(graph)
        if output is None or (not found and tokens is None):
            raise ValueError("nothing to attribute; ask the method's valid_when first")
        self.output_name = output.name
        self.embedding = tokens[1] if tokens else ""
        self.ids = by_id[tokens[0]] if tokens else None
        self._stand_in: Tensor | None = None
        self._embedded: Tensor | None = None
        chosen = [by_id[i] for i in found]
        # The same tensor given twice, or one of another batch, is held as it is.
        size = chosen[0].shape[0] if chosen else 0
        picked = {id(t): (i, t) for i, t in zip(found, chosen, strict=True) if len(t) == size}
        self._leaves = [t for _, t in picked.values()]
        self.sources = tuple(i for i, _ in picked.values()) or (tokens[0] if tokens else "",)
        self.names = tuple(graph[i].label for i in self.sources)
        self.inputs = tuple(t.detach().clone() for t in self._leaves)
        if self.ids is not None:
            size = len(self.ids)
        self._grown = [t for t in given if id(t) not in picked and t.ndim and t.shape[0] == size]
        self.extras: tuple[Tensor, ...] = tuple(self._grown)
        # (N, C, L) puts its steps last where a convolution reads it.
        self._convolved = {
            e.src for op in graph.ops if op.kind == "conv1d" for e in graph.edges_in(op.id)
        }
        self.layers: dict[str, Tensor] = {}
        self.axis: int | None = 0
        self.autocast = False
        self._output_axis = 0

    @contextmanager
    def watching(self) -> Iterator[Subject]:
        """Within it an embedding's output can be replaced."""
        if not self.embedding:
            yield self
            return

        def hook(_module: nn.Module, _args: Any, out: Tensor) -> Tensor | None:
            self._embedded = out
            return None if self._stand_in is None else self._stand_in

        handle = self.model.get_submodule(self.embedding).register_forward_hook(hook)
        try:
            yield self
        finally:
            handle.remove()

    def first_run(self, layers: tuple[str, ...] = ()) -> Tensor:
        """The explained output at the inputs, samples first; finds ``axis`` and ``layers``.

        Raises:
            ModelError: If ``forward`` raises, with the module.
            NotApplicableError: If the output is not finite or has no floating tensor.
        """
        handles = [
            self.model.get_submodule(path).register_forward_hook(self._see(path)) for path in layers
        ]
        try:
            with torch.no_grad():
                output = self._call(*self.inputs, *self.extras)
        except _RAISED as error:
            raise ModelError(
                f"forward raised in {module_that_raised(error, self.model) or 'the root module'} "
                f"while attributing: {one_line(error)}"
            ) from error
        finally:
            for handle in handles:
                handle.remove()
        if not bool(torch.isfinite(output).all()):
            raise NotApplicableError(
                "the model's output holds NaN or infinity on this input, so nothing can be "
                "attributed: check weights and input"
            )
        if self._embedded is not None:
            self.inputs = (self._embedded.detach().clone(),)
        self.axis = self._find_axis(output)
        return self.samples_first(output)

    def __call__(self, *tensors: Tensor) -> Tensor:
        """The explained output, samples first, with these in place of the inputs."""
        return self.samples_first(self._call(*tensors))

    def samples_first(self, output: Tensor) -> Tensor:
        """The output with the axis of the samples in front."""
        if self.axis is None:
            return output[None]
        return output.movedim(self._output_axis, 0)

    @property
    def samples(self) -> int:
        """How many samples the inputs hold."""
        return 1 if self.axis is None else self.inputs[0].shape[self.axis]

    def grows(self, tensor: Tensor) -> bool:
        """Whether a tensor that goes in holds something for every sample."""
        axis = self.axis
        return axis is not None and tensor.ndim > axis and tensor.shape[axis] == self.samples

    def sample(self, values: Tensor, index: int) -> Tensor:
        """What belongs to one sample of a tensor shaped like an input."""
        return values if self.axis is None else values.select(self.axis, index)

    def places(self, k: int, index: int) -> tuple[int, str, list[str]]:
        """How to show one sample of input ``k`` as bars.

        Returns:
            The axis to keep, what a place along it is, and a label per place.
        """
        one = self.sample(self.inputs[k], index)
        if self.ids is not None and one.ndim == 2 and one.shape[0] == self.ids.shape[-1]:
            ids = self.ids.reshape(-1, self.ids.shape[-1])[index].tolist()
            return 0, "token", [f"token {i} (id {number})" for i, number in enumerate(ids)]
        axis, noun = 0, {0: "value", 1: "feature", 2: "step"}.get(one.ndim, "channel")
        if one.ndim == 2 and self.axis is None:
            noun = "row"
        elif one.ndim == 2 and self.sources[k] in self._convolved:
            axis, noun = 1, "step"
        count = one.shape[axis] if one.ndim else 1
        prefix = f"{self.names[k]}: " if len(self.inputs) > 1 else ""
        return axis, noun, [f"{prefix}{noun} {i}" for i in range(count)]

    def embed(self, ids: Tensor) -> Tensor:
        """What the embedding makes of other token ids."""
        with torch.no_grad():
            self._stand_in = None
            result = self.model.get_submodule(self.embedding)(ids)
        return torch.as_tensor(result).detach().clone()

    def _call(self, *tensors: Tensor) -> Tensor:
        # Clones: captum's tensors are leaves, and the model may write into its input.
        fresh = [t.clone() for t in tensors]
        slots: list[Tensor] = list(self._leaves)
        if self.embedding and len(fresh) > len(self._grown):
            self._stand_in = fresh.pop(0)
        else:
            self._stand_in = None
        slots += self._grown
        swap = {id(old): new for old, new in zip(slots, fresh, strict=True)}

        def put(tensor: Tensor) -> Tensor:
            new = swap.get(id(tensor))
            return tensor.detach().clone() if new is None else new

        args, kwargs = map_tensors((self._args, self._kwargs), put)
        try:
            with self._precision():
                result = self.model(*args, **kwargs)
        finally:
            # Several questions can watch one embedding; who does not ask replaces nothing.
            self._stand_in = None
        explained = self._explained(result)
        return explained.float() if explained.dtype == torch.bfloat16 else explained

    def _precision(self) -> AbstractContextManager[Any]:
        if not self.autocast:
            return nullcontext()
        return torch.autocast(self.inputs[0].device.type, torch.bfloat16)

    def _explained(self, result: Any) -> Tensor:
        if self._function is not None:
            return function_value(self._function, result)
        detections = packed(result)
        if detections is not None:
            self.output_name = DETECTIONS
            return detections
        floating = {n: t for n, t in named_tensors(result) if t.is_floating_point()}
        # A model may return other things in eval mode than where it was traced.
        wide = [t for t in floating.values() if t.ndim] or list(floating.values())
        if not wide:
            raise NotApplicableError("in eval mode the model returns no floating tensor to explain")
        return floating.get(self.output_name, wide[0])

    def _see(self, path: str) -> Any:
        def hook(_module: nn.Module, _args: Any, out: Any) -> None:
            tensor, _ = first_tensor(out)
            if tensor is not None:
                self.layers[path] = tensor.detach()

        return hook

    def _find_axis(self, output: Tensor) -> int | None:
        first = self.inputs[0]
        if first.ndim == 4 and output.ndim and len(output) == len(first):
            # Pictures come in batches; all else is tested.
            return None if self._compares(output) else 0
        for axis in (0, 1) if not self.embedding else (0,):
            place = self._grows_along(axis, output)
            if place is not None:
                self._output_axis = place
                return axis
        return None

    def _compares(self, output: Tensor) -> bool:
        """Whether the output is a table of all samples by all samples."""
        if len(output) not in output.shape[1:]:
            return False
        doubled = self._doubled(0)
        return doubled is not None and doubled.shape[1:] != output.shape[1:]

    def _doubled(self, axis: int) -> Tensor | None:
        """The output at every sample twice; ``None`` where the model cannot take them."""
        size = self.inputs[0].shape[axis]

        def twice(t: Tensor) -> Tensor:
            grows = t.ndim > axis and t.shape[axis] == size
            return torch.cat([t, t], axis) if grows else t

        try:
            with torch.no_grad():
                return self._call(*map(twice, (*self.inputs, *self.extras)))
        except _RAISED:
            return None

    def _grows_along(self, axis: int, output: Tensor) -> int | None:
        """The output's axis along which twice the samples give twice the same."""
        if self.inputs[0].ndim <= axis:
            return None
        size, doubled = self.inputs[0].shape[axis], self._doubled(axis)
        if doubled is None:
            return None
        tolerance = 1e-3 * float(output.abs().max())
        for place in {axis: None, 0: None}:
            if output.ndim <= place or output.shape[place] != size:
                continue
            expected = torch.cat([output, output], place)
            if doubled.shape == expected.shape and torch.allclose(
                doubled, expected, rtol=1e-3, atol=tolerance
            ):
                return place
        return None


def first_tensor(out: Any) -> tuple[Tensor | None, Callable[[Tensor], Any]]:
    """The floating tensor a module puts out first, and how to put another in its place."""
    if isinstance(out, Tensor):
        return (out if out.is_floating_point() else None), lambda new: new
    if isinstance(out, tuple | list) and out and type(out) in (tuple, list):
        tensor, put = first_tensor(out[0])
        rest, kind = out[1:], type(out)
        return tensor, lambda new: kind([put(new), *rest])
    return None, lambda new: new
