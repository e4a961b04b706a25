"""``.pt2`` files: read as JSON first, refused where loading them would run code.

``torch.export.load`` unpickles what the archive says is pickled, evaluates the text of
symbolic sizes, resolves names to functions and opens compiled libraries. So the
records are looked at before it sees the file, through torch's own reader: two readers
of one archive may see two archives.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import UserError, listed, one_line, spelled
from resnet_viz.tracing.quiet import no_log

Kind = Literal["program", "old program", "script", "tensors", ""]

_WEIGHTS, _CONSTANTS, _INPUTS = "data/weights/", "data/constants/", "data/sample_inputs/"
_COMPILED = ("data/aotinductor/", "data/executorch/")

# What a program may call: kernels by name, and arithmetic on sizes.
_TARGETS = re.compile(
    r"torch\.ops\.(?!prim\.|inductor\.|aten\.from_file)[A-Za-z]\w*"
    r"\.((?!__)\w+|__i?(and|or|xor|lshift|rshift)__)(\.(?!__)\w+)?"
    r"|math\.(?!__)\w+|torch\.(_)?sym_\w+"
    r"|_operator\.(?!attrgetter|methodcaller|itemgetter|call|__)\w+"
)
# What a symbolic size may say: numbers, symbols, and the functions torch writes.
_SYMBOLS = re.compile(
    r"[a-z]{1,4}\d+|True|False|oo|int_oo|floor|ceiling|Max|Min|Add|Mul|Pow|Eq|Ne|Lt|Le|Gt|Ge|And"
    r"|Or|Not|Abs|Identity|FloorDiv|ModularIndexing|Where|PythonMod|Mod|CleanDiv|CeilToInt"
    r"|FloorToInt|CeilDiv|LShift|RShift|PowByNatural|FloatPow|FloatTrueDiv|IntTrueDiv"
    r"|IsNonOverlappingAndDenseIndicator|TruncToFloat|TruncToInt|RoundToInt|RoundDecimal|ToFloat"
    r"|OpaqueUnaryFn_[a-z0-9]+|BitwiseFn_[a-z_]+|Integer|Rational|Equality|Unequality|true|false"
    r"|(Strict)?(Less|Greater)Than|Half|One|Zero|NegativeOne"
)
_WORDS = re.compile(r"[^\W\d]\w*")
_EXPRESSION = re.compile(r"[\w\s+\-*/%(),<>=&|~]*")


def archive_kind(path: Path) -> Kind:
    """What kind of zip archive of torch's the file is; empty for any other file."""
    reader = _reader(path)
    records = reader.get_all_records() if reader is not None else []
    if "archive_format" in records and any(name.startswith("models/") for name in records):
        return "program"
    if "serialized_exported_program.json" in records or _holds_old_program(path):
        return "old program"
    if "constants.pkl" in records and any(name.startswith("code/") for name in records):
        return "script"
    return "tensors" if "data.pkl" in records else ""


