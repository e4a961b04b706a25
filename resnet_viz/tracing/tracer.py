"""``trace_model``: meta first, then fake tensors, then the real run.

Meta takes no memory and does no arithmetic; fake tensors know their device and
are slower; the real run works on whatever runs at all. Each is tried only when
the one before it raised, and the graph says which it was and why.
"""

from __future__ import annotations

import functools
import itertools
import re
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from types import GeneratorType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parameter import is_lazy

from resnet_viz.core.errors import TraceError, UserError, one_line
from resnet_viz.core.graph import (
    Failure,
    GraphOutput,
    How,
    ModelGraph,
)
from resnet_viz.core.message import say
from resnet_viz.tracing.calls import state_names
from resnet_viz.tracing.executors import MetaExecutor, RealExecutor
from resnet_viz.tracing.failures import explain, failure_of, why_all_raised
from resnet_viz.tracing.iterators import iterated, kept_items
from resnet_viz.tracing.kernels import lazy_like, meta_like
from resnet_viz.tracing.module_nodes import module_nodes
from resnet_viz.tracing.module_tree import ModuleTree
from resnet_viz.tracing.pristine import pristine, swap_tensors
from resnet_viz.tracing.quiet import no_collection, no_log
from resnet_viz.tracing.recorder import Executor, Recorder
from resnet_viz.tracing.stand_ins import fake_input, sharing
from resnet_viz.tracing.trees import input_tensors, map_tensors, named_tensors, tensors_in
from resnet_viz.tracing.walk import Walk

Mode = Literal["meta", "fake", "real"]
# Functions that hand values to Python.
_ASKING = (
    *("__bool__", "__int__", "__float__", "__index__", "__complex__", "__contains__"),
    *("__format__", "__array__", "item", "tolist", "numpy", "is_nonzero", "equal", "allclose"),
    *("data_ptr", "quantize_per_tensor", "quantize_per_channel", "quantize_per_tensor_dynamic"),
)
# Hooks, switches and generators are the process's: two threads would put back each other's.
_ONE_AT_A_TIME = threading.RLock()
# What torch says where gradients are off and somebody wants one.
_WANTING_GRADIENTS = re.compile(
    r"does not require grad|doesn't require grad|requires_grad=False|require a gradient"
)
Values = Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]


def trace_model(
    model: nn.Module,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    name: str = "",
    training: bool | None = None,
    input_was_given: bool = True,
    remember: bool = True,
    modes: tuple[Mode, ...] = ("meta", "fake", "real"),
    values: Values | None = None,
) -> ModelGraph:
    """The graph of one forward of ``model``.

    Args:
        model: Any module that can run. It is left exactly as it came.
        args: Positional arguments of ``forward``; any tree of values.
        kwargs: Keyword arguments of ``forward``.
        name: What to call the graph; the class name if empty.
        training: Train or eval mode for this call; the mode it has if ``None``.
        input_was_given: Whether the user chose the input (decides the exit code).
        remember: Whether equal calls run only once on meta; the graph is the same.
        modes: What to try, in this order.
        values: Makes both with values, for the real run only, where those given are meta
            tensors that stand in for them.

    Returns:
        The graph; ``graph.how`` says how it was traced.

    Raises:
        TraceError: If ``forward`` raises in every mode; it carries the graph of
            what ran until then.
        UserError: For a ScriptModule in it, which hides its calls.
    """
    tree = ModuleTree(model)
    for path, module in tree.entries:
        if isinstance(module, torch.jit.ScriptModule):
            raise UserError(
                f"{path or 'the model'} is a ScriptModule, which hides its calls from tracing: "
                "give the nn.Module it was made from"
            )
    if any(p.device.type == "meta" for _, p in tree.parameters()):
        modes = tuple(mode for mode in modes if mode != "real")
    why: list[str] = []
    told: _Attempt | None = None
    name = name or type(model).__name__
    args, kwargs = kept_items(args), kept_items(kwargs or {})
    needs_values = False
    plan = [(mode, False) for mode in reversed(modes)]
    while plan:
        mode, gradients = plan.pop()
        if mode == "fake" and needs_values and "real" in modes:
            # Fake tensors have none either, and libraries that know them (``is_tracing`` of
            # transformers) then go another way than for real.
            continue
        if mode == "real" and values is not None:
            args, kwargs = map(kept_items, values())
        with _ONE_AT_A_TIME, no_collection():
            attempt = _attempt(mode, model, tree, args, kwargs, name, training, remember, gradients)
        needs_values = needs_values or attempt.needs_values
        if attempt.error is None and (attempt.caught is None or mode == modes[-1]):
            reason = "; ".join(why) or say("the forward needs no values")
            return replace(attempt.graph, how=How(mode=mode, why=reason))
        if attempt.error is None and attempt.caught is not None:
            # With values it may not have raised, and the model gone another way.
            why.append(f"{mode} raised, and the model caught, {one_line(attempt.caught, 120)}")
            continue
        assert attempt.error is not None
        why.append(f"{mode} raised {one_line(attempt.error, 120)}")
        if not gradients and torch.is_grad_enabled() and _wants_gradients(attempt.error):
            # It was written to be called where they are on, as here.
            plan = [(mode, True) for mode in reversed(modes)]
        # The real run is what the user would see; before it, who came furthest tells most.
        if told is None or mode == "real" or attempt.reached > told.reached:
            told = replace(attempt, graph=replace(attempt.graph, how=How(mode=mode)))
    if told is None or told.graph.failure is None:
        raise ValueError("no mode to trace in")
    graph = replace(told.graph, how=replace(told.graph.how, why=why_all_raised(why)))
    failure = told.graph.failure
    raise TraceError(
        explain(failure),
        graph=graph,
        op=failure.op or None,
        module=failure.module,
        input_was_given=input_was_given,
    ) from told.error


