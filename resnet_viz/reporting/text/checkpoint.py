"""A checkpoint for a terminal: its tree of modules and tensors, folded where it repeats.

The look is that of ``to_text``: there a model's tree, here what a file knows of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from resnet_viz.core.checkpoint import Checkpoint, StoredTensor
from resnet_viz.core.errors import spelled
from resnet_viz.core.units import nbytes, shape
from resnet_viz.reporting.text.sections import plain, section

_DEEPEST = 24
_LONGEST = 60


@dataclass(slots=True)
class _Node:
    """A module, or a tensor; a file may use one name for both."""

    name: str
    children: dict[str, _Node] = field(default_factory=dict)
    tensors: list[StoredTensor] = field(default_factory=list)
    elements: int = 0
    nbytes: int = 0
    look: object = None


def checkpoint_table(checkpoint: Checkpoint, depth: int | None = None) -> RenderableType:
    """The tree as a rich renderable, with totals and what to do next.

    Equal neighbours whose names are numbers are one line: ``0 … 2``, with their number
    and what each of them holds.

    Args:
        checkpoint: What to show.
        depth: Deepest level to list; ``None`` lists all.
    """
    table = Table(
        title=plain(_cut(checkpoint.file)),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    table.add_column("module", overflow="ellipsis", no_wrap=True, min_width=12)
    for heading in ("shape", "dtype"):
        table.add_column(heading, no_wrap=True)
    for heading in ("elements", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    root = _tree(checkpoint)
    _add(table, root, 0, depth)
    return Group(table, Text(), _totals(checkpoint), *_rest(checkpoint))


def _tree(checkpoint: Checkpoint) -> _Node:
    root = _Node("")
    for tensor in checkpoint.tensors:
        counted = 0 if tensor.tied_to else 1
        node = root
        way = [root]
        for name in tensor.name.split(".", _DEEPEST):
            node = node.children.setdefault(name, _Node(name))
            way.append(node)
        node.tensors.append(tensor)
        for passed in way:
            passed.elements += counted * tensor.spec.numel
            passed.nbytes += counted * tensor.nbytes
    _set_look(root)
    return root


def _set_look(node: _Node) -> object:
    """What has to be equal for two nodes to be told as one, names of the two apart."""
    children = tuple((child.name, _set_look(child)) for child in node.children.values())
    own = tuple((t.spec.shape, t.spec.dtype, bool(t.tied_to)) for t in node.tensors)
    node.look = (children, own, node.elements, node.nbytes)
    return node.look


def _runs(node: _Node) -> list[list[_Node]]:
    """Children in order; equal neighbours with counting names together."""
    runs: list[list[_Node]] = []
    for child in node.children.values():
        last = runs[-1][-1] if runs else None
        follows = (
            last is not None
            and child.children
            and child.name.isdecimal()
            and last.name.isdecimal()
            and len(child.name) < 9
            and int(child.name) == int(last.name) + 1
            and child.look == last.look
        )
        if follows:
            runs[-1].append(child)
        else:
            runs.append([child])
    return runs


def _add(table: Table, node: _Node, level: int, depth: int | None) -> None:
    for run in _runs(node):
        first, times = run[0], f"{len(run)} × " if len(run) > 1 else ""
        name = f"{first.name} … {run[-1].name}" if times else first.name
        tensor = first.tensors[0] if first.tensors else None
        label = plain("  " * level + _cut(name), "" if tensor else "bold")
        if tensor is not None and tensor.tied_to:
            label.append_text(plain(f" = {_cut(tensor.tied_to)}", "dim"))
        table.add_row(
            label,
            shape(tensor.spec.shape) if tensor else "",
            plain(tensor.spec.dtype) if tensor else "",
            f"{times}{first.elements:,}",
            f"{times}{nbytes(first.nbytes)}",
        )
        if first.children and (depth is None or level < depth):
            _add(table, first, level + 1, depth)


def _cut(name: str) -> str:
    short = spelled(name[: 8 * _LONGEST])
    cut = len(short) > _LONGEST or len(name) > 8 * _LONGEST
    return f"{short[:_LONGEST]}…" if cut else short or "''"


def _totals(checkpoint: Checkpoint) -> Text:
    elements, params = checkpoint.total_elements, checkpoint.total_params
    statistics = f"; {params:,} without batch-norm statistics" if params != elements else ""
    tied = len(checkpoint.tensors) - len(checkpoint.distinct)
    lines = [
        f"tensors     {len(checkpoint.tensors):,}"
        + (f" ({tied:,} tied to another and counted once)" if tied else ""),
        f"elements    {elements:,}{statistics}",
        f"bytes       {nbytes(checkpoint.total_bytes)}",
        f"format      {checkpoint.format}",
    ]
    if checkpoint.found_under:
        lines.append(f"found under {spelled('.'.join(checkpoint.found_under))}")
    return Text("\n".join(lines))


def _rest(checkpoint: Checkpoint) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if checkpoint.others:
        parts.append(section("also holds", map(spelled, checkpoint.others)))
    words, command = checkpoint.advice
    if command:
        # In one piece, however long: it is there to be copied.
        parts.append(section("edges", [f"{words}."]))
        parts.append(Text(f"  Try: {spelled(command)}", no_wrap=True, overflow="ignore"))
    return parts
