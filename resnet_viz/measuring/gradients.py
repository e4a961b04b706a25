"""One real forward and backward, and everything the gradient says on its way.

Hooks sit on autograd's nodes, never on modules: ``register_full_backward_hook``
raises on in-place ReLU, and a module that is called twice has two gradients.
Instrumented parameter gradients equal plain ones bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from resnet_viz.core.errors import (
    InputError,
    ModelError,
    NotApplicableError,
    ResnetVizError,
    UserError,
    one_line,
)
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.measurement import (
    CallGradient,
    GradientFlow,
    Loss,
    ParameterGradient,
)
from resnet_viz.measuring.autograd_graph import NodeMap, Produced, survey
from resnet_viz.measuring.device import model_device, placed, to_host
from resnet_viz.measuring.layers import RECURRENT
from resnet_viz.measuring.losses import LossFunction, choose_loss
from resnet_viz.measuring.shares import ShareBook
from resnet_viz.measuring.statistics import (
    measure_call,
    measure_parameter,
    measure_weight,
    read_call,
    read_parameter,
)
from resnet_viz.tracing.failures import module_that_raised
from resnet_viz.tracing.hints import hint
from resnet_viz.tracing.pristine import pristine
from resnet_viz.tracing.trees import (
    input_tensors,
    map_tensors,
    on_device,
    tensors_in,
)
from resnet_viz.tracing.walk import Walk

Hooks = Callable[[], Iterator[Any]]


def measure_gradients(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    graph: ModelGraph,
    targets: Any = None,
    loss_fn: LossFunction | None = None,
    mode: Literal["train", "eval"] | None = None,
    device: torch.device | None = None,
    data: str = "the inputs given",
    seed: int = 0,
    input_was_given: bool = True,
) -> GradientFlow:
    """Gradient statistics per call and per parameter, and shares per edge.

    Args:
        model: Left as it came: mode, parameters, buffers, ``.grad``, hooks, RNG.
        args: Positional arguments of ``forward``: one batch.
        kwargs: Keyword arguments of ``forward``.
        graph: The traced graph, whose edges the shares are put on.
        targets: Second argument of ``loss_fn``, or class labels.
        loss_fn: See ``losses.choose_loss`` for what happens without one.
        mode: Train or eval mode for this call; the mode the model has if ``None``.
        device: Where to run; a copy is measured if the model lives elsewhere.
        data: What inputs and targets are, in words.
        seed: Of dropout and of the labels where none are given.
        input_was_given: Whether the user chose the input (decides the exit code).

    Raises:
        UserError: If batch norm refuses the batch, there is nothing to
            differentiate, or the model has no values; an ``InputError`` if ``forward``
            raises on an input that the user gave.
        ModelError: If ``forward`` or ``backward`` raises otherwise.
    """
    model = placed(model, device)
    here = model_device(model)
    args, kwargs = on_device((args, kwargs or {}), here)
    targets = on_device(targets, here)
    with _conditions(model, graph, here, mode, seed):
        nodes = NodeMap(model)
        args, kwargs = _inputs(model, nodes, graph, args, kwargs)
        outputs = _forward(model, nodes, args, kwargs, input_was_given)
        loss, root, name = _loss(outputs, targets, loss_fn, seed)
        found, leaves = survey(root)
        calls = _CallMeters(nodes.produced)
        book = ShareBook(found, nodes, graph)
        with _hooked(calls.hooks, book.hooks):
            gradients = _backward(loss, leaves)
        tables = _ParameterTables(model, gradients, nodes.reads)
        numbers = iter(to_host([loss.detach(), *calls.numbers, *book.numbers, *tables.numbers]))
        value = next(numbers)
        call_rows = calls.read(numbers)
        shares, refused = book.read(numbers)
        return GradientFlow(
            loss=Loss(name=name, value=value),
            mode="train" if model.training else "eval",
            device=str(here),
            batch_size=_batch_size(args, kwargs),
            data=data,
            calls=call_rows,
            parameters=tables.read(numbers),
            shares=shares,
            not_separable=refused,
        )


@contextmanager
def _conditions(
    model: nn.Module,
    graph: ModelGraph,
    device: torch.device,
    mode: Literal["train", "eval"] | None,
    seed: int,
) -> Iterator[None]:
    """Gradients on, mode and seed as asked, and everything put back after."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(pristine(model, values=True))
        stack.enter_context(torch.enable_grad())
        torch.manual_seed(seed)
        if mode is not None:
            model.train(mode == "train")
        recurrent = any(op.kind in RECURRENT for op in graph.ops)
        if device.type == "cuda" and recurrent and not model.training:
            # cuDNN has no backward of a recurrent layer in eval mode.
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield


