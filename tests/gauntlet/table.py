"""The result of a run as Markdown: counts first, then what does not hold, then every row."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from importlib.metadata import version

from resnet_viz.core.units import si
from tests.gauntlet.checks import Row

_HEAD = """# The gauntlet

Made by `python -m tests.gauntlet --all -o docs/gauntlet.md`; do not edit. Versions: {versions}.

Each row is one model, built from scratch and traced. A row is *ok* if all of this holds:

- the trace runs, and the graph says what the row's author expects (hand-written models);
- parameters equal `sum(p.numel())` over distinct tensors, and the column over the ops adds up;
- MACs equal half of `FlopCounterMode` on meta, or, where the model does not run there, of its
  figure in a real run (*vs torch* says which);
- a second trace is equal, so is one with remembering off, and the JSON round trip;
- the meta, fake and real graphs are equal where those modes run (*equal modes*);
- `rv.verify` replays the trace bit for bit, where it does not refuse (*verified*);
- model, inputs, generators and torch's global state are as they were, by value and identity, also
  after an exception in the last layer; the next forward gives the numbers an untouched twin gives.

*CPU s* is that of the first trace. *ratio* is CPU time of a trace over that of the bare forward in
the mode that ran, best of two each, on inputs as small as the models take; `benchmarks/trace.py`
measures real sizes.
"""


def markdown(rows: Sequence[Row]) -> str:
    """The whole document."""
    packages = ("torch", "torchvision", "timm", "transformers")
    versions = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in packages)
    parts = [_HEAD.format(versions=versions), _summary(rows), _failures(rows), _notes(rows)]
    groups = dict.fromkeys(row.name.partition("/")[0] for row in rows)
    parts += [_group(group, rows) for group in groups]
    return "\n".join(part for part in parts if part)


def line(row: Row) -> str:
    """One row for the terminal."""
    result = "ok" if row.ok else "FAIL " + "; ".join(row.problems)
    ratio = f"{row.ratio:5.2f}×" if row.ratio is not None else "     –"
    return f"{row.name:50} {row.mode:5} {row.ops:6} ops {row.skips:4} skips {ratio} {result}"


def _summary(rows: Sequence[Row]) -> str:
    lines = [
        "| group | models | ok | meta | fake | real | verified | median ratio on meta |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for group in [*dict.fromkeys(r.name.partition("/")[0] for r in rows), ""]:
        own = [r for r in rows if r.name.startswith(f"{group}/" if group else "")]
        ratios = [r.ratio for r in own if r.ratio is not None and r.mode == "meta"]
        cells = [
            group or "all",
            len(own),
            sum(r.ok for r in own),
            *(sum(r.mode == mode for r in own) for mode in ("meta", "fake", "real")),
            sum(r.verified == "yes" for r in own),
            f"{statistics.median(ratios):.2f}" if ratios else "–",
        ]
        lines.append(_cells(cells))
    return "\n".join(lines) + "\n"


def _failures(rows: Sequence[Row]) -> str:
    bad = [row for row in rows if not row.ok]
    if not bad:
        return ""
    lines = ["## What does not hold\n", "| model | what |", "|---|---|"]
    lines += [_cells([row.name, "<br>".join(map(_text, row.problems))]) for row in bad]
    return "\n".join(lines) + "\n"


def _notes(rows: Sequence[Row]) -> str:
    noted = [row for row in rows if row.notes or row.limit]
    if not noted:
        return ""
    lines = ["## What to know\n", "| model | note |", "|---|---|"]
    for row in noted:
        notes = [row.limit, *row.notes] if row.limit else row.notes
        lines.append(_cells([row.name, "<br>".join(map(_text, notes))]))
    return "\n".join(lines) + "\n"


def _group(group: str, rows: Sequence[Row]) -> str:
    lines = [
        f"## {group}\n",
        "| model | family | mode | equal modes | ops | edges | skips | params | MACs | uncounted "
        "| vs torch | verified | CPU s | ratio | |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|---|---|---:|---:|---|",
    ]
    for row in rows:
        if not row.name.startswith(f"{group}/"):
            continue
        cells = [
            row.name.partition("/")[2],
            row.family,
            row.mode or "–",
            row.modes or "–",
            row.ops,
            row.edges,
            row.skips,
            si(row.params),
            si(row.macs or 0),
            row.uncounted or "",
            row.flops or "–",
            row.verified or "–",
            f"{row.seconds:.2f}",
            "–" if row.ratio is None else f"{row.ratio:.2f}",
            "ok" if row.ok else "**no**",
        ]
        lines.append(_cells(cells))
    return "\n".join(lines) + "\n"


def _cells(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _text(value: str) -> str:
    return value.replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
