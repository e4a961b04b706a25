"""What a person sees while they wait, and how a run ends."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

from resnet_viz.core.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_USER,
    ResnetVizError,
    spelled,
)
from resnet_viz.core.progress import Progress, Silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Bars:
    """A ``Progress`` that draws on a terminal (standard error)."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._bars: RichProgress = RichProgress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID | None = None

    def start(self, label: str, total: int | None = None) -> None:
        """The next step, on a line of its own."""
        self.finish()
        self._bars.start()
        self._task = self._bars.add_task(label, total=total)

    def advance(self, parts: int = 1) -> None:
        """Moves the bar of the running step."""
        if self._task is not None:
            self._bars.advance(self._task, parts)

    def finish(self) -> None:
        """Fills the bar of the running step."""
        if self._task is not None:
            task = self._bars.tasks[self._bars.task_ids.index(self._task)]
            self._bars.update(self._task, total=task.total or 1, completed=task.total or 1)
            self._task = None

    def close(self) -> None:
        """Takes the bars off the screen."""
        self.finish()
        self._bars.stop()


class Lines(Silent):
    """A ``Progress`` for logs and pipes: one line per step on standard error."""

    def start(self, label: str, total: int | None = None) -> None:
        """One line."""
        click.echo(f"{label} …", err=True)


@contextmanager
def showing(*, quiet: bool) -> Iterator[Progress]:
    """Bars on a terminal, lines elsewhere, nothing if ``quiet``.

    Bars are off the screen when the context ends: whatever is printed while they
    are on it, they overwrite.
    """
    if quiet or not sys.stderr.isatty():
        yield Silent() if quiet else Lines()
        return
    bars = Bars()
    try:
        yield bars
    finally:
        bars.close()


def run_and_exit(command: click.Command, arguments: list[str]) -> NoReturn:
    """Runs a click command; every error a user can cause is one line.

    Of several processes that ``torchrun`` started each runs it.
    """
    from resnet_viz.measuring.processes.distributed import process_group

    try:
        with process_group():
            code = command.main(arguments, prog_name="resnet-viz", standalone_mode=False)
    except ResnetVizError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(EXIT_USER)
    except click.UsageError as error:
        _say(error.format_message())
        if error.ctx is not None:
            click.echo(f"Try: {error.ctx.command_path} --help", err=True)
        sys.exit(EXIT_USER)
    except click.ClickException as error:
        _say(error.format_message())
        sys.exit(EXIT_USER)
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; nothing half-written is left")
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; that is no error of anybody.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            # What could not be printed would be tried again at exit.
            sys.stdout = None
            _say(f"cannot write: {error.strerror}; free some space")
            sys.exit(EXIT_USER)
        traceback.print_exc()
        _say("this is a bug of resnet-viz: please report it with the traceback above")
        sys.exit(EXIT_BUG)
    # What ``ctx.exit`` or ``Exit`` was given; commands themselves return nothing.
    sys.exit(code if isinstance(code, int) else 0)


def _say(text: str) -> None:
    from resnet_viz.measuring.processes.distributed import launched_rank

    who = f"process {rank}: " if (rank := launched_rank()) else ""
    click.echo(f"Error: {who}{spelled(text)}", err=True)
