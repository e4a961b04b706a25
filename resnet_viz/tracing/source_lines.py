"""Which line of the user's code made a call, told relative to its package."""

from __future__ import annotations

import sys
from types import CodeType, FrameType

_INSIDE = (
    "torch",
    "resnet_viz.tracing",
    "resnet_viz.sources.exported",
    "resnet_viz.sources.exported_runs",
)
# Above it stands who asked for the trace, not the model.
_TOP = "resnet_viz.tracing.tracer"
_user_file: dict[CodeType, str | None] = {}


def _describe(frame: FrameType) -> str | None:
    """The frame's file as ``package/module.py``; empty for torch's, ``None`` at the top."""
    name = str(frame.f_globals.get("__name__", ""))
    if name == _TOP:
        return None
    if any(name == skip or name.startswith(skip + ".") for skip in _INSIDE):
        return ""
    parts = frame.f_code.co_filename.replace("\\", "/").split("/")
    if parts[-1].startswith("<"):
        return ""
    depth = name.count(".") + (2 if parts[-1] == "__init__.py" else 1)
    known = "." in name and parts[-1].rpartition(".")[0] in (name.rpartition(".")[2], "__init__")
    return "/".join(parts[-depth:]) if known else parts[-1]


def source_line(depth: int = 1) -> str:
    """``torchvision/models/resnet.py:154`` of the first caller outside torch.

    Empty where the model is torch's alone (a bare ``nn.LSTM``).

    Args:
        depth: How many frames above this function to begin.
    """
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        code = frame.f_code
        if code not in _user_file:
            _user_file[code] = _describe(frame)
        file = _user_file[code]
        if file is None:
            break
        if file:
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def raised_at(error: BaseException) -> str:
    """``net.py:12`` of the innermost frame of user code that the exception came through.

    Neither torch nor the standard library counts: what they raise, their caller asked
    for. Empty where no such frame was left (arguments that do not bind).
    """
    found = ""
    trace = error.__traceback__
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        ours = name.startswith("resnet_viz.") and not name.startswith("resnet_viz.sources.")
        file = _describe(trace.tb_frame)
        if file and not ours and name.partition(".")[0] not in sys.stdlib_module_names:
            found = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
