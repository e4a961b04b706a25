"""From a value to files and standard output: drawn first, printed when the bars are gone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from resnet_viz.core.progress import Progress
    from resnet_viz.core.report import RenderOptions, Report
    from resnet_viz.reporting import Renderer


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Where a command's result goes.

    Attributes:
        outputs: Paths; ``-`` is standard output, which is also meant by none.
        format: Format, where the suffix does not say.
        fallback: Suffix of what goes to standard output without a format.
        quiet: Say nothing but errors.
        open: Show what was written.
    """

    outputs: tuple[str, ...]
    format: str | None
    fallback: str
    quiet: bool
    open: bool


def wanted(given: dict[str, Any], default: str | None, name: Callable[[], str]) -> Wanted:
    """What the options ask for.

    Args:
        given: Options of the command.
        default: Suffix of the file to write where no ``-o`` is given; ``None`` prints.
        name: Of that file, without suffix.
    """
    outputs = tuple(given["outputs"])
    if not outputs and default is not None and not given["json_"]:
        outputs = (name() + default,)
    return Wanted(
        outputs=outputs,
        format=given["format_"],
        fallback=".json" if given["json_"] else default or ".txt",
        quiet=given["quiet"],
        open=given["open_"],
    )


def writers(asked: Wanted, known: dict[str, Renderer] | None = None) -> list[Renderer]:
    """Who writes each output.

    ``--format`` says it where a suffix says nothing, and everywhere if all suffixes do.

    Raises:
        UserError: For an unknown format.
    """
    from resnet_viz.reporting import RENDERERS, renderer_for, resolve_renderer

    table = RENDERERS if known is None else known
    outputs = asked.outputs or ("-",)
    named = asked.format
    mute = [o for o in outputs if o == "-" or Path(o).suffix.lower() not in table]
    if named is not None and not mute:
        mute = list(outputs)
    return [
        resolve_renderer(named or asked.fallback, table)
        if output == "-" or (named and output in mute)
        else renderer_for(output, table)
        for output in outputs
    ]


def check(asked: Wanted, known: dict[str, Renderer] | None = None) -> None:
    """Refuses before the long work what could not be written after it.

    Args:
        asked: Where the result goes.
        known: Who writes it, by suffix; who writes reports if ``None``.

    Raises:
        UserError: For an unknown format, a place that cannot be written, or a pdf without dot.
    """
    from resnet_viz.reporting import check_writable
    from resnet_viz.reporting.formats.dot_engine import found_dot

    if asked.outputs.count("-") > 1:
        raise click.UsageError("-o - was given twice: standard output takes one format")
    if any(who.name == "pdf" for who in writers(asked, known)):
        found_dot("pdf")
    for output in asked.outputs:
        if output != "-":
            check_writable(output)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What was written, and what is still to be printed.

    Attributes:
        printed: For standard output.
        files: Each path and the seconds since the command began.
        notes: What came out otherwise than it was asked for, one line each.
    """

    printed: bytes
    files: tuple[tuple[Path, float], ...]
    notes: tuple[str, ...] = ()

    def print(self) -> None:
        """Standard output; call it when no bars are on the screen."""
        if self.printed:
            sys.stdout.buffer.write(self.printed)
            if sys.stdout.isatty() and not self.printed.endswith(b"\n"):
                sys.stdout.buffer.write(b"\n")
            sys.stdout.flush()

    def say(self, asked: Wanted) -> None:
        """One line per note and file, and each file shown where that is wanted."""
        from resnet_viz.core.errors import spelled
        from resnet_viz.core.units import nbytes

        for note in () if asked.quiet else self.notes:
            click.echo(f"Note: {spelled(note)}", err=True)
        for path, seconds in self.files:
            if not asked.quiet:
                size = nbytes(path.stat().st_size)
                click.echo(f"Wrote {path} ({size}, {seconds:.1f} s)", err=True)
            if asked.open:
                click.launch(str(path))


def draw(
    value: Any,
    asked: Wanted,
    drawing: RenderOptions,
    progress: Progress,
    began: float,
    known: dict[str, Renderer] | None = None,
) -> Drawn:
    """Draws and writes every output; what goes to standard output is kept for later.

    Args:
        value: A report or an experiment's result.
        asked: Where it goes.
        drawing: How to draw it.
        progress: Who listens.
        began: ``time.perf_counter()`` at the command's start.
        known: Who writes it, by suffix; who writes such values if ``None``.
    """
    from resnet_viz.cli.drawing_options import unheard
    from resnet_viz.reporting import render, renderers_of, save
    from resnet_viz.reporting.remarks import remarks

    printed, files = b"", []
    who = writers(asked, known or renderers_of(value))
    with remarks() as notes:
        for output, renderer in zip(asked.outputs or ("-",), who, strict=True):
            progress.start(f"drawing {'on standard output' if output == '-' else output}")
            if output == "-":
                printed = render(value, renderer, drawing)
            else:
                path = save(value, Path(output), drawing, renderer)
                files.append((path, time.perf_counter() - began))
    progress.finish()
    if vain := unheard(drawing, who):
        notes.append(vain)
    return Drawn(printed=printed, files=tuple(files), notes=tuple(notes))


def say_findings(report: Report, name: str = "") -> None:
    """One line per warning and error, for those who do not open the file."""
    from resnet_viz.core.errors import listed, spelled

    for found in report.findings:
        if found.severity != "note":
            where = f" at {listed(found.where, 3)}" if any(found.where) else ""
            whose = f"{name}: " if name else ""
            click.echo(f"Finding: {whose}{spelled(found.what + where)}", err=True)


def file_name(model: str, suffixes: Iterable[str]) -> str:
    """``torchvision:resnet18`` -> ``resnet18``; ``examples/net.py:Net`` -> ``Net``."""
    name = model.rpartition(":")[2] or model
    if name.endswith("/config.json"):
        name = name.removesuffix("/config.json")
    kept = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(name).name)
    for suffix in suffixes:
        kept = kept.removesuffix(suffix)
    return kept or "model"