def _holds_old_program(path: Path) -> bool:
    """Until 2.7 programs lay at the root of the archive, where torch's reader finds nothing."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return "serialized_exported_program.json" in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def _reader(path: Path) -> Any:
    try:
        return torch._C.PyTorchFileReader(str(path))
    except (RuntimeError, OSError):
        return None


def load_program(path: Path, *, unsafe: bool = False) -> ExportedProgram:
    """The program in a ``.pt2`` file.

    Args:
        path: The file.
        unsafe: Load it even where loading runs code that the file brings.

    Raises:
        UserError: If there is none, it is broken, or loading would run code.
    """
    kind = archive_kind(path)
    if kind not in ("program", "old program"):
        what = {
            "script": "a TorchScript archive",
            "tensors": "a file of tensors (resnet-viz inspect shows them)",
        }.get(kind, "no archive that torch can read, or a broken one")
        raise UserError(f"{path} is no program of torch.export.save: it is {what}")
    if not unsafe:
        reason = _dangers_of_old(kind) or next(_dangers(path), "")
        if reason:
            raise UserError(
                f"{path} {spelled(reason)[:200]}: loading it could run code; give --unsafe-load "
                "if you trust where it comes from"
            )
    try:
        with no_log("torch.export", "torch.export.pt2_archive._package"):
            return torch.export.load(path)
    except Exception as error:  # Broken files break torch's reader in any way.
        raise UserError(
            f"{path} does not load as a program of torch.export: {one_line(error, 160)}"
        ) from error


def _dangers_of_old(kind: Kind) -> str:
    return "was written by torch 2.7 or older and holds pickles" if kind == "old program" else ""


def _dangers(path: Path) -> Iterator[str]:
    """Why loading the archive would run code, one reason after the other."""
    reader = _reader(path)
    for name in reader.get_all_records():
        folder, _, file = name.rpartition("/")
        if name.startswith(_COMPILED):
            yield f"holds compiled code ({name})"
        elif f"{folder}/" in (_WEIGHTS, _CONSTANTS) and file.endswith(".pt"):
            yield f"holds pickled tensors ({name})"
        elif f"{folder}/" in (_WEIGHTS, _CONSTANTS) and file.endswith(".json"):
            yield from _payloads(_json(path, reader, name))
        elif name.startswith(_INPUTS) and not _is_harmless_pickle(reader.get_record(name)):
            yield f"holds pickled sample inputs ({name})"
        elif name.startswith("models/"):
            yield from _words_of(_json(path, reader, name))


def _json(path: Path, reader: Any, name: str) -> Any:
    try:
        return json.loads(reader.get_record(name))
    except (ValueError, RecursionError, RuntimeError) as error:
        raise UserError(f"{path} is broken: {name} is no JSON ({one_line(error, 80)})") from error


def _payloads(config: Any) -> Iterator[str]:
    entries = config.get("config") if isinstance(config, dict) else None
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        stored = str(entry.get("path_name", "")) if isinstance(entry, dict) else ""
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False:
            yield f"holds {name!r} as a pickle"
        elif not re.fullmatch(r"(weight|tensor)_\d+", stored):
            yield f"holds {name!r} as a custom object ({stored})"


def _is_harmless_pickle(content: bytes) -> bool:
    if not content:
        return True
    try:
        torch.load(io.BytesIO(content), map_location="meta", weights_only=True)
    except Exception:  # Whatever it is, torch would go on and unpickle it.
        return False
    return True


def _words_of(tree: Any) -> Iterator[str]:
    """What the graph says that torch would look up, import or evaluate."""
    todo = [tree]
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            todo += value
        if not isinstance(value, dict):
            continue
        todo += value.values()
        for target in (value.get("target"), value.get("as_operator")):
            if isinstance(target, str) and not _TARGETS.fullmatch(target):
                yield f"calls {target!r}, which is no kernel of torch"
        text = value.get("expr_str")
        if isinstance(text, str) and not _is_size(text):
            yield f"holds {text!r} as a size"
        for spec in (value.get("in_spec"), value.get("out_spec")):
            if isinstance(spec, str) and ("__enum__" in spec or "default_factory" in spec):
                yield "nests its inputs in types that are imported by name"
        if "script_object_meta" in value or value.get("as_custom_obj"):
            yield "holds custom objects"


def _is_size(text: str) -> bool:
    # Quotes belong to a symbol or a number, a dot to a number: there are no attributes.
    text = re.sub(r"Symbol\('\w+'((, \w+=(True|False))*)\)", "s0", text)
    text = re.sub(r"Float\('[\d.e+-]+', precision=\d+\)|\b\d+\.\d*", "0", text)
    if len(text) > 10_000 or not _EXPRESSION.fullmatch(text):
        return False
    return all(_SYMBOLS.fullmatch(word) for word in _WORDS.findall(text))


# -- inputs ------------------------------------------------------------------------


def example_of(program: ExportedProgram) -> Batch:
    """The inputs that the program was exported with; else seeded ones of their shapes."""
    if program.example_inputs is not None:
        args, kwargs = program.example_inputs
        return Batch(
            args=tuple(args), kwargs=dict(kwargs), words="the inputs of the export", was_given=False
        )
    generator = torch.Generator().manual_seed(0)
    users = set(program.graph_signature.user_inputs)
    nodes = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    leaves = [
        _like(nodes[name].meta["val"], generator) if name in nodes else name
        for name in program.graph_signature.user_inputs
    ]
    if len(leaves) != program.call_spec.in_spec.num_leaves:
        raise UserError(
            f"the program takes {listed(map(str, users))} and tells not how: give --input"
        )
    args, kwargs = pytree.tree_unflatten(leaves, program.call_spec.in_spec)
    return Batch(
        args=tuple(args),
        kwargs=dict(kwargs),
        words="seeded, shaped as at the export",
        was_given=False,
    )


def _like(value: Any, generator: torch.Generator) -> Any:
    if not isinstance(value, Tensor):
        return value
    shape = [int(n) if isinstance(n, int) else _hint(n) for n in value.shape]
    if value.dtype.is_floating_point or value.dtype.is_complex:
        return torch.randn(shape, generator=generator).to(value.dtype)
    return torch.randint(2, shape, generator=generator).to(value.dtype)


def _hint(size: Any) -> int:
    """The size that a symbol stood for at the export; 2 where the file does not tell."""
    hint = size.node.hint
    return int(hint) if hint is not None else 2


# -- without loading ---------------------------------------------------------------


def stored_tensors(path: Path) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Name, shape and dtype of each weight and constant, from the JSON of the archive.

    Raises:
        UserError: If that is broken.
    """
    reader = _reader(path)
    for record in reader.get_all_records():
        if not record.startswith((_WEIGHTS, _CONSTANTS)) or not record.endswith(".json"):
            continue
        config = _json(path, reader, record)
        try:
            for name, entry in config["config"].items():
                meta = entry["tensor_meta"]
                if meta is not None:
                    shape = tuple(int(size["as_int"]) for size in meta["sizes"])
                    yield name, shape, _DTYPES.get(meta["dtype"], "unknown")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path} is broken: {record} describes no tensors") from error


# ``torch._export.serde.schema.ScalarType``, whose numbers are part of the format.
_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
    8: "float64", 9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16",
    28: "uint16", 29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz", 33: "float8_e8m0fnu", 34: "uint32", 35: "uint64",
}  # fmt: skip
