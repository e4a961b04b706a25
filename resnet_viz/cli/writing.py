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

    def formats(self) -> tuple[str, ...]:
        """Format of each output, without its dot."""
        return tuple(
            (self.format or (self.fallback if output == "-" else Path(output).suffix)).strip(".")
            for output in self.outputs or ("-",)
        )


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


def check(asked: Wanted, known: dict[str, Renderer] | None = None) -> None:
    """Refuses before the long work what could not be written after it.

    Args:
        asked: Where the result goes.
        known: Who writes it, by suffix; who writes reports if ``None``.

    Raises:
        UserError: For an unknown format or a place that cannot be written.
    """
    from resnet_viz.reporting import check_writable, renderer_for, resolve_renderer

    if asked.outputs.count("-") > 1:
        raise click.UsageError("-o - was given twice: standard output takes one format")
    if asked.format:
        resolve_renderer(asked.format, known)
    for output in asked.outputs:
        if output != "-":
            if not asked.format:
                renderer_for(output, known)
            check_writable(output)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What was written, and what is still to be printed.

    Attributes:
        printed: For standard output.
        files: Each path and the seconds since the command began.
    """

    printed: bytes
    files: tuple[tuple[Path, float], ...]

    def print(self) -> None:
        """Standard output; call it when no bars are on the screen."""
        if self.printed:
            sys.stdout.buffer.write(self.printed.removesuffix(b"\n") + b"\n")
            sys.stdout.flush()

    def say(self, asked: Wanted) -> None:
        """One line per file, and each shown where that is wanted."""
        from resnet_viz.core.units import nbytes

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
    from resnet_viz.reporting import render, renderer_for, resolve_renderer, save

    printed, files = b"", []
    for output in asked.outputs or ("-",):
        progress.start(f"drawing {output}")
        if output == "-":
            given = asked.format or asked.fallback
            printed = render(value, resolve_renderer(given, known) if known else given, drawing)
        else:
            format_: str | Renderer | None = asked.format
            if known:
                named = asked.format
                format_ = resolve_renderer(named, known) if named else renderer_for(output, known)
            path = save(value, Path(output), drawing, format_)
            files.append((path, time.perf_counter() - began))
    progress.finish()
    return Drawn(printed=printed, files=tuple(files))


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
