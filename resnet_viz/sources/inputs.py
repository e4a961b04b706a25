"""What goes into a model, as a person says it: sizes, dtypes, names, plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from resnet_viz.core import units
from resnet_viz.core.errors import UserError

_WORDS = {"true": True, "false": False, "none": None}
_SIZE = re.compile(r"0{0,9}[1-9]\d{0,18}", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,100}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.\d*|\.?\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_TEXT = re.compile(r"[A-Za-z_][\w./-]*|'[^']*'|\"[^\"]*\"")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One tensor that ``forward`` takes.

    Attributes:
        shape: With its batch axis.
        dtype: As ``torch`` names it, without the prefix.
        name: Keyword of ``forward``; empty for a positional argument.
        batch_axis: Where the batch is; 1 for recurrent nets that put time first, ``None``
            where there is none.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    name: str = ""
    batch_axis: int | None = 0

    @property
    def batch_size(self) -> int | None:
        """Samples along the batch axis; ``None`` where there is none."""
        axis = self.batch_axis
        return None if axis is None or axis >= len(self.shape) else self.shape[axis]

    def with_batch(self, size: int) -> InputSpec:
        """The same input with another number of samples."""
        if self.batch_size is None or self.batch_axis is None:
            return self
        axis = self.batch_axis
        return replace(self, shape=(*self.shape[:axis], size, *self.shape[axis + 1 :]))

    def __str__(self) -> str:
        name = f"{self.name} = " if self.name else ""
        return f"{name}{units.shape(self.shape)} {self.dtype}"


def parse_inputs(texts: Iterable[str]) -> tuple[tuple[InputSpec, ...], dict[str, Any]]:
    """What ``--input`` says, given once or more: tensors, and plain values by name.

    A size has an ``x``, a comma, brackets or a dtype (``1x3``, ``ids=1x16:int64``,
    ``x=16:float32``); after a name anything else is a value: ``true``, ``none``, ``k=3``,
    ``eps=1e-5``, ``mode=mean``.

    Raises:
        UserError: If a text has another form or an unknown dtype, or a name comes twice.
    """
    specs: list[InputSpec] = []
    values: dict[str, Any] = {}
    names: set[str] = set()
    for text in texts:
        name, value = _named_value(text)
        if name:
            values[name] = value
        else:
            specs.append(parse_input(text))
            name = specs[-1].name
        if name and name in names:
            raise UserError(f"--input {text!r}: {name} was given before; give each name once")
        names.add(name)
    return tuple(specs), values


def parse_input(text: str) -> InputSpec:
    """``"1x3x224x224"``, ``"1,3,224,224:float16"`` or ``"ids=1x128:int64"`` as a spec.

    Raises:
        UserError: If the text has another form or an unknown dtype.
    """
    name, equals, rest = text.rpartition("=")
    sizes, colon, dtype = rest.partition(":")
    parts = sizes.strip().lower().strip("()[]").replace("×", "x").replace(",", "x").split("x")
    parts = [part.strip() for part in parts]
    if parts[-1] == "" and sizes.rstrip(" )]").endswith(","):
        parts.pop()  # "(16,)" is how Python writes one size.
    if (equals and not name.strip().isidentifier()) or not all(
        _SIZE.fullmatch(part) for part in parts
    ):
        raise UserError(
            f"--input {text!r} is no input: write sizes above 0 as in 1x3x224x224, with a dtype "
            "as in 1x128:int64, with a name as in input_ids=1x128:int64, or a value for a name "
            "as in use_cache=false"
        )
    dtype = _dtype(dtype, f"--input {text!r}") if colon else "float32"
    return InputSpec(shape=tuple(map(int, parts)), dtype=dtype, name=name.strip())


def _named_value(text: str) -> tuple[str, Any]:
    """``"k=3"`` as its name and value; no name where the text is a size or nothing known."""
    name, equals, rest = text.partition("=")
    name, rest = name.strip(), rest.strip()
    if not equals or not name.isidentifier():
        return "", None
    if rest.lower() in _WORDS:
        return name, _WORDS[rest.lower()]
    if _INTEGER.fullmatch(rest):
        return name, int(rest)
    if _NUMBER.fullmatch(rest):
        return name, float(rest)
    if _TEXT.fullmatch(rest):
        return name, rest[1:-1] if rest[0] in "'\"" else rest
    return "", None


def sized_inputs(input_size: Any, dtypes: Any = None) -> tuple[InputSpec, ...]:
    """Specs from ``input_size`` and ``dtypes`` of the Python functions.

    Args:
        input_size: One shape with its batch axis, ``(1, 3, 224, 224)``; several in a list
            or tuple, one per argument of ``forward``; or a dict of shapes by name.
        dtypes: One for all of them, or as many as there are, in the same form; a
            ``torch.dtype`` or its name. ``float32`` if ``None``.

    Raises:
        UserError: If either has another form.
    """
    if isinstance(input_size, Mapping):
        names, sizes = [str(name) for name in input_size], list(input_size.values())
    elif _is_list(input_size) and any(map(_is_list, input_size)):
        names, sizes = [""] * len(input_size), list(input_size)
    else:
        names, sizes = [""], [input_size]
    return tuple(
        InputSpec(shape=_shape(size), dtype=dtype, name=name)
        for name, size, dtype in zip(names, sizes, _dtypes(dtypes, names), strict=True)
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _shape(value: Any) -> tuple[int, ...]:
    if not _is_list(value) or not all(
        hasattr(n, "__index__") and not isinstance(n, bool) and n >= 0 for n in value
    ):
        shown = " ".join(repr(value)[:80].split())
        raise UserError(
            f"input_size {shown} is no shape: give sizes with the batch axis, as in "
            "(1, 3, 224, 224), or a list of such; for other inputs there is input_data"
        )
    return tuple(map(int, value))


def _dtypes(given: Any, names: list[str]) -> list[str]:
    """One dtype for each of the inputs."""
    if given is None or isinstance(given, str | torch.dtype):
        return [_dtype(given or "float32", "dtypes")] * len(names)
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise UserError(f"dtypes has {unknown[0]!r}, which input_size does not name")
        given = [given.get(name, "float32") for name in names]
    if not _is_list(given) or len(given) != len(names):
        raise UserError(
            f"dtypes {given!r} does not fit input_size: give one dtype, or one for each of "
            f"{units.count(len(names), 'input')}"
        )
    return [_dtype(dtype, "dtypes") for dtype in given]


def _dtype(given: Any, where: str) -> str:
    name = str(given).strip().removeprefix("torch.")
    if name not in units.DTYPE_BYTES or not hasattr(torch, name):
        raise UserError(
            f"{where} has an unknown dtype {name!r}; known: "
            f"{', '.join(d for d in units.DTYPE_BYTES if hasattr(torch, d))}"
        )
    return name
