"""What to call a torch function: ``kind`` for people, ``target`` for look-up."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_OPERATORS = {
    "iadd": "add", "radd": "add", "isub": "sub", "imul": "mul", "rmul": "mul",
    "itruediv": "div", "truediv": "div", "rtruediv": "div", "rsub": "sub",
    "rmatmul": "matmul", "imatmul": "matmul", "rpow": "pow", "ipow": "pow",
    "and": "bitwise_and", "or": "bitwise_or", "invert": "bitwise_not",
    "concat": "cat", "concatenate": "cat", "divide": "div", "multiply": "mul",
    "subtract": "sub", "true_divide": "div",
}  # fmt: skip

_IN_PLACE = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")


def plain_name(func: Callable[..., Any]) -> str:
    """The name without namespace; of a property, the property's name."""
    name: str = getattr(func, "__name__", type(func).__name__)
    if name in ("__get__", "__set__"):
        name = getattr(getattr(func, "__self__", None), "__name__", name)
    return name


@functools.lru_cache(maxsize=4096)
def kind_of(func: Callable[..., Any]) -> str:
    """``add`` for ``torch.add``, ``Tensor.add_``, ``__iadd__`` and ``__radd__``."""
    name = plain_name(func)
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
    elif name.startswith("_"):
        name = name.lstrip("_")
    if name.endswith("_"):
        name = name.rstrip("_")
    return _OPERATORS.get(name, name) or "op"


@functools.lru_cache(maxsize=4096)
def writes(func: Callable[..., Any]) -> bool:
    """Whether its name says that it writes its first argument: ``add_``, ``__iadd__``."""
    name = plain_name(func)
    if name.startswith("__"):
        return name == "__setitem__" or (name[2] == "i" and name[3:-2] in _IN_PLACE)
    return name.endswith("_")


@functools.lru_cache(maxsize=4096)
def target_of(func: Callable[..., Any]) -> str:
    """The dotted name under which a reader finds the function in torch's pages."""
    name = plain_name(func)
    owner = getattr(func, "__objclass__", None) or getattr(
        getattr(func, "__self__", None), "__objclass__", None
    )
    if owner is not None:
        return f"torch.Tensor.{name}"
    module = getattr(func, "__module__", None)
    qualname = getattr(func, "__qualname__", name)
    if module is None or module.startswith("torch._C") or "_VariableFunctions" in qualname:
        return f"torch.{name}"
    return f"{module}.{name if '<locals>' in qualname else qualname}"
