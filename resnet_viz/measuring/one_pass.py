"""One forward and one backward of the user's model, as training would run them.

What is measured on the way is the caller's business: watchers look at the calls of the
forward, hooks at the nodes of the backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import (
    InputError,
    ModelError,
    NotApplicableError,
    ResnetVizError,
    UserError,
    one_line,
)
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.measuring.autograd_graph import Arrivals, NodeMap, survey
from resnet_viz.measuring.layers import RECURRENT
from resnet_viz.measuring.losses import LossFunction, choose_loss
from resnet_viz.tracing.failures import module_that_raised
from resnet_viz.tracing.hints import hint
from resnet_viz.tracing.pristine import Pristine, pristine
from resnet_viz.tracing.trees import input_tensors, map_tensors, on_device, tensors_in
from resnet_viz.tracing.walk import Walk

if TYPE_CHECKING:
    from resnet_viz.measuring.processes.exchange import Exchange

Mode = Literal["train", "eval"]
Hooks = Callable[[], Iterator[Any]]

REENTRANT = "CheckpointFunctionBackward"
AUTOCAST = torch.bfloat16


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a model is run; see ``measure_gradients``."""

    model: nn.Module
    graph: ModelGraph
    device: torch.device
    loss_fn: LossFunction | None = None
    mode: Mode | None = None
    autocast: bool = False
    exchange: Exchange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """A forward that has run, ready for its backward.

    Attributes:
        nodes: Which autograd node belongs to which call.
        loss: The number to differentiate.
        loss_name: How it was chosen.
        root: Its node.
        arrivals: Every place under the root with the edges that lead to it.
        leaves: What the backward fills the ``.grad`` of.
        batch_size: First dimension of the first input.
        segments: How many reentrant checkpoints there are.
        asked: Whether some input is asked for a gradient that nothing but
            ``every_input`` wants.
        accumulates: Whether gradients can only be had from ``.grad``.
    """

    nodes: NodeMap
    loss: Tensor
    loss_name: str
    root: Node
    arrivals: list[Arrivals]
    leaves: list[Tensor]
    batch_size: int
    segments: int
    asked: bool
    accumulates: bool = False

    @property
    def is_healed(self) -> bool:
        """Whether our asking may have given gradients to what training gives none.

        A reentrant checkpoint passes gradients on only if some input of its asks for one.
        """
        return self.asked and self.segments > 0


@contextmanager
def conditions(setting: Setting, seed: int) -> Iterator[Pristine]:
    """Gradients on, mode and seed as asked, and everything put back after."""
    model = setting.model
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        kept = stack.enter_context(pristine(model, values=True))
        stack.enter_context(torch.enable_grad())
        torch.manual_seed(seed)
        if setting.mode is not None:
            model.train(setting.mode == "train")
        recurrent = any(op.kind in RECURRENT for op in setting.graph.ops)
        if setting.device.type == "cuda" and recurrent and not model.training:
            # cuDNN has no backward of a recurrent layer in eval mode.
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        if setting.exchange is not None:
            stack.enter_context(setting.exchange.running())
        yield kept


def run_forward(
    setting: Setting,
    batch: Batch,
    *,
    kept: Pristine,
    seed: int,
    every_input: bool,
    past_frozen: bool = False,
    observer: Callable[[nn.Module], NodeMap] = NodeMap,
) -> Forwarded:
    """The forward and the loss, inside ``conditions``.

    Args:
        setting: How.
        batch: On what.
        kept: What ``conditions`` keeps: told of every call, as one may write a parameter.
        seed: Of the labels where none are given.
        every_input: Whether all floating inputs get gradients; otherwise only one that
            forks ahead of all parameters does.
        past_frozen: Whether ``every_input`` holds for those behind frozen parameters too.
        observer: Makes what observes the calls.

    Raises:
        UserError: If the batch is empty or refused by batch norm, or the loss raises; an
            ``InputError`` if ``forward`` raises on an input that the user gave.
        ModelError: If ``forward`` raises otherwise.
        NotApplicableError: If there is nothing to differentiate, or an input is nested.
    """
    model, graph = setting.model, setting.graph
    given = on_device((batch.args, batch.kwargs), setting.device)
    check_inputs(given)
    targets = on_device(batch.targets, setting.device)
    nodes = observer(model)
    nodes.before = kept.protect
    frozen = {n for n, p in model.named_parameters() if not (p.requires_grad or past_frozen)}
    args, kwargs, asked = _copied(
        model, nodes, graph, given[0], given[1], frozen, every_input=every_input
    )
    exchange = setting.exchange
    if exchange is not None:
        exchange.adopt(nodes)
    with _autocast(setting):
        outputs = _called(model, nodes, args, kwargs, batch.was_given)
        loss, root, name = _loss(outputs, targets, setting.loss_fn, seed, batch.targets)
    arrivals, leaves = survey(root)
    if exchange is not None:
        exchange.settle(nodes, leaves)
    return Forwarded(
        nodes=nodes,
        loss=loss,
        loss_name=name,
        root=root,
        arrivals=arrivals,
        leaves=leaves,
        batch_size=_batch_size(args, kwargs),
        segments=sum(node.name() == REENTRANT for node in {a.place.node for a in arrivals}),
        asked=asked,
        accumulates=exchange is not None and exchange.accumulates,
    )


