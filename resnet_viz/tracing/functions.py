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

# Kernels as exported programs call them, by what people call them.
_KERNELS = {
    "_to_copy": "to", "_unsafe_view": "view", "slice": "getitem", "select": "getitem",
    "index": "getitem",
    "constant_pad_nd": "pad", "native_dropout": "dropout", "max_pool1d_with_indices": "max_pool1d",
    "max_pool2d_with_indices": "max_pool2d", "max_pool3d_with_indices": "max_pool3d",
    "native_batch_norm": "batch_norm", "_native_batch_norm_legit": "batch_norm",
    "_native_batch_norm_legit_functional": "batch_norm",
    "_native_batch_norm_legit_no_training": "batch_norm",
    "native_layer_norm": "layer_norm", "native_group_norm": "group_norm",
    "_fused_rms_norm": "rms_norm", "lift_fresh_copy": "clone",
    "_scaled_dot_product_flash_attention": "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention_for_cpu": "scaled_dot_product_attention",
    "_scaled_dot_product_efficient_attention": "scaled_dot_product_attention",
    "_scaled_dot_product_cudnn_attention": "scaled_dot_product_attention",
    "upsample_nearest1d": "interpolate", "upsample_nearest2d": "interpolate",
    "upsample_nearest3d": "interpolate", "upsample_linear1d": "interpolate",
    "upsample_bilinear2d": "interpolate", "upsample_bicubic2d": "interpolate",
    "upsample_trilinear3d": "interpolate",
}  # fmt: skip

_IN_PLACE = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")


def plain_name(func: Callable[..., Any]) -> str:
    """The name without namespace; of a property, the property's name."""
    packet = getattr(func, "_overloadpacket", None)
    if packet is not None:  # torch.ops.aten.add.Tensor is called add.
        return str(packet.__name__)
    name: str = getattr(func, "__name__", type(func).__name__)
    if name in ("__get__", "__set__"):
        name = getattr(getattr(func, "__self__", None), "__name__", name)
    return name


def _is_kernel(func: Callable[..., Any]) -> bool:
    """Whether it is an entry of ``torch.ops``."""
    return type(func).__module__ == "torch._ops"


@functools.lru_cache(maxsize=4096)
def kind_of(func: Callable[..., Any]) -> str:
    """``add`` for ``torch.add``, ``Tensor.add_``, ``__iadd__`` and ``__radd__``."""
    name = plain_name(func)
    if _is_kernel(func):
        name = _KERNELS.get(name, name)
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
    if _is_kernel(func):
        return f"torch.ops.{func}"
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
