"""Which line of the user's code made a call, told relative to its package."""

from __future__ import annotations

import sys
from types import CodeType, FrameType

_INSIDE = ("torch", "resnet_viz.tracing")
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
