"""``gradflow RUN_DIR``: the history of a training that ``rv.watch`` wrote down."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from resnet_viz.cli import drawing_options, writing
from resnet_viz.cli.gradient_options import thresholds
from resnet_viz.cli.terminal import showing
from resnet_viz.core.errors import UserError, listed

_SHOWING = frozenset(
    {"outputs", "format_", "open_", "json_", "quiet", "focus", "thresholds"}
    | {"theme", "lang", "title", "width", "dpi", "transparent"}
)
"""Options that say how to show a history, or judge it."""


def is_run(text: str) -> bool:
    """Whether MODEL is a folder that ``rv.watch`` wrote."""
    from resnet_viz.watching.files import RUN

    try:
        return Path(text, RUN).is_file()
    except OSError:  # longer than any name of a file
        return False


def _refuse_measuring(given: dict[str, Any]) -> None:
    """Options that measure say nothing to a training that has been measured."""
    context = click.get_current_context()
    names = {
        option.name: option.opts[0]
        for option in context.command.params
        if option.name and option.opts[0].startswith("-")
    }
    meant = [
        text
        for name, text in names.items()
        if name not in _SHOWING
        and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if meant:
        raise UserError(
            f"{given['model']} is a training that was watched, and {listed(meant)} measures a "
            "model: leave it out"
        )


def write_history(given: dict[str, Any]) -> None:
    """Writes or prints the history; of several processes the first one does.

    Raises:
        UserError: For an option that measures a model, or a folder that cannot be read.
    """
    from resnet_viz.measuring.processes.distributed import launched_rank
    from resnet_viz.reporting import EXPERIMENT_RENDERERS
    from resnet_viz.watching.reading import read_run

    if launched_rank():
        return
    _refuse_measuring(given)
    began = time.perf_counter()
    asked = writing.wanted(given, None, lambda: Path(given["model"]).name)
    writing.check(asked, EXPERIMENT_RENDERERS)
    drawing = drawing_options.drawing(given)
    with showing(quiet=asked.quiet) as progress:
        progress.start("reading the run")
        found = read_run(Path(given["model"]), thresholds(given["thresholds"]))
        drawn = writing.draw(found, asked, drawing, progress, began)
    drawn.print()
    drawn.say(asked)
