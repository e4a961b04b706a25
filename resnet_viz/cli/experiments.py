"""``resnet-viz experiment …``: nets trained or probed here, and what they showed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resnet_viz.cli import drawing_options, options, writing
from resnet_viz.cli.options import takes
from resnet_viz.cli.terminal import showing

if TYPE_CHECKING:
    from resnet_viz.core.experiments.degradation import Degradation, Training
    from resnet_viz.core.experiments.depth import DepthStudy
    from resnet_viz.core.experiments.identity import IdentityMapping
    from resnet_viz.core.progress import Progress

    Found = Degradation | IdentityMapping | DepthStudy


def _numbers(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r}: give numbers such as 20,56") from None


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    return None if value is None else tuple(part.strip() for part in value.split(","))


QUICK = click.option("--quick", is_flag=True, help="A small form, in less than a minute.")
WORKERS = click.option(
    "--workers",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Processes, each with one thread.",
)
DEPTHS = click.option(
    "--depths", callback=_numbers, metavar="N,N,…", help="Weighted layers, each 6n + 2."
)
SEED = click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**63 - 1),
    help="Of weights and inputs.",
)


@click.group()
def experiment() -> None:
    """Plain against residual nets, trained and probed here.

    Each writes NAME.html unless -o says otherwise: html svg png csv json txt.
    """


@experiment.command()
@QUICK
@DEPTHS
@click.option("--seeds", callback=_numbers, metavar="N,N,…", help="[default: 0,1,2]")
@click.option(
    "--data",
    default="digits",
    show_default=True,
    metavar="NAME|FOLDER",
    help="digits (comes with this tool), cifar10, cifar100, mnist, fashion_mnist, or a folder "
    "with one folder of images per class.",
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the files of --data lie.")
@click.option("--download", is_flag=True, help="Let torchvision fetch --data into --data-dir.")
@click.option("--image-size", type=click.IntRange(1), help="Side that images are resized to.")
@click.option(
    "--recipe",
    type=click.Choice(("digits", "he2015")),
    default="digits",
    show_default=True,
    help="Where the next five begin. he2015 is the paper's for CIFAR: 64,000 steps, days on a CPU.",
)
@click.option("--epochs", type=click.IntRange(1), help="[default: 20; he2015: 164]")
@click.option("--batch-size", type=click.IntRange(1), help="[default: 64; he2015: 128]")
@click.option("--lr", "learning_rate", type=float, help="[default: 0.05; he2015: 0.1]")
@click.option("--warmup-steps", type=click.IntRange(0), help="[default: 50; he2015: 0]")
@click.option(
    "--widths",
    callback=_numbers,
    metavar="N,N,N",
    help="Channels.  [default: 8,16,32; he2015: 16,32,64]",
)
@click.option("--lesions/--no-lesions", default=True, show_default=True, help="Blocks deleted.")
@click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda[:N]|auto")
@WORKERS
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    help="Folder of unfinished runs, to go on after Ctrl-C; kept. "
    "[default: beside the output, removed at the end]",
)
@takes(options.FILES)
def degradation(**given: Any) -> None:
    """Deep plain nets train worse, residual nets do not: He et al. 2015, figure 6.

    Trains plain-20, plain-56, residual-20 and residual-56 from the same weights.
    """
    training = _training(given)
    folder = given["runs"] or _runs_beside(given)

    def run(progress: Progress) -> Degradation:
        from resnet_viz.experiments.degradation.run import run_degradation

        return run_degradation(
            depths=given["depths"] or (20, 56),
            data=given["data"],
            data_dir=given["data_dir"],
            image_size=given["image_size"],
            download=given["download"],
            training=training,
            quick=given["quick"],
            workers=given["workers"],
            folder=folder,
            lesions=given["lesions"],
            device=given["device"],
            progress=progress,
        )

    try:
        _write(given, "degradation", run)
    except KeyboardInterrupt:
        if folder is not None and folder.is_dir() and not given["quiet"]:
            click.echo(f"Note: the same command goes on from {folder}", err=True)
        raise
    if folder is not None and given["runs"] is None:
        from resnet_viz.experiments.degradation.resuming import discard

        discard(folder)


@experiment.command()
@QUICK
@click.option("--deep", default="resnet56", show_default=True, help="Variant with blocks to spare.")
@click.option("--shallow", default="resnet20", show_default=True, help="Variant it is to equal.")
@SEED
@takes(options.FILES)
def identity(**given: Any) -> None:
    """F(x) = 0 gives H(x) = x: a deep net that equals a shallow one exactly."""

    def run(progress: Progress) -> IdentityMapping:
        from resnet_viz.experiments.identity.run import run_identity

        return run_identity(
            deep=given["deep"],
            shallow=given["shallow"],
            seed=given["seed"],
            quick=given["quick"],
            progress=progress,
        )

    _write(given, "identity", run)


@experiment.command()
@QUICK
@DEPTHS
@click.option(
    "--activations", callback=_names, metavar="NAME,…", help="[default: sigmoid,tanh,relu]"
)
@click.option(
    "--inits", callback=_names, metavar="NAME,…", help="[default: he,xavier,orthogonal,normal]"
)
@click.option("--norms", callback=_names, metavar="NAME,…", help="[default: none,batch]")
@SEED
@WORKERS
@takes(options.FILES)
def depth(**given: Any) -> None:
    """Vanishing and exploding gradients: against depth, and block by block."""

    def run(progress: Progress) -> DepthStudy:
        from resnet_viz.experiments.depth.run import run_depth

        asked = {
            name: given[name]
            for name in ("depths", "activations", "inits", "norms")
            if given[name] is not None
        }
        return run_depth(
            **asked,
            seeds=(given["seed"],),
            quick=given["quick"],
            workers=given["workers"],
            progress=progress,
        )

    _write(given, "depth", run)


def _training(given: dict[str, Any]) -> Training:
    from resnet_viz.experiments.degradation.run import RECIPES

    recipe = RECIPES[given["recipe"]]
    known = {field.name for field in fields(recipe)}
    return replace(recipe, **{k: v for k, v in given.items() if k in known and v is not None})


def _runs_beside(given: dict[str, Any]) -> Path | None:
    """``degradation.runs`` for ``degradation.html``; none where nothing is written."""
    asked = writing.wanted(given, ".html", lambda: "degradation")
    files = [output for output in asked.outputs if output != "-"]
    return Path(files[0]).with_suffix(".runs") if files else None


def _write(given: dict[str, Any], name: str, run: Callable[[Progress], Found]) -> None:
    from resnet_viz.reporting import EXPERIMENT_RENDERERS

    began = time.perf_counter()
    asked = writing.wanted(given, ".html", lambda: name)
    writing.check(asked, EXPERIMENT_RENDERERS)
    with showing(quiet=asked.quiet) as progress:
        result = run(progress)
        result = replace(
            result,
            provenance=replace(
                result.provenance, command=options.command_line(), created=options.now()
            ),
        )
        drawing = drawing_options.drawing(given)
        drawn = writing.draw(result, asked, drawing, progress, began)
    drawn.print()
    drawn.say(asked)
