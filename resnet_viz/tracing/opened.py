"""Functions of torch that are one call at our level, opened so that their insides show.

torch itself stays as it is: attention runs as a private copy; compiled and scripted
functions run as the Python they were made from, only while a walk is watching.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.nn import functional as F

Function = Callable[..., Any]


@functools.cache
def open_attention() -> Function:
    """``F.multi_head_attention_forward`` as a copy that asks no mode before it runs."""
    original = F.multi_head_attention_forward
    world = {**F.__dict__, "has_torch_function": lambda *_: False}
    copy = types.FunctionType(
        original.__code__, world, original.__name__, original.__defaults__, original.__closure__
    )
    copy.__kwdefaults__ = original.__kwdefaults__
    return copy


def eager() -> AbstractContextManager[Any]:
    """Within it what ``torch.compile`` has wrapped runs as the Python it wraps."""
    # Who has compiled nothing need not wait for the compiler's import, which takes seconds.
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@contextmanager
def scripts_opened() -> Iterator[None]:
    """Within it scripted functions run as the Python they were made from."""
    script: Any = torch.jit.ScriptFunction
    closed = script.__call__

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Where torch's own compiler looks for it too.
        python = getattr(self, "_torchdynamo_inline", None) or functools.partial(closed, self)
        return python(*args, **kwargs)

    script.__call__ = call
    try:
        yield
    finally:
        script.__call__ = closed