class _CallMeters:
    """Measures the gradient at each call's first output, once per autograd value."""

    def __init__(self, produced: list[Produced]) -> None:
        self._first: dict[str, Produced] = {}
        for item in produced:
            self._first.setdefault(item.op, item)
        self._tables: dict[Any, list[Tensor]] = {}

    def hooks(self) -> Iterator[Any]:
        """Places the hooks; each is a handle to remove."""
        for place in {item.place for item in self._first.values()}:
            yield place.node.register_prehook(self._measure(place))

    def _measure(self, place: Any) -> Callable[[Any], None]:
        def hook(grad_outputs: Any) -> None:
            gradient = grad_outputs[place.slot]
            if gradient is not None and gradient.numel():
                self._tables[place] = measure_call(gradient)

        return hook

    @property
    def numbers(self) -> list[Tensor]:
        """What to transfer, in the order ``read`` wants it."""
        return [n for table in self._tables.values() for n in table]

    def read(self, numbers: Iterator[float]) -> tuple[CallGradient, ...]:
        """Statistics per call, in forward order."""
        numel = {item.place: item.numel for item in self._first.values()}
        stats = {place: read_call(numbers, numel[place]) for place in self._tables}
        return tuple(
            CallGradient(op=item.op, stats=stats[item.place])
            for item in self._first.values()
            if item.place in stats
        )


class _ParameterTables:
    """Measures every parameter, with a gradient or without."""

    def __init__(self, model: nn.Module, gradients: dict[int, Tensor], reads: set[int]) -> None:
        self._reads = reads
        self._rows: list[tuple[str, nn.Parameter, bool]] = []
        self.numbers: list[Tensor] = []
        for name, parameter in model.named_parameters():
            gradient = gradients.get(id(parameter))
            if gradient is not None and gradient.numel():
                self._rows.append((name, parameter, True))
                self.numbers += measure_parameter(gradient, parameter)
            else:
                self._rows.append((name, parameter, False))
                self.numbers.append(measure_weight(parameter))

    def read(self, numbers: Iterator[float]) -> tuple[ParameterGradient, ...]:
        """One row per parameter, in registration order."""
        return tuple(self._row(*row, numbers) for row in self._rows)

    def _row(
        self, name: str, parameter: nn.Parameter, measured: bool, numbers: Iterator[float]
    ) -> ParameterGradient:
        if not measured:
            norm, reason = math.sqrt(next(numbers)), self._why_none(parameter)
            return ParameterGradient(name=name, stats=None, weight_l2=norm, reason=reason)
        stats, norm = read_parameter(numbers, parameter.numel())
        reason = "exactly zero" if stats.low == stats.high == 0 else ""
        return ParameterGradient(name=name, stats=stats, weight_l2=norm, reason=reason)

    def _why_none(self, parameter: nn.Parameter) -> str:
        if not parameter.requires_grad:
            return "frozen"
        if id(parameter) not in self._reads:
            return "never used in the forward"
        return "not on a path to the loss" if parameter.numel() else "it has no elements"


