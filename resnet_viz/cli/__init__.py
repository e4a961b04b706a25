"""The command line: parse, one pipeline call, say what was written."""

from __future__ import annotations

import sys

from resnet_viz.cli.commands import cli
from resnet_viz.cli.experiments import experiment
from resnet_viz.cli.terminal import run_and_exit

__all__ = ["cli", "main"]

cli.add_command(experiment)


def main() -> None:
    """Runs the command line and exits with the code of DESIGN's table.

    0 fine; 1 findings (``check`` only); 2 a user's mistake; 3 the model raised on
    inputs the tool chose; 70 a bug of ours (with traceback); 130 Ctrl-C.
    """
    run_and_exit(cli, sys.argv[1:])
