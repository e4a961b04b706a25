"""What to look at where ``forward`` raised: one sentence from the op, its shapes, the exception.

torch says which kernel disagreed with what (``mat1 and mat2 shapes cannot be
multiplied``); a person wants to know which layer must change to which number. A rule
speaks only where the shapes prove it right (``shape_hints``) or where the message has
one cause; where none does, there is no hint: a wrong one costs more than none.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence

from torch import nn

from resnet_viz.core.graph import Op
from resnet_viz.tracing.recorder import FailedCall
from resnet_viz.tracing.shape_hints import SHAPE_RULES, Case

_DTYPES = {
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool", "Half": "float16", "BFloat16": "bfloat16",
}  # fmt: skip
_DTYPE_WORDS = re.compile(r"same dtype|scalar type|type \(.*\) and \w+ type|must have the same")


def hint(error: BaseException, call: FailedCall | None = None, inputs: Sequence[Op] = ()) -> str:
    """One sentence on what to look at or try next; empty where nothing is known.

    Args:
        error: What was raised.
        call: The call it came out of; ``None`` where plain Python raised.
        inputs: The inputs of the model, as ops.
    """
    case = Case(error, call, inputs)
    return next((found for rule in _RULES if (found := rule(case))), "")


def missing_inputs(error: BaseException, model: nn.Module) -> str:
    """The hint where the arguments do not bind to ``forward`` of the model itself."""
    if not isinstance(error, TypeError):
        return ""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return ""
    text = Case(error, None).text
    words = ("required", "unexpected keyword", "positional argument", "multiple values")
    if "forward" not in text or not any(w in text for w in words):
        return ""
    names = [p.name if p.default is p.empty else f"{p.name} (optional)" for p in parameters]
    lacking = re.findall(r"'(\w+)'", text.partition("required")[2])
    example = " ".join(f"--input {name}=SHAPE" for name in lacking) or "--input NAME=SHAPE"
    takes = f"takes {', '.join(names)}" if names else "takes no arguments"
    return f"forward {takes}: give each input by its name, as in {example}"


def _dtypes(case: Case) -> str:
    lacks = re.search(r"not implemented for '(\w+)'", case.text)
    if lacks is not None and lacks[1] in _DTYPES:
        dtype = _DTYPES[lacks[1]]
        if dtype in ("float16", "bfloat16"):
            return f"this device has no {dtype} kernel for it: use float32"
        return f"this op takes no {dtype}: give it floats, as with --input …:float32"
    specs = [spec for found in case.operands.values() for spec in found]
    if len({spec.dtype for spec in specs}) < 2 or not _DTYPE_WORDS.search(case.text):
        return ""
    first = specs[0].dtype
    other = next(spec.dtype for spec in specs if spec.dtype != first)
    if "float" not in first and "float" in other:
        more = f", as with --input …:{other}" if case.reads_input else ""
        return f"{first} meets {other}: give it floats{more}"
    return f"{first} meets {other}: bring model and input to one dtype, as with .to(torch.{other})"


def _batch_of_one(case: Case) -> str:
    if "more than 1 value per channel when training" not in case.text:
        return ""
    return (
        "batch norm in train mode needs more than one value per channel: "
        "--batch-size 2 or more, or --eval (model.eval() in Python)"
    )


def _devices(case: Case) -> str:
    if re.search("tensors to be on the same device|found two different devices", case.text):
        return "make the tensor with device=x.device, or register it as a buffer"
    return ""


def _memory(case: Case) -> str:
    out = re.search(r"out of memory|can't allocate memory", case.text)
    if isinstance(case.error, MemoryError) or out:
        return "it needs more memory than there is: give a smaller input or batch"
    return ""


def _no_values(case: Case) -> str:
    named = type(case.error).__name__ == "DataDependentOutputException"
    if named or re.search(r"on meta tensors|out of meta tensor", case.text):
        return "it reads a value, and tensors on the meta device have none: build it with weights"
    return ""


def _no_forward(case: Case) -> str:
    found = re.search(r'Module \[(\w+)\] is missing the required "forward"', case.text)
    if found is None:
        return ""
    if found[1] in ("ModuleList", "ModuleDict"):
        return f"a {found[1]} cannot be called: call the modules in it"
    return f"{found[1]} defines no forward"


_RULES: tuple[Callable[[Case], str], ...] = (
    _dtypes,
    *SHAPE_RULES,
    _batch_of_one,
    _devices,
    _memory,
    _no_values,
    _no_forward,
)
