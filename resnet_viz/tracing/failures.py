"""Where ``forward`` raised: the call, the module, the line, and what to try.

An exception is the answer to a trace, so it is told as fully as an op is. A call that
raised is named also where user code wraps its exception; where plain Python raised,
the traceback says which module was running and on which line.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

from torch import nn

from resnet_viz.core.errors import listed, one_line
from resnet_viz.core.graph import Failure, OpId
from resnet_viz.core.units import shape
from resnet_viz.tracing.hints import hint, missing_inputs
from resnet_viz.tracing.recorder import FailedCall, Recorder, spec_of
from resnet_viz.tracing.source_lines import raised_at
from resnet_viz.tracing.trees import tensors_in

_CALL = nn.Module._call_impl.__code__


def failure_of(
    error: BaseException, model: nn.Module, recorder: Recorder, strangers: dict[str, nn.Module]
) -> tuple[Failure, FailedCall | None]:
    """What happened, and the call that raised (``None`` where plain Python did).

    Args:
        error: What left ``forward``.
        model: Whose it is.
        recorder: Knows the last call that raised.
        strangers: Modules that ran without being registered, by path.
    """
    call = recorder.failure
    chain = list(_chain(error))
    # A call that raised and was answered by other calls is not how the forward ended.
    if call is not None:
        last = call.position == len(recorder.ops)
        call = call if last and any(call.error is link for link in chain) else None
    origin = call.error if call is not None else error.__cause__
    text = one_line(error)
    if origin is not None and origin is not error:
        text = f"{text}, raised from {one_line(origin)}"
    module, given = _innermost(error.__traceback__, model, strangers)
    if call is not None:
        return Failure(
            error=text,
            op=call.op.id,
            module=call.op.module,
            source_line=call.op.source_line or raised_at(error),
            inputs=call.inputs,
            hint=hint(call.error, call, recorder.inputs),
        ), call
    line = raised_at(error)
    unbound = missing_inputs(error, model) if not module and not line else ""
    return Failure(
        error=text,
        op=OpId(""),
        module=module,
        source_line=line,
        inputs=tuple(spec_of(tensor) for tensor in tensors_in(given)),
        hint=unbound or hint(error),
    ), None


def explain(failure: Failure) -> str:
    """What failed where, with the shapes that met there and what to try, in one line."""
    shapes = [shape(spec.shape) for spec in failure.inputs]
    given = f" with inputs {listed(shapes)}" if shapes and failure.op else ""
    advice = f"; hint: {failure.hint}" if failure.hint else ""
    return f"forward raised {failure.place}{given}: {failure.error}{advice}"


def why_all_raised(told: list[str]) -> str:
    """``meta raised X; real raised Y`` in one sentence, shorter where X is Y."""
    modes, reasons = zip(*(text.split(" raised ", 1) for text in told), strict=True)
    if len(modes) > 1 and len(set(reasons)) == 1:
        return f"{', '.join(modes[:-1])} and {modes[-1]} raised {reasons[0]}"
    return "; ".join(told)


def module_that_raised(error: BaseException, model: nn.Module) -> str:
    """Path of the innermost module whose ``forward`` the exception left; empty for the root."""
    return _innermost(error.__traceback__, model, {})[0]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, what it was raised from, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _innermost(
    trace: TracebackType | None, model: nn.Module, strangers: dict[str, nn.Module]
) -> tuple[str, Any]:
    """The module whose ``forward`` was running, and what it was called with.

    Read from the traceback and not from hooks: a module that raised, and whose caller
    went on, is not the one.
    """
    paths = {module: path for path, module in strangers.items()}
    paths |= {module: path for path, module in model.named_modules()}
    found, given = "", None
    while trace is not None:
        if trace.tb_frame.f_code is _CALL:
            names = trace.tb_frame.f_locals
            if (path := paths.get(names["self"])) is not None:
                found, given = path, (names["args"], names["kwargs"])
        trace = trace.tb_next
    return found, given
