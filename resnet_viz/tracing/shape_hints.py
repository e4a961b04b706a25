"""Hints that shapes prove: what the op was given against what it takes.

A rule speaks only where the shapes themselves disagree, so it cannot be wrong about
that; what it then advises is conditional where the shapes leave a choice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from resnet_viz.core.graph import Arg, Op, TensorSpec, refs_in
from resnet_viz.core.units import shape
from resnet_viz.tracing.recorder import FailedCall

_ELEMENTWISE = frozenset(("add", "sub", "mul", "div", "true_divide", "maximum", "minimum"))
_AXES = {1: "N×C×L", 2: "N×C×H×W", 3: "N×C×D×H×W"}


@dataclass(slots=True)
class Case:
    """One exception, the call that it came out of, if it did, and the model's inputs."""

    error: BaseException
    call: FailedCall | None
    inputs: Sequence[Op] = ()
    text: str = field(init=False)
    operands: dict[int | str, list[TensorSpec]] = field(init=False)

    def __post_init__(self) -> None:
        try:
            self.text = str(self.error)
        except Exception:  # a ``__str__`` of the user's own
            self.text = ""
        self.operands = _operands(self.call) if self.call is not None else {}

    @property
    def op(self) -> Op | None:
        """The call that raised."""
        return self.call.op if self.call is not None else None

    @property
    def kind(self) -> str:
        """Its kind; empty where plain Python raised."""
        return self.call.op.kind if self.call is not None else ""

    @property
    def reads_input(self) -> bool:
        """Whether its first tensor is an input of the model itself."""
        if self.call is None or not self.call.edges or not self.call.inputs:
            return False
        source, spec = self.call.edges[0].src, self.call.inputs[0]
        # Inside vmap it is only a sample of the input.
        return any(op.id == source and op.outputs[:1] == (spec,) for op in self.inputs)

    def tensor(self, index: int, name: str) -> TensorSpec | None:
        """The tensor argument at a place or of a name, where it is one tensor."""
        found = self.operands.get(index) or self.operands.get(name) or []
        return found[0] if len(found) == 1 else None


def _linear(case: Case) -> str:
    x, weight = case.tensor(0, "input"), case.tensor(1, "weight")
    if case.kind != "linear" or x is None or weight is None or len(weight.shape) != 2:
        return ""
    wants = weight.shape[1]
    if not x.shape or x.shape[-1] == wants:
        return ""
    if len(x.shape) > 2 and math.prod(x.shape[1:]) == wants:
        return f"flatten the {shape(x.shape)} input from axis 1 on: that makes the {wants} features"
    if case.reads_input:
        given = "x".join(map(str, (*x.shape[:-1], wants)))
        return f"the layer takes {wants} features in the last axis: give --input {given}"
    return (
        f"{shape(x.shape)} has {x.shape[-1]} features in its last axis and the layer takes "
        f"{wants}: set in_features={x.shape[-1]}, or let what comes before give {wants}"
    )


def _matmul(case: Case) -> str:
    a, b = case.tensor(0, "input"), case.tensor(1, "other") or case.tensor(1, "mat2")
    if case.kind not in ("matmul", "mm", "bmm") or not a or not b or not (a.shape and b.shape):
        return ""
    rows = b.shape[-2] if len(b.shape) > 1 else b.shape[-1]
    if a.shape[-1] != rows:
        turned = len(b.shape) > 1 and b.shape[-1] == a.shape[-1]
        more = "; they are if the second is transposed" if turned else ""
        return (
            f"in {shape(a.shape)} @ {shape(b.shape)} the inner sizes {a.shape[-1]} and {rows} "
            f"must be equal{more}"
        )
    first, second = a.shape[:-2], b.shape[:-2]
    if first and second and _differing(first, second):
        return f"the batch axes of {shape(a.shape)} and {shape(b.shape)} do not agree"
    return ""


def _convolution(case: Case) -> str:
    x, weight = case.tensor(0, "input"), case.tensor(1, "weight")
    kind = re.fullmatch(r"conv(_transpose)?([123])d", case.kind)
    if kind is None or case.op is None or x is None or weight is None:
        return ""
    axes = int(kind[2])
    if len(x.shape) not in (axes + 1, axes + 2) or len(weight.shape) != axes + 2:
        return f"{case.kind} takes {_AXES[axes]} and was given {shape(x.shape)}"
    groups = case.op.argument(6, "groups", 1)
    groups = groups if isinstance(groups, int) else 1
    wants = weight.shape[0] if kind[1] else weight.shape[1] * groups
    has = x.shape[-axes - 1]
    if has == wants:
        return ""
    if case.reads_input and x.shape[-1] == wants <= 4 < has:
        # A picture as files hold it; deeper in a net equal sizes would prove nothing.
        return f"{shape(x.shape)} has its channels in the last axis: permute it to {_AXES[axes]}"
    if case.reads_input:
        sizes = [*x.shape]
        sizes[-axes - 1] = wants
        return f"the layer takes {wants} channels: give --input {'x'.join(map(str, sizes))}"
    return (
        f"{shape(x.shape)} has {has} channels and the convolution takes {wants}: "
        f"set in_channels={has}, or let what comes before give {wants}"
    )


def _too_small(case: Case) -> str:
    kernel = re.search(
        r"input size per channel: \(([\d x]+)\)\. Kernel size: \(([\d x]+)\)", case.text
    )
    if kernel is not None:
        left, needs = (part.replace(" x ", "×") for part in kernel.groups())
        return f"only {left} is left here, smaller than the {needs} kernel: give a larger input"
    x = case.tensor(0, "input")
    if "Output size is too small" in case.text and x is not None and len(x.shape) > 2:
        return f"only {shape(x.shape[2:])} is left here to pool: give a larger input"
    return ""


