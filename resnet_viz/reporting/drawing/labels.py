"""What an op is called in a picture, and which colour class it wears.

Read from the trace alone (function, shapes of the parameters it read), never
from class names: ``Conv 3×3, 64 /2`` is the same for every network.
"""

from __future__ import annotations

from resnet_viz.core.graph import ModelGraph, Op
from resnet_viz.core.message import say

_PLAIN = {
    "relu": "ReLU", "relu6": "ReLU6", "gelu": "GELU", "silu": "SiLU", "sigmoid": "Sigmoid",
    "tanh": "Tanh", "hardswish": "Hardswish", "hardsigmoid": "Hardsigmoid", "softmax": "Softmax",
    "leaky_relu": "LeakyReLU", "elu": "ELU", "prelu": "PReLU", "mish": "Mish",
    "batch_norm": "BatchNorm", "layer_norm": "LayerNorm", "group_norm": "GroupNorm",
    "rms_norm": "RMSNorm", "instance_norm": "InstanceNorm", "flatten": "Flatten",
    "dropout": "Dropout", "add": "add", "mul": "multiply", "cat": "concat",
    "scaled_dot_product_attention": "Attention", "lstm": "LSTM", "gru": "GRU",
    "matmul": "matmul", "bmm": "matmul",
}  # fmt: skip
_ACTIVATIONS = frozenset((
    "relu", "relu6", "gelu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "softmax",
    "leaky_relu", "elu", "prelu", "mish", "softplus", "selu", "celu", "log_softmax", "hardtanh",
))  # fmt: skip

CLASSES = ("conv1", "conv3", "conv", "proj", "linear", "other", "norm", "act", "pool", "join", "io")
"""Colour classes, in the order of the legend."""

CLASS_NAMES = {
    "conv1": say("1×1 convolution"),
    "conv3": say("3×3 convolution"),
    "conv": say("other convolution"),
    "proj": say("projection on a shortcut"),
    "linear": say("linear"),
    "other": say("other weights"),
}

JOIN_SIGNS = {"add": "+", "mul": "×", "cat": "∥"}
"""Kind of the op where a skip joins -> its sign in text formats."""


def block_family(kind: str) -> str:
    """The colour class of a kind of block: of bottlenecks, inverted ones, or all others."""
    return {"bottleneck": "block", "inverted bottleneck": "inv"}.get(kind, "unit")


def kernel_of(graph: ModelGraph, op: Op) -> tuple[int, ...]:
    """Spatial size of the op's kernel; empty where its weight has no spatial axes."""
    for name in op.parameters:
        dims = graph.parameter(name).spec.shape
        if len(dims) >= 3:
            return dims[2:]
    return ()


def op_label(graph: ModelGraph, op: Op) -> str:
    """The op in words: ``Conv 3×3, 64``, ``Linear 1000``, ``ReLU``."""
    if op.kind == "input":
        return op.label or "input"
    if op.kind.startswith("conv"):
        kernel = kernel_of(graph, op)
        sides = "×".join(str(k) for k in kernel)
        width = f", {op.shape[1]}" if len(op.shape) > 2 else ""
        up = "ConvT" if "transpose" in op.kind else "Conv"
        return f"{up} {sides}{width}".strip()
    if op.kind == "linear":
        return f"Linear {op.shape[-1]}" if op.shape else "Linear"
    if op.kind == "embedding":
        return f"Embedding {op.shape[-1]}" if op.shape else "Embedding"
    if "pool" in op.kind:
        name = "MaxPool" if "max" in op.kind else "AvgPool"
        return f"{'global ' if op.shape[2:] and set(op.shape[2:]) == {1} else ''}{name}"
    return _PLAIN.get(op.kind, op.kind)


def op_class(graph: ModelGraph, op: Op, *, on_shortcut: bool = False) -> str:
    """One of ``CLASSES``: what the op's colour says."""
    matrix = any(len(graph.parameter(name).spec.shape) >= 2 for name in op.parameters)
    if op.kind in ("input", "output"):
        return "io"
    if "norm" in op.kind:
        return "norm"
    if op.kind in _ACTIVATIONS:
        return "act"
    if "pool" in op.kind:
        return "pool"
    if op.kind in ("add", "mul", "cat"):
        return "join"
    if matrix and on_shortcut:
        return "proj"
    if op.kind.startswith("conv"):
        return {1: "conv1", 3: "conv3"}.get(max(kernel_of(graph, op), default=0), "conv")
    return "linear" if op.kind == "linear" else "other"
