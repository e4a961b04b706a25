"""``trace_model``: meta first, then fake tensors, then the real run.

Meta takes no memory and does no arithmetic; fake tensors know their device and
are slower; the real run works on whatever runs at all. Each is tried only when
the one before it raised, and the graph says which it was and why.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from resnet_viz.core.errors import TraceError, UserError, one_line
from resnet_viz.core.graph import GraphOutput, How, ModelGraph, ModuleNode, ParameterSpec
from resnet_viz.core.units import shape as shape_text
from resnet_viz.tracing.calls import state_names
from resnet_viz.tracing.executors import MetaExecutor, RealExecutor
from resnet_viz.tracing.kernels import meta_like
from resnet_viz.tracing.pristine import pristine, swap_tensors
from resnet_viz.tracing.recorder import Executor, Failure, Recorder, spec_of
from resnet_viz.tracing.trees import bound_arguments, map_tensors, named_tensors
from resnet_viz.tracing.walk import Walk

Mode = Literal["meta", "fake", "real"]


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

    Returns:
        The graph; ``graph.how`` says how it was traced.

    Raises:
        TraceError: If ``forward`` raises in every mode; it carries the graph of
            what ran until then.
        UserError: For a ScriptModule in it, which hides its calls.
    """
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UserError(
                f"{path or 'the model'} is a ScriptModule, which hides its calls from tracing: "
                "give the nn.Module it was made from"
            )
    if any(p.device.type == "meta" for p in model.parameters()):
        modes = tuple(mode for mode in modes if mode != "real")
    why: list[str] = []
    attempt: _Attempt | None = None
    name = name or type(model).__name__
    for mode in modes:
        with _no_collection():
            attempt = _attempt(mode, model, args, kwargs or {}, name, training, remember)
        if attempt.error is None:
            reason = "; ".join(why) or "the forward needs no values"
            return replace(attempt.graph, how=How(mode=mode, why=reason))
        why.append(f"{mode} raised {one_line(attempt.error, 120)}")
    if attempt is None:
        raise ValueError("no mode to trace in")
    failure = attempt.failure
    raise TraceError(
        _explain(attempt),
        graph=attempt.graph,
        op=failure.op.id if failure else None,
        module=attempt.module,
        input_was_given=input_was_given,
    ) from attempt.error


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pauses the garbage collector: a trace only builds what it keeps.

    A full collection in a process that has imported torch costs more than
    tracing a ResNet-152 does.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _no_fake_log() -> Iterator[None]:
    """Keeps fake tensors from logging the traceback of what we tell in one line."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled


@dataclass(slots=True)
class _Attempt:
    """One run: its graph, whole or until the exception."""

    graph: ModelGraph
    error: Exception | None
    failure: Failure | None
    module: str


def _attempt(
    mode: Mode,
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    training: bool | None,
    remember: bool,
) -> _Attempt:
    device: AbstractContextManager[Any] = nullcontext()
    convert: Callable[[Tensor], Tensor] | None = None
    executor: Executor = RealExecutor()
    with ExitStack() as stack:
        # Tensors of inference mode count no writes.
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(pristine(model, values=mode == "real"))
        if training is not None:
            model.train(training)
        if mode == "meta":
            convert, device = meta_like, torch.device("meta")
            executor = MetaExecutor(remember=remember)
        elif mode == "fake":
            fakes = FakeTensorMode(allow_non_fake_inputs=True)
            convert, device = fakes.from_tensor, fakes
            stack.enter_context(_no_fake_log())
        try:
            if convert is not None:
                swap_tensors(model, convert)
                args, kwargs = map_tensors(args, convert), map_tensors(kwargs, convert)
            else:
                # An in-place write into the user's own input would outlive the run.
                args, kwargs = map_tensors(args, torch.clone), map_tensors(kwargs, torch.clone)
        except (TypeError, RuntimeError, NotImplementedError) as error:
            recorder = Recorder(executor, {})
            return _Attempt(
                _graph(model, name, recorder, Walk(model, recorder), ()), error, None, ""
            )
        return _run(model, args, kwargs, name, executor, device)


def _run(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    executor: Executor,
    device: AbstractContextManager[Any],
) -> _Attempt:
    recorder = Recorder(executor, state_names(model))
    walk = Walk(model, recorder)
    for label, tensor in named_tensors(bound_arguments(model, args, kwargs)):
        recorder.add_input(tensor, label)
    outputs: tuple[GraphOutput, ...] = ()
    caught: Exception | None = None
    try:
        with device, walk.watching():
            result = model(*args, **kwargs)
    except Exception as error:  # whatever the user's forward raises is the answer here
        caught = error
    else:
        found = (recorder.output(t, label) for label, t in named_tensors(result))
        outputs = tuple(output for output in found if output is not None)
    graph = _graph(model, name, recorder, walk, outputs)
    failure = recorder.failure if caught is not None else None
    if failure is not None and failure.error is not caught:
        failure = None
    where = failure.op.module if failure else walk.failed_in or ""
    return _Attempt(graph, caught, failure, where)


def _explain(attempt: _Attempt) -> str:
    """What failed where, with the shapes that met there, in one line."""
    error, failure = attempt.error, attempt.failure
    message = one_line(error) if error is not None else ""
    place = attempt.module or "the root module"
    if failure is None:
        return f"forward raised in {place}: {message}"
    op = failure.op
    shapes = [shape_text(spec.shape) for spec in failure.inputs]
    given = f" with inputs {', '.join(shapes)}" if shapes else ""
    line = f" ({op.source_line})" if op.source_line else ""
    return f"forward raised at {op.kind} in {place}{line}{given}: {message}"


def _graph(
    model: nn.Module,
    name: str,
    recorder: Recorder,
    walk: Walk,
    outputs: tuple[GraphOutput, ...],
) -> ModelGraph:
    return ModelGraph(
        name=name,
        ops=tuple(recorder.ops),
        edges=tuple(recorder.edges),
        modules=tuple(_module_nodes(model, walk, recorder.used)),
        inputs=tuple(recorder.inputs),
        outputs=outputs,
    )


def _module_nodes(model: nn.Module, walk: Walk, used: set[str]) -> Iterator[ModuleNode]:
    paths: dict[nn.Module, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(module, []).append(path)
    for path, module in walk.strangers.items():
        paths.setdefault(module, [path])
    parameters = _specs(model.named_parameters(remove_duplicate=False), used)
    buffers = _specs(model.named_buffers(remove_duplicate=False), None)
    for module, (path, *aliases) in paths.items():
        prefix = f"{path}." if path else ""
        yield ModuleNode(
            path=path,
            type_name=type(module).__name__,
            children=tuple(prefix + key for key, _ in module.named_children()),
            parameters=_own(parameters, prefix),
            buffers=_own(buffers, prefix),
            calls=walk.calls.get(path, 0),
            aliases=tuple(aliases),
        )


def _specs(
    named: Iterator[tuple[str, Tensor]], used: set[str] | None
) -> dict[str, list[ParameterSpec]]:
    """Distinct tensors by the prefix of their first name."""
    names: dict[int, tuple[Tensor, list[str]]] = {}
    for key, tensor in named:
        names.setdefault(id(tensor), (tensor, []))[1].append(key)
    by_prefix: dict[str, list[ParameterSpec]] = {}
    for tensor, (first, *aliases) in names.values():
        head, dot, _ = first.rpartition(".")
        spec = ParameterSpec(
            name=first,
            spec=spec_of(tensor),
            trainable=tensor.requires_grad,
            used=used is None or first in used,
            aliases=tuple(aliases),
        )
        by_prefix.setdefault(head + dot, []).append(spec)
    return by_prefix


def _own(specs: dict[str, list[ParameterSpec]], prefix: str) -> tuple[ParameterSpec, ...]:
    return tuple(specs.get(prefix, ()))
