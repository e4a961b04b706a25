"""Every option, defined once; a command lists the groups it takes."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from resnet_viz.cli.attribution_options import ATTRIBUTIONS, explained
from resnet_viz.cli.drawing_options import DRAWING, LOOK
from resnet_viz.cli.gradient_options import GRADIENTS, asked

if TYPE_CHECKING:
    from resnet_viz.core.report import Section
    from resnet_viz.study import Study

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]


MODEL: Sequence[Decorator] = (
    click.argument("model"),
    click.option(
        "--arg",
        "args",
        multiple=True,
        metavar="K=V",
        help="Argument of the constructor; repeatable.",
    ),
    click.option(
        "--weights",
        metavar="FILE|TAG",
        help="Weights: .safetensors, a torch file, or a torchvision tag.",
    ),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="[NAME=]1x3x224x224[:DTYPE]|NAME=VALUE",
        help="An input, or a plain value such as use_cache=false; repeatable. Found if not given.",
    ),
    click.option(
        "--input-file",
        "input_files",
        multiple=True,
        metavar="[NAME=]FILE",
        help="Inputs in a .pt, .safetensors, .npz or .npy file; repeatable.",
    ),
    click.option(
        "--inputs-from",
        "inputs_from",
        default="",
        metavar="FILE.py:FUNCTION",
        help="Inputs that a function returns. Its code is run.",
    ),
    click.option(
        "--unsafe-load",
        is_flag=True,
        help="Unpickle files that could run code. Only for files you trust.",
    ),
    click.option(
        "--trust-remote-code",
        is_flag=True,
        help="Run the Python code that comes with a hf: config.",
    ),
    click.option(
        "--seed",
        default=0,
        show_default=True,
        type=click.IntRange(0, 2**63 - 1),
        help="Of weights, inputs and labels.",
    ),
    click.option("--name", default="", help="What to call the model."),
)

PAIR: Sequence[Decorator] = (click.argument("a"), click.argument("b"), *MODEL[1:])
"""Two models, and options that go for both."""

BUILD: Sequence[Decorator] = (
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "meta"]),
        default="auto",
        show_default=True,
        help="Where to build it; meta takes no memory, and auto means it for hf: models.",
    ),
)

RUN: Sequence[Decorator] = (
    click.option(
        "--device",
        default="auto",
        show_default=True,
        metavar="auto|cpu|cuda[:N]|mps|xpu",
        help="Where to measure.",
    ),
)

PROOF: Sequence[Decorator] = (
    click.option(
        "--verify",
        is_flag=True,
        help="Prove the trace: replay it op by op and compare with the forward, bit for bit.",
    ),
)

FILES: Sequence[Decorator] = (
    click.option(
        "-o",
        "--output",
        "outputs",
        multiple=True,
        metavar="FILE",
        help="Where to write; the suffix picks the format; - is standard output; repeatable.",
    ),
    click.option(
        "--format",
        "format_",
        metavar="NAME|PKG.MOD:OBJ",
        help="Format, where the suffix does not say.",
    ),
    *LOOK,
    click.option("--open", "open_", is_flag=True, help="Show what was written."),
    click.option("--json", "json_", is_flag=True, help="Print JSON instead."),
    click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors."),
)

OUTPUT: Sequence[Decorator] = (
    *FILES,
    click.option(
        "--color-by",
        type=click.Choice(["kind", "params", "macs", "memory", "time", "gradient", "attribution"]),
        default="kind",
        show_default=True,
        help="What the diagram's ops are coloured by; the last three are measured for it.",
    ),
    *DRAWING,
)

TIMES: Sequence[Decorator] = (
    click.option("--times", is_flag=True, help="Measure how long each call of a forward takes."),
)

STUDY = (*MODEL, *RUN, *PROOF, *TIMES, *GRADIENTS, *ATTRIBUTIONS)


def takes(*groups: Sequence[Decorator]) -> Callable[[Command], Command]:
    """A decorator that gives a command these options."""

    def decorate(command: Command) -> Command:
        for group in reversed(groups):
            for option in reversed(group):
                command = option(command)
        return command

    return decorate


_COLOURED_BY: dict[str, Section] = {
    "time": "op times",
    "gradient": "gradient flow",
    "attribution": "attributions",
}
"""``--color-by`` -> the section that it needs measured."""
_WITHOUT_VALUES = "leave it out, or ask for summary or diagram"


def study(given: dict[str, Any], sections: tuple[Section, ...]) -> Study:
    """The study that the options ask for.

    Raises:
        UserError: For an option whose text does not parse.
    """
    from resnet_viz.core.errors import UserError
    from resnet_viz.sources.inputs import parse_inputs
    from resnet_viz.sources.loading import parse_arg
    from resnet_viz.study import Study

    needed = _COLOURED_BY.get(given.get("color_by", "kind"))
    wanted = sections if needed is None else tuple(dict.fromkeys((*sections, needed)))
    if given.get("device") == "meta":
        if wanted:
            raise UserError(
                "--device meta makes no values, so nothing can be measured on it: "
                f"{'leave it or --color-by out' if needed else _WITHOUT_VALUES}"
            )
        if given["weights"]:
            raise UserError("--device meta makes no values: leave it or --weights out")
    inputs, values = parse_inputs(given["inputs"])
    return Study(
        model=given["model"],
        args=dict(parse_arg(text) for text in given["args"]),
        weights=given["weights"],
        unsafe_load=given["unsafe_load"],
        trust_remote_code=given["trust_remote_code"],
        name=given["name"],
        inputs=inputs,
        input_kwargs=values,
        input_files=given["input_files"],
        inputs_from=given["inputs_from"],
        sections=wanted,
        times=given.get("times", False),
        device=given.get("device", "auto"),
        seed=given["seed"],
        verify=given.get("verify", False),
        command=command_line(),
        created=now(),
        **asked(given),
        **explained(given, only_relevance=needed == "attributions" and needed not in sections),
    )


def command_line() -> str:
    """What was typed, for the foot of a report."""
    return shlex.join(["resnet-viz", *sys.argv[1:]])


def now() -> str:
    """ISO date and time, to the second, with the time zone.

    ``SOURCE_DATE_EPOCH`` (seconds since 1970, reproducible-builds.org) stands in for the clock,
    so that the same command writes the same bytes.

    Raises:
        UserError: Where that is not a number of seconds.
    """
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    if not fixed:
        return datetime.now().astimezone().isoformat(timespec="seconds")
    try:
        return datetime.fromtimestamp(int(fixed), UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        from resnet_viz.core.errors import UserError

        raise UserError(
            f"SOURCE_DATE_EPOCH={fixed!r} is not a time; give whole seconds since 1970, or unset it"
        ) from None
