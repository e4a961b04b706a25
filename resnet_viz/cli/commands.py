"""The commands. Each parses, makes one pipeline call, and says what it wrote."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resnet_viz.cli import drawing_options, gradient_options, options
from resnet_viz.cli.attribution_options import ATTRIBUTION_DATA
from resnet_viz.cli.choices import asks_for_choices, print_choices
from resnet_viz.cli.comparing import write_comparison
from resnet_viz.cli.history import is_run, write_history
from resnet_viz.cli.options import takes
from resnet_viz.cli.terminal import showing
from resnet_viz.core.errors import EXIT_FINDINGS
from resnet_viz.core.progress import SILENT
from resnet_viz.core.version import __version__

_MODEL_SUFFIXES = (".py", ".pt2", ".pt", ".pth", ".toml", ".json")

if TYPE_CHECKING:
    from resnet_viz.core.errors import ResnetVizError
    from resnet_viz.core.progress import Progress
    from resnet_viz.core.report import RenderOptions, Report, Section
    from resnet_viz.reporting import Renderer
    from resnet_viz.study import Study


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="resnet-viz")
def cli() -> None:
    """See a network, and where its gradient goes.

    MODEL is a variant (resnet-viz models lists them), net.toml, torchvision:NAME,
    timm:NAME, hf:PATH_OR_ID, path/to/file.py:Name, pkg.mod:Name or a .pt2 file. Code in a Python
    file is run.

    Exit codes: 0 fine, 1 two models differ (compare --exit-code), 2 a mistake in what
    was asked, 3 the model raised on inputs the tool chose, 70 a bug, 130 Ctrl-C. Where
    it raised, what ran until then is written all the same, with the failing operation
    in red.
    """


@cli.command()
@click.argument("pattern", default="")
@click.option("--json", "json_", is_flag=True, help="Print JSON instead.")
@click.option("--toml", is_flag=True, help="Print this one variant as a config file.")
def models(pattern: str, json_: bool, toml: bool) -> None:
    """The variants it can build, with params, MACs and paper.

    PATTERN is a part of the name, or has wildcards: 'wrn_*', '*50d'.
    """
    if toml:
        if json_:
            raise click.UsageError("--json and --toml were both given: choose one")
        if not pattern:
            raise click.UsageError("--toml prints one variant: name it, such as resnet50 --toml")
        from resnet_viz.sources.config_files import starting_point

        click.echo(starting_point(pattern), nl=False)
        return
    from resnet_viz.sources.variants import list_variants

    rows = list_variants(pattern)
    if json_:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    from resnet_viz.core.units import shape, si

    heads = ("variant", "family", "block", "shortcut", "input", "params", "MACs", "paper")
    lines = [
        (
            *(r.name, r.family, r.block, r.shortcut, shape(r.input_size)),
            *(f"{r.params:,}", si(r.macs), r.source),
        )
        for r in rows
    ]
    widths = [max(len(line[i]) for line in (heads, *lines)) for i in range(len(heads))]
    for line in (heads, *lines):
        cells = [
            c.rjust(w) if head in ("params", "MACs") else c.ljust(w)
            for head, c, w in zip(heads, line, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


@cli.command()
@takes(options.MODEL, options.BUILD, options.PROOF)
@click.option("--depth", "-d", type=click.IntRange(0), help="Levels of modules to show.")
@drawing_options.FOLD
@click.option("--json", "json_", is_flag=True, help="Print JSON instead.")
def summary(depth: int | None, fold_repeats: bool | None, json_: bool, **given: Any) -> None:
    """The layer table: shapes, params, MACs, skips and blocks."""
    made, ended = _analysed(options.study(given, ()))
    _say_notes(made)
    if json_:
        click.echo(made.to_json())
    else:
        from rich.console import Console

        from resnet_viz.core.report import RenderOptions
        from resnet_viz.reporting.text.sections import (
            proof_section,
            raised_section,
            traced_section,
        )
        from resnet_viz.reporting.text.to_text import WIDTH, summary_table

        console = Console()
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = WIDTH
        table = summary_table(
            made, depth=depth, memory=console.width >= 120, fold_repeats=fold_repeats
        )
        shown = (*raised_section(made), table, *traced_section(made), *proof_section(made))
        console.print(*shown, sep="\n")
        _say_folded(made, RenderOptions(fold_repeats=fold_repeats))
    if ended is not None:
        raise ended


@cli.command()
@takes(options.MODEL, options.BUILD, options.PROOF, options.OUTPUT)
def diagram(**given: Any) -> None:
    """The architecture: skip paths and bottlenecks made unmistakable.

    Writes MODEL.svg unless -o says otherwise: svg png html dot mmd json graphml pdf.
    """
    _write(given, sections=(), default=".svg", diagram_only=True)


@cli.command()
@takes(options.MODEL, options.RUN, options.PROOF, gradient_options.GRADIENTS, options.OUTPUT)
def gradflow(**given: Any) -> None:
    """Gradient flow: per layer, skip, block and path, with findings.

    MODEL may also be a folder that rv.watch wrote: then the history of that training is
    drawn. Without -o the table is printed. Under torchrun every process measures its part of
    the data, and the first writes.
    """
    if is_run(given["model"]):
        write_history(given)
        return
    _write(given, sections=gradient_options.sections(given), default=None)


@cli.command()
@takes(options.MODEL, options.RUN, ATTRIBUTION_DATA, options.OUTPUT)
def attribute(**given: Any) -> None:
    """Captum attributions, and how far to trust them.

    Without -o the verdicts are printed. Pictures (-o x.png, x.svg) are the contact sheet, .npz
    the raw numbers, .html the report.
    """
    if asks_for_choices(given):
        print_choices(given)
        return
    from resnet_viz.reporting import attribute_renderers

    _write(given, sections=("attributions",), default=None, known=attribute_renderers())


@cli.command()
@takes(options.STUDY, options.OUTPUT)
def report(**given: Any) -> None:
    """Everything about a model in one offline HTML file.

    Writes MODEL.html unless -o says otherwise.
    """
    _write(given, sections=gradient_options.sections(given, "attributions"), default=".html")


@cli.command()
@takes(options.PAIR, options.RUN, gradient_options.GRADIENTS, options.FILES)
@click.option(
    "--exit-code",
    is_flag=True,
    help="Exit with 1 where an op, argument, shape, parameter or the wiring differs; names and "
    "values do not count.",
)
def compare(exit_code: bool, **given: Any) -> None:
    """Two models side by side: structure, costs, gradient flow and findings.

    A and B are named as MODEL is; parts are matched by block. Other options go for both.
    Without -o the table is printed.
    """
    if not write_comparison(given) and exit_code:
        raise click.exceptions.Exit(EXIT_FINDINGS)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--depth", "-d", type=click.IntRange(0), help="Levels of modules to show.")
@click.option("--json", "json_", is_flag=True, help="Print JSON instead.")
def inspect(file: Path, depth: int | None, json_: bool) -> None:
    """What a file of weights holds, without running it.

    FILE is .safetensors, .pt, .pth, .pt2 or a checkpoint with a state dict inside.
    """
    from resnet_viz.sources.checkpoints import inspect_file

    found = inspect_file(file)
    if json_:
        from resnet_viz.core.schema import to_json

        click.echo(to_json(found))
        return
    from rich.console import Console

    from resnet_viz.reporting.text.checkpoint import checkpoint_table

    Console().print(checkpoint_table(found, depth), crop=False)


@cli.command()
def schema() -> None:
    """The JSON Schema of what --json prints and .json files hold."""
    from resnet_viz.core.schema_file import schema_text

    click.echo(schema_text(), nl=False)


@cli.command()
def doctor() -> None:
    """What is installed, and what is missing for what."""
    from resnet_viz.cli.doctor import examine

    for line in examine():
        click.echo(line)


def _write(
    given: dict[str, Any],
    *,
    sections: tuple[Section, ...],
    default: str | None,
    diagram_only: bool = False,
    known: dict[str, Renderer] | None = None,
) -> None:
    """Runs the study and writes each output, or prints where there is none."""
    from resnet_viz.cli import writing
    from resnet_viz.core.errors import spelled
    from resnet_viz.measuring.processes.distributed import launched_rank

    began = time.perf_counter()
    study = options.study(given, sections)
    drawing = drawing_options.drawing(given, diagram_only=diagram_only)
    asked = writing.wanted(
        given, default, lambda: writing.file_name(study.name or given["model"], _MODEL_SUFFIXES)
    )
    writing.check(asked, known)
    others = bool(launched_rank())
    with showing(quiet=asked.quiet or others) as progress:
        # The one section that was asked for must apply; of several each may be missing.
        made, ended = _analysed(study, progress, tolerant=len(sections) > 1)
        if others:
            # Of several processes the first writes.
            if ended is not None:
                raise ended
            return
        drawn = writing.draw(made, asked, drawing, progress, began, known)
    drawn.print()
    if not asked.quiet:
        if not (given["inputs"] or given["input_files"] or given["inputs_from"]):
            click.echo(f"Note: input {spelled(made.provenance.input)}", err=True)
        _say_notes(made)
        if any(who.name not in ("json", "graphml") for who in writing.writers(asked, known)):
            _say_folded(made, drawing)
        if drawn.files and sections:
            writing.say_findings(made)
        if drawn.files and made.proof is not None:
            click.echo(f"Proof: {spelled(made.proof.sentence)}", err=True)
    drawn.say(asked)
    if ended is not None:
        raise ended


def _say_notes(made: Report) -> None:
    """What was guessed, unwrapped or left out, one line each."""
    from resnet_viz.core.errors import spelled

    for warning in made.graph.warnings:
        click.echo(f"Note: {spelled(warning)}", err=True)


def _say_folded(made: Report, drawing: RenderOptions) -> None:
    """That equal parts are drawn once, where nobody asked for it."""
    from resnet_viz.reporting.folding.fold import folding_note

    if note := folding_note(made, drawing):
        click.echo(f"Note: {note}", err=True)


def _analysed(
    study: Study, progress: Progress = SILENT, *, tolerant: bool = True
) -> tuple[Report, ResnetVizError | None]:
    """The report, and the error to end with once it is written, where the model raised."""
    from resnet_viz.core.errors import ResnetVizError
    from resnet_viz.study import analyse

    try:
        return analyse(study, progress, tolerant=tolerant), None
    except ResnetVizError as error:
        if error.report is None:
            raise
        return error.report, error
