"""Options of attributions: what is explained, by which methods, and how much is tested."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resnet_viz.cli.gradient_options import DATA

if TYPE_CHECKING:
    from resnet_viz.core.attribution_options import AttributionOptions

Decorator = Callable[[Any], Any]


def _numbers(_ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """``0.485,0.456,0.406`` as three floats."""
    if value is None:
        return None
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise click.BadParameter(f"{value!r}: give one number or three, as in 0.485,0.456,0.406")
    return numbers * 3 if len(numbers) == 1 else numbers


ATTRIBUTIONS: Sequence[Decorator] = (
    click.option(
        "--image",
        "images",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Photograph to explain; repeatable.",
    ),
    click.option(
        "--size",
        "image_size",
        type=click.IntRange(1),
        help="Side of its crop.  [default: the input's]",
    ),
    click.option(
        "--mean",
        callback=_numbers,
        metavar="R,G,B",
        help="Of its channels.  [default: the model's]",
    ),
    click.option(
        "--std", callback=_numbers, metavar="R,G,B", help="Of its channels.  [default: the model's]"
    ),
    click.option(
        "--target",
        metavar="CLASS|NAME|top3|sum|mask:FILE|box:N|token:N|FILE.py:FUNCTION",
        help="What to explain: a class by index or name, the strongest few, all outputs, a masked "
        "part of a segmentation, a detection, a token, or code of yours, which is run.  "
        "[default: the strongest class]",
    ),
    click.option(
        "--labels",
        metavar="imagenet|FILE",
        help="Names of the classes: a file with a name per line, or JSON.  [default: the model's]",
    ),
    click.option(
        "--method",
        "methods",
        multiple=True,
        metavar="NAME",
        help="Attribution method; repeatable; list prints them all.",
    ),
    click.option(
        "--layer",
        "layers",
        multiple=True,
        metavar="auto|PATH|list",
        help="For methods that look at a layer; repeatable; list prints the candidates.  "
        "[default: auto]",
    ),
    click.option(
        "--force",
        is_flag=True,
        help="Run methods that are known to be wrong here; the report says so.",
    ),
    click.option(
        "--n-steps",
        default=50,
        show_default=True,
        type=click.IntRange(1),
        help="Steps of path methods.",
    ),
    click.option(
        "--internal-batch-size",
        type=click.IntRange(1),
        metavar="N",
        help="Rows per forward.  [default: what fits in memory]",
    ),
    click.option(
        "--baseline",
        type=float,
        metavar="VALUE",
        help="Where paths start, and what occlusion puts in place.  [default: 0]",
    ),
    click.option(
        "--n-samples",
        default=20,
        show_default=True,
        type=click.IntRange(1),
        help="Draws of methods that draw.",
    ),
    click.option(
        "--stdevs",
        type=click.FloatRange(0),
        metavar="SD",
        help="Noise of SmoothGrad and GradientSHAP, in units of the input.",
    ),
    click.option(
        "--channels-last",
        is_flag=True,
        help="Lay images out with channels last in memory: faster, other rounding.",
    ),
    click.option(
        "--trust",
        type=click.Choice(["off", "quick", "full"]),
        default="quick",
        show_default=True,
        help="How much is tested of each map; full also measures infidelity, sensitivity and the "
        "randomisation check.",
    ),
    click.option(
        "--relevance/--no-relevance",
        default=True,
        show_default=True,
        help="Measure the relevance of every block and branch.",
    ),
    click.option(
        "--stages/--no-stages",
        default=True,
        show_default=True,
        help="Show what each depth of the network sees.",
    ),
)

ATTRIBUTION_DATA = (*DATA, *ATTRIBUTIONS)
"""For a command that measures no gradient flow beside them."""


def explained(given: dict[str, Any], *, only_relevance: bool = False) -> dict[str, Any]:
    """The attributes of a ``Study`` that these options set.

    Args:
        given: The options.
        only_relevance: Whether nothing else of attributions is wanted.
    """
    from resnet_viz.core.attribution_options import AttributionOptions

    relevance = AttributionOptions(methods=(), trust="off", stages=False)
    return {
        "images": tuple(given.get("images", ())),
        "image_size": given.get("image_size"),
        "mean": given.get("mean"),
        "std": given.get("std"),
        "labels": given.get("labels") or (),
        "attribution": relevance if only_relevance else _options(given),
    }


def _options(given: dict[str, Any]) -> AttributionOptions:
    from resnet_viz.core.attribution_options import DEFAULT_METHODS, AttributionOptions

    return AttributionOptions(
        target=given.get("target"),
        methods=given.get("methods") or DEFAULT_METHODS,
        layer=given.get("layers") or "auto",
        force=given.get("force", False),
        n_steps=given.get("n_steps", 50),
        internal_batch_size=given.get("internal_batch_size"),
        baselines=given.get("baseline"),
        n_samples=given.get("n_samples", 20),
        stdevs=given.get("stdevs"),
        autocast=given.get("amp", False),
        channels_last=given.get("channels_last", False),
        trust=given.get("trust", "quick"),
        relevance=given.get("relevance", True),
        stages=given.get("stages", True),
    )
