"""Options of everything that runs a backward: data, loss, statistics, thresholds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from resnet_viz.analysis.rules import Thresholds
    from resnet_viz.core.report import Section

Decorator = Callable[[Any], Any]

DATA: Sequence[Decorator] = (
    click.option(
        "--data",
        metavar="FOLDER|digits|random|torchvision:NAME|FILE.py:LOADER",
        help="What to measure on: a folder of images, a known set, or code of yours, "
        "which is run.  [default: random]",
    ),
    click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Where the files of a torchvision: data set lie. Nothing is downloaded.",
    ),
    click.option("--batch-size", type=click.IntRange(1), help="Samples of a batch.  [default: 8]"),
    click.option(
        "--batches",
        default=1,
        show_default=True,
        type=click.IntRange(1),
        metavar="N",
        help="Batches to measure, on each process under torchrun; the report holds means and "
        "spreads.",
    ),
    click.option("--amp", is_flag=True, help="Run the model and its loss under bfloat16 autocast."),
)

GRADIENTS: Sequence[Decorator] = (
    *DATA,
    click.option(
        "--loss",
        metavar="cross_entropy|mse|FILE.py:FUNCTION",
        help="What is differentiated: a function (outputs, targets).  [default: by the outputs]",
    ),
    click.option(
        "--train/--eval", "train", default=True, show_default=True, help="Mode of gradient flow."
    ),
    click.option(
        "--stats",
        type=click.Choice(["norms", "default", "full"]),
        default="default",
        show_default=True,
        help="How much is measured; full is exact everywhere, and slower.",
    ),
    click.option(
        "--optimizer",
        metavar="NAME[:lr=0.1,…]",
        help="Measure update-to-weight ratios of one step of this torch optimizer.",
    ),
    click.option(
        "--paths", is_flag=True, help="Split the gradient by the length of its paths, exactly."
    ),
    click.option(
        "--path-draws",
        default=0,
        type=click.IntRange(0),
        metavar="N",
        help="Also sample N paths of each length, as Veit et al. 2016 do.",
    ),
    click.option(
        "--chunk",
        type=click.IntRange(1),
        metavar="N",
        help="Path lengths pulled back at a time: bounds the memory of --paths.",
    ),
    click.option(
        "--propagation",
        is_flag=True,
        help="Signal propagation per block, and the Jacobian's spectrum.",
    ),
    click.option(
        "--threshold",
        "thresholds",
        multiple=True,
        metavar="NAME=VALUE",
        help="When a finding speaks, such as depth_factor=1.1; repeatable.",
    ),
)


def sections(given: dict[str, Any], *more: Section) -> tuple[Section, ...]:
    """What to measure: gradient flow, what the options add to it, and ``more``."""
    paths = given["paths"] or given["path_draws"] or given["chunk"]
    found: list[Section] = ["gradient flow"]
    if paths:
        found.append("path gradients")
    if given["propagation"]:
        found.append("signal propagation")
    return (*found, *more)


def asked(given: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a ``Study`` that these options set.

    Raises:
        UserError: For a threshold that is none.
    """
    return {
        "data": given.get("data"),
        "data_dir": given.get("data_dir"),
        "batch_size": given.get("batch_size"),
        "batches": given.get("batches", 1),
        "loss_fn": given.get("loss"),
        "mode": "train" if given.get("train", True) else "eval",
        "autocast": given.get("amp", False),
        "stats": given.get("stats", "default"),
        "optimizer": given.get("optimizer"),
        "path_draws": given.get("path_draws", 0),
        "chunk": given.get("chunk"),
        "thresholds": thresholds(given.get("thresholds", ())),
    }


def thresholds(texts: Sequence[str]) -> Thresholds | None:
    """``depth_factor=1.1`` and the like; ``None`` where nothing was given.

    Raises:
        UserError: For an unknown name or a value that is no number of its kind.
    """
    if not texts:
        return None
    from resnet_viz.analysis.rules import Thresholds
    from resnet_viz.core.errors import UserError, listed
    from resnet_viz.sources.names import did_you_mean

    usual = dataclasses.asdict(Thresholds())
    values: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in usual:
            raise UserError(
                f"--threshold {text}: no threshold {name!r}{did_you_mean(name, usual)}; "
                f"there are {listed(usual, len(usual))}"
            )
        try:
            values[name] = type(usual[name])(value)
            if math.isnan(values[name]):
                raise ValueError(value)
        except ValueError:
            raise UserError(
                f"--threshold {text}: {name} takes a number, as in {name}={usual[name]:g}"
            ) from None
    return Thresholds(**values)