def _elementwise(case: Case) -> str:
    a, b = case.tensor(0, "input"), case.tensor(1, "other")
    if case.kind not in _ELEMENTWISE or a is None or b is None:
        return ""
    axes = _differing(a.shape, b.shape)
    if not axes:
        return ""
    sizes = ", ".join(dict.fromkeys(f"{p} against {q}" for p, q in axes.values()))
    text = f"the two sides are {shape(a.shape)} and {shape(b.shape)}, which do not fit: {sizes}"
    alike = len(a.shape) == len(b.shape) > 1
    if case.kind != "add" or not alike or "float" not in a.dtype or "float" not in b.dtype:
        return text
    pixels = len(a.shape) > 3
    features = 1 if pixels else len(a.shape) - 1
    if features in axes:
        way = "1×1 convolution, strided as the branch is" if pixels else "linear layer"
        return f"{text}; where this closes a residual, its shortcut needs a projection ({way})"
    if 0 in axes:
        return text
    return f"{text}; where this closes a residual, the branch's padding or stride changes its size"


def _joined(case: Case) -> str:
    if case.kind not in ("cat", "concat", "concatenate", "stack") or case.op is None:
        return ""
    parts = case.operands.get(0) or case.operands.get("tensors") or []
    axis = case.op.argument(1, "dim", 0)
    if len(parts) < 2 or not isinstance(axis, int):
        return ""
    first = parts[0].shape
    for other in (part.shape for part in parts[1:]):
        free = axis % len(first) if case.kind != "stack" and first else None
        if len(other) != len(first):
            return f"{shape(first)} and {shape(other)} have not the same number of axes"
        bad = [i for i, (p, q) in enumerate(zip(first, other, strict=True)) if p != q and i != free]
        if bad:
            rule = "must be equal" if free is None else f"may differ in axis {free} only"
            at = ", ".join(f"{first[i]} against {other[i]} in axis {i}" for i in bad)
            return f"{shape(first)} and {shape(other)} {rule}: {at}"
    return ""


def _embedding(case: Case) -> str:
    ids, table = case.tensor(0, "input"), case.tensor(1, "weight")
    if case.kind != "embedding" or ids is None or table is None:
        return ""
    if not ids.dtype.startswith(("int", "uint")):
        given = "x".join(map(str, ids.shape)) or "1"
        return f"an embedding takes integers and these are {ids.dtype}: give --input {given}:int64"
    if isinstance(case.error, IndexError):
        return f"the table has {table.shape[0]} rows: ids go from 0 to {table.shape[0] - 1}"
    return ""


def _norm(case: Case) -> str:
    x = case.tensor(0, "input")
    if x is None or case.op is None:
        return ""
    if case.kind == "layer_norm":
        wants = case.op.argument(1, "normalized_shape")
        if isinstance(wants, tuple) and wants and x.shape[-len(wants) :] != wants:
            built = shape(tuple(int(str(w)) for w in wants))
            return f"{shape(x.shape)} does not end in {built}, for which this layer norm was built"
    if case.kind == "batch_norm" and len(x.shape) > 1:
        sizes = {s.shape[0] for k, v in case.operands.items() if k != 0 for s in v if s.shape}
        if sizes and sizes != {x.shape[1]} and len(sizes) == 1:
            return (
                f"{shape(x.shape)} has {x.shape[1]} channels and the norm was built for "
                f"{sizes.pop()} (num_features)"
            )
    return ""


def _view(case: Case) -> str:
    if re.search("view size is not compatible|Cannot view a tensor with shape", case.text):
        return "the tensor is not contiguous: use reshape in place of view"
    found = re.search(r"shape '\[([-\d, ]+)\]' is invalid for input of size (\d+)", case.text)
    x = case.tensor(0, "input")
    if found is None or x is None:
        return ""
    sizes = [int(part) for part in found[1].split(",")]
    has = f"{shape(x.shape)} has {int(found[2]):,} values"
    if -1 in sizes:
        return f"{has}, which is no multiple of {abs(math.prod(sizes)):,}"
    return f"{has} and [{found[1]}] takes {math.prod(sizes):,}"


SHAPE_RULES = (
    _embedding,
    _linear,
    _matmul,
    _convolution,
    _elementwise,
    _joined,
    _norm,
    _view,
    _too_small,
)
"""In the order they are asked."""


def _differing(a: tuple[int, ...], b: tuple[int, ...]) -> dict[int, tuple[int, int]]:
    """Axes, counted in the longer shape, in which the two do not broadcast."""
    longest = max(len(a), len(b))
    pairs = zip(reversed(a), reversed(b), strict=False)
    found = {
        longest - 1 - i: (p, q) for i, (p, q) in enumerate(pairs) if p != q and 1 not in (p, q)
    }
    return dict(sorted(found.items()))


def _operands(call: FailedCall) -> dict[int | str, list[TensorSpec]]:
    """The specs of each argument's tensors, by place or name; empty where that is unsure."""
    arguments: list[tuple[int | str, Arg]] = [*enumerate(call.op.args), *call.op.kwargs]
    slots = [(key, ref) for key, value in arguments for ref in refs_in(value)]
    if len(slots) != len(call.inputs):
        return {}
    out: dict[int | str, list[TensorSpec]] = {}
    for (key, _), spec in zip(slots, call.inputs, strict=True):
        out.setdefault(key, []).append(spec)
    return out