def check_inputs(given: Any) -> None:
    """Refuses inputs that no statistic can be taken of.

    Raises:
        NotApplicableError: If a tensor among them is nested.
        UserError: If none of them holds a sample.
    """
    tensors = list(tensors_in(given))
    if any(tensor.is_nested for tensor in tensors):
        raise NotApplicableError(
            "an input is a nested tensor, whose gradient has no one shape: give a padded batch"
        )
    sizes = [tensor.shape[0] for tensor in tensors if tensor.ndim]
    if sizes and not any(sizes):
        raise UserError("the batch holds no sample: give one or more")


def run_backward(forwarded: Forwarded, model: nn.Module) -> dict[int, Tensor]:
    """The gradient of each leaf by its ``id``.

    ``autograd.grad`` and not ``backward``: no ``.grad`` is touched, be it the model's
    or the loss function's, and no optimizer hooked into the accumulation takes a step.

    Raises:
        ModelError: If it raises.
    """
    loss, leaves = forwarded.loss, forwarded.leaves
    try:
        if forwarded.segments or forwarded.accumulates:
            return _accumulated(loss, [*leaves, *model.parameters()])
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    except Exception as error:  # a custom Function's backward may raise anything
        raise ModelError(f"backward raised: {one_line(error)}") from error
    pairs = zip(leaves, gradients, strict=True)
    return {id(leaf): gradient for leaf, gradient in pairs if gradient is not None}


@contextmanager
def hooked(*placers: Hooks) -> Iterator[None]:
    """Within it the hooks are in place; afterwards none is left, whatever happened."""
    handles: list[Any] = []
    try:
        for place in placers:
            handles.extend(place())
        yield
    finally:
        for handle in handles:
            handle.remove()


def _accumulated(loss: Tensor, leaves: list[Tensor]) -> dict[int, Tensor]:
    """Gradients through ``.grad``: a reentrant checkpoint knows no other way."""
    distinct = {id(leaf): leaf for leaf in leaves if leaf.requires_grad}
    kept = {key: leaf.grad for key, leaf in distinct.items()}
    hooks = [getattr(leaf, "_post_accumulate_grad_hooks", None) for leaf in distinct.values()]
    aside = [(table, dict(table)) for table in hooks if table]
    try:
        for table, _ in aside:
            table.clear()
        for leaf in distinct.values():
            leaf.grad = None
        torch.autograd.backward(loss)
        return {key: leaf.grad for key, leaf in distinct.items() if leaf.grad is not None}
    finally:
        for key, leaf in distinct.items():
            leaf.grad = kept[key]
        for table, content in aside:
            table.update(content)


def _autocast(setting: Setting) -> AbstractContextManager[Any]:
    if not setting.autocast:
        return nullcontext()
    return torch.autocast(setting.device.type, dtype=AUTOCAST)


def _copied(
    model: nn.Module,
    nodes: NodeMap,
    graph: ModelGraph,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    frozen: set[str],
    *,
    every_input: bool,
) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    """Copies of the inputs, those that are asked for a gradient with a node of their own."""
    names: dict[int, list[OpId]] = {}
    given = input_tensors(model, args, kwargs)
    for (_, tensor), op in zip(given, graph.inputs, strict=False):
        names.setdefault(id(tensor), []).append(op.id)
    asked = False

    def copy(tensor: Tensor) -> Tensor:
        nonlocal asked
        waiting = names.get(id(tensor))
        name = waiting.pop(0) if waiting else OpId("")
        why = _why_asked(graph, name, frozen) if tensor.is_floating_point() else ""
        if not why or (why == "wish" and not every_input):
            return tensor.detach().clone()
        asked |= why == "wish"
        # A clone of the leaf, not a view: the model may write into its input in place.
        leaf = tensor.clone() if tensor.is_inference() else tensor.detach()
        seen = leaf.requires_grad_().clone()
        nodes.add_input(seen, name)
        return seen

    copies = map_tensors((args, kwargs), copy)
    return (*copies, asked)


def _why_asked(graph: ModelGraph, start: OpId, frozen: set[str]) -> str:
    """Why an input gets a gradient: it ``forks``, or it is our ``wish``; else empty.

    If it forks ahead of all parameters, its edges could not be told otherwise. Any other
    costs a stem convolution's backward, 3 % of a ResNet-50's; and where the stem is frozen
    nobody's training goes back through it.
    """
    if start not in graph:
        return ""
    todo, seen = [start], {start}
    is_frozen = False
    while todo:
        edges = graph.edges_out(todo.pop())
        if len(edges) > 1:
            return "forks"
        for edge in edges:
            read = graph[edge.dst].parameters
            is_frozen |= bool(read) and frozen.issuperset(read)
            if edge.dst not in seen and not read:
                seen.add(edge.dst)
                todo.append(edge.dst)
    return "" if is_frozen else "wish"


def _called(
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
    outputs: Any, targets: Any, loss_fn: LossFunction | None, seed: int, on_host: Any
) -> tuple[Tensor, Node, str]:
    """The loss, its autograd node, and its name."""
    try:
        loss, name = choose_loss(outputs, targets, loss_fn, seed=seed, on_host=on_host)
    except ResnetVizError:
        raise
    except Exception as error:  # whatever the loss raises on these outputs and targets
        raise UserError(f"the loss raised: {one_line(error)}") from error
    if loss.grad_fn is None:
        raise NotApplicableError("the loss carries no gradient: the model is frozen or detached")
    return loss, loss.grad_fn, name


def _batch_size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    for tensor in tensors_in((args, kwargs)):
        if tensor.ndim:
            return int(tensor.shape[0])
    return 1