@dataclass(slots=True)
class _Attempt:
    """One run: its graph, whole or until the exception."""

    graph: ModelGraph
    error: BaseException | None
    # What a call raised and the model caught.
    caught: BaseException | None = None
    # Whether it was Python that asked a tensor for its values.
    needs_values: bool = False

    @property
    def reached(self) -> int:
        return len(self.graph) + len(self.graph.inputs)


def _attempt(
    mode: Mode,
    model: nn.Module,
    tree: ModuleTree,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    training: bool | None,
    remember: bool,
    gradients: bool,
) -> _Attempt:
    device: AbstractContextManager[Any] = nullcontext()
    convert: Callable[[Tensor], Tensor] | None = None
    place: Callable[[Tensor], Tensor] | None = None
    executor: Executor
    with ExitStack() as stack:
        # Tensors of inference mode count no writes.
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(gradients))
        kept = stack.enter_context(pristine(model, values=mode == "real"))
        if training is not None:
            model.train(training)
        executor = RealExecutor(kept.protect)
        if mode == "meta":
            convert = meta_like
            executor = MetaExecutor(_home(tree, args, kwargs), remember=remember)
        elif mode == "fake":
            fakes = FakeTensorMode(allow_non_fake_inputs=True)
            convert, device = functools.partial(_faked, fakes), fakes
            place = fake_input(fakes, model)
            stack.enter_context(no_log("torch._subclasses.fake_tensor"))
        try:
            if convert is not None:
                swap_tensors(kept.modules, convert)
                place = place or sharing((args, kwargs), convert)
            else:
                swap_tensors(kept.modules, _fresh)
                # An in-place write into the user's own input would outlive the run.
                place = sharing((args, kwargs), torch.clone)
            if gradients:
                place = functools.partial(_with_gradient, place)
            args, kwargs = map_tensors((args, kwargs), place)
        except (TypeError, RuntimeError, NotImplementedError, AssertionError) as error:
            recorder = Recorder(executor, {})
            walk = Walk(model, recorder, tree)
            graph = _graph(tree, name, recorder, walk, ())
            return _Attempt(replace(graph, failure=Failure(error=one_line(error))), error)
        return _run(model, tree, args, kwargs, name, executor, device, mode == "real")


def _wants_gradients(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and bool(_WANTING_GRADIENTS.search(str(error)))


def _with_gradient(convert: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    return convert(tensor.detach()).requires_grad_(tensor.requires_grad)


def _faked(fakes: FakeTensorMode, tensor: Tensor) -> Tensor:
    return _fresh(tensor) if is_lazy(tensor) else fakes.from_tensor(tensor)


def _fresh(tensor: Tensor) -> Tensor:
    """The tensor itself; of one that its first run would change for good, another."""
    return lazy_like(tensor, tensor.device) if is_lazy(tensor) else tensor


def _home(tree: ModuleTree, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    """Where the model and its inputs really are."""
    parameters = (p for _, p in tree.parameters())
    tensors = itertools.chain(parameters, tensors_in((args, kwargs)))
    return next((t.device for t in tensors if t.device.type != "meta"), torch.device("meta"))


def _run(
    model: nn.Module,
    tree: ModuleTree,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    executor: Executor,
    device: AbstractContextManager[Any],
    has_memory: bool,
) -> _Attempt:
    recorder = Recorder(executor, state_names(model, tree))
    walk = Walk(model, recorder, tree)
    walk.has_memory = has_memory
    for label, tensor in input_tensors(model, args, kwargs):
        recorder.add_input(tensor, label)
    outputs: tuple[GraphOutput, ...] = ()
    caught: BaseException | None = None
    try:
        with device, walk.watching():
            result = model(*iterated(args), **iterated(kwargs))
            if isinstance(result, GeneratorType):
                # Its body has yet to run.
                result = list(result)
    except (Exception, SystemExit) as error:  # whatever forward raises is the answer here
        caught = error
    else:
        found = (recorder.output(t, label) for label, t in named_tensors(result))
        outputs = tuple(output for output in found if output is not None)
    if caught is None:
        graph = _graph(ModuleTree(model), name, recorder, walk, outputs)
        swallowed = recorder.failure.error if recorder.failure else None
        return _Attempt(graph, None, swallowed, _asked_for_values(recorder))
    failure, call = failure_of(caught, model, recorder, walk.strangers)
    if call is not None:
        recorder.ops.append(call.op)
        recorder.edges += call.edges
    graph = replace(_graph(ModuleTree(model), name, recorder, walk, outputs), failure=failure)
    return _Attempt(graph, caught, needs_values=_asked_for_values(recorder))


def _asked_for_values(recorder: Recorder) -> bool:
    failed = recorder.failure
    return failed is not None and failed.op.target.rpartition(".")[2] in _ASKING


def _graph(
    tree: ModuleTree,
    name: str,
    recorder: Recorder,
    walk: Walk,
    outputs: tuple[GraphOutput, ...],
) -> ModelGraph:
    return ModelGraph(
        name=name,
        ops=tuple(recorder.ops),
        edges=tuple(recorder.edges),
        modules=tuple(module_nodes(tree, walk, recorder.used)),
        inputs=tuple(recorder.inputs),
        outputs=outputs,
        warnings=tuple(dict.fromkeys(walk.unseen)),
    )