@contextmanager
def _hooked(*placers: Hooks) -> Iterator[None]:
    handles: list[Any] = []
    try:
        for place in placers:
            handles.extend(place())
        yield
    finally:
        for handle in handles:
            handle.remove()


def _inputs(
    model: nn.Module,
    nodes: NodeMap,
    graph: ModelGraph,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Copies of the inputs; one that forks gets a node, so that its edges can be told.

    Only where it forks ahead of all parameters: the gradient with respect to an image costs a stem
    convolution's backward, 3 % of a ResNet-50's, and nothing else needs it.
    """
    names: dict[int, list[OpId]] = {}
    given = input_tensors(model, args, kwargs)
    for (_, tensor), op in zip(given, graph.inputs, strict=False):
        names.setdefault(id(tensor), []).append(op.id)

    def copy(tensor: Tensor) -> Tensor:
        waiting = names.get(id(tensor))
        name = waiting.pop(0) if waiting else OpId("")
        if not tensor.is_floating_point() or not _forks_early(graph, name):
            return tensor.detach().clone()
        # A clone of the leaf, not a view: the model may write into its input in place.
        seen = tensor.detach().requires_grad_().clone()
        nodes.add_input(seen, name)
        return seen

    copies: tuple[tuple[Any, ...], dict[str, Any]] = map_tensors((args, kwargs), copy)
    return copies


def _forks_early(graph: ModelGraph, start: OpId) -> bool:
    """Whether a value forks that depends on this input and on no parameter."""
    todo, seen = [start], {start}
    while todo:
        edges = graph.edges_out(todo.pop())
        if len(edges) > 1:
            return True
        new = {e.dst for e in edges if e.dst not in seen and not graph[e.dst].parameters}
        seen |= new
        todo += new
    return False


def _forward(
    model: nn.Module,
    nodes: NodeMap,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    input_was_given: bool,
) -> Any:
    walk = Walk(model, nodes)
    try:
        with walk.watching():
            outputs = model(*args, **kwargs)
    except Exception as error:  # whatever the user's forward raises
        where = module_that_raised(error, model) or "the root module"
        if "more than 1 value per channel" in str(error):
            raise InputError(
                f"batch norm in {where} refuses a batch of {_batch_size(args, kwargs)} in train "
                "mode: use --batch-size 2 or more, or --eval"
            ) from error
        kind = InputError if input_was_given else ModelError
        advice = f"; hint: {told}" if (told := hint(error)) else ""
        raise kind(f"forward raised in {where}: {one_line(error)}{advice}") from error
    nodes.settle()
    return outputs


def _loss(
    outputs: Any, targets: Any, loss_fn: LossFunction | None, seed: int
) -> tuple[Tensor, Node, str]:
    """The loss, its autograd node, and its name."""
    try:
        loss, name = choose_loss(outputs, targets, loss_fn, seed=seed)
    except ResnetVizError:
        raise
    except Exception as error:  # whatever the loss raises on these outputs and targets
        raise UserError(f"the loss raised: {one_line(error)}") from error
    if loss.grad_fn is None:
        raise NotApplicableError("the loss carries no gradient: the model is frozen or detached")
    return loss, loss.grad_fn, name


def _backward(loss: Tensor, leaves: list[Tensor]) -> dict[int, Tensor]:
    """The gradient of each leaf by its ``id``.

    ``autograd.grad`` and not ``backward``: no ``.grad`` is touched, be it the model's
    or the loss function's, and no optimizer hooked into the accumulation takes a step.
    """
    try:
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    except Exception as error:  # a custom Function's backward may raise anything
        raise ModelError(f"backward raised: {one_line(error)}") from error
    pairs = zip(leaves, gradients, strict=True)
    return {id(leaf): gradient for leaf, gradient in pairs if gradient is not None}


def _batch_size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    for tensor in tensors_in((args, kwargs)):
        if tensor.ndim:
            return int(tensor.shape[0])
    return 1
