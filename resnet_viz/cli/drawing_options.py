"""Options that say how a picture looks, and the ``RenderOptions`` they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from resnet_viz.core.errors import listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resnet_viz.core.report import RenderOptions
    from resnet_viz.reporting import Renderer

Decorator = Callable[[Any], Any]

LANGUAGES = ("en", "fa")
"""Keys of ``reporting.language.LANGUAGES``, which is not imported for ``--help``."""

LOOK: Sequence[Decorator] = (
    click.option(
        "--theme",
        type=click.Choice(["auto", "light", "dark", "paper"]),
        default="auto",
        show_default=True,
        help="Colours; auto follows the reader of a page, paper is for print.",
    ),
    click.option(
        "--lang",
        type=click.Choice(LANGUAGES),
        default="en",
        show_default=True,
        help="Language of the words in what is drawn.",
    ),
    click.option("--title", default="", help="Title of the drawing."),
    click.option(
        "--width",
        type=click.FloatRange(100, 20_000),
        metavar="PX",
        help="Width of a picture, in pixels of 1/96 inch.",
    ),
    click.option(
        "--dpi",
        type=click.FloatRange(10, 2400),
        metavar="N",
        help="Dots per inch of a PNG.  [default: 192]",
    ),
    click.option("--transparent", is_flag=True, help="Leave a picture's background transparent."),
)
"""Of whatever is drawn: a diagram, attributions, an experiment, a comparison."""

DRAWING: Sequence[Decorator] = (
    click.option(
        "--collapse",
        type=click.Choice(["blocks", "all", "none"]),
        default="blocks",
        show_default=True,
        help="What is drawn closed.",
    ),
    click.option(
        "--depth",
        type=click.IntRange(0),
        metavar="N",
        help="Open boxes down to this depth of nesting, in place of --collapse.",
    ),
    click.option(
        "--expand",
        multiple=True,
        metavar="GLOB",
        help="Open these modules too, such as 'layer4.*'; repeatable.",
    ),
    click.option(
        "--fold-repeats/--no-fold-repeats",
        default=None,
        help="Equal parts in a row once, marked × n.  [default: in large graphs]",
    ),
    click.option("--focus", default="", metavar="MODULE", help="Draw only this module."),
    click.option(
        "--direction",
        type=click.Choice(["TB", "LR"]),
        default="TB",
        show_default=True,
        help="Which way the data run: downwards, or to the right.",
    ),
    click.option(
        "--font-size",
        type=click.FloatRange(4, 72),
        metavar="PX",
        help="Of an op's label; the rest grows with it.  [default: 12]",
    ),
    click.option("--edge-shapes", is_flag=True, help="Write on each edge the shape it carries."),
    click.option(
        "--formulas",
        is_flag=True,
        help="Write x, F(x) and H(x) = F(x) + x on the ways of each residual block.",
    ),
    click.option(
        "--engine",
        type=click.Choice(["own", "dot"]),
        default="own",
        show_default=True,
        help="Who draws svg and png.",
    ),
)
"""Of a network's diagram."""

FOLD: Decorator = DRAWING[3]


def drawing(given: dict[str, Any], **more: Any) -> RenderOptions:
    """How to draw: what a command's options say, each field by its own name.

    Args:
        given: Options of the command; it need not have all of them.
        **more: Fields that no option says.

    Raises:
        UserError: For a number out of its range.
    """
    from dataclasses import fields

    from resnet_viz.core.report import RenderOptions
    from resnet_viz.reporting.checking import checked

    known = [field.name for field in fields(RenderOptions)]
    # No option means what the field's default means.
    said = {name: given[name] for name in known if given.get(name) is not None}
    return checked(RenderOptions(**(said | more)))


def unheard(options: RenderOptions, renderers: Iterable[Renderer]) -> str:
    """One line about options that none of these renderers heeds; empty where all are heeded."""
    from dataclasses import fields

    writers = list(renderers)
    if not writers or any(writer.heeds is None for writer in writers):
        return ""
    heeded = {name for writer in writers for name in writer.heeds or ()}
    vain = [
        f"--{field.name.replace('_', '-')}"
        for field in fields(options)
        if field.name in _TOLD
        and field.name not in heeded
        and getattr(options, field.name) != field.default
    ]
    if not vain:
        return ""
    formats = dict.fromkeys(writer.name for writer in writers)
    return f"{listed(vain)} changed nothing: {listed(list(formats))} cannot show it"


_TOLD = frozenset(
    {
        "theme", "lang", "title", "width", "dpi", "transparent", "collapse", "depth", "expand",
        "focus", "direction", "font_size", "edge_shapes", "formulas", "color_by",
    }
)  # fmt: skip
"""Fields that somebody who gives them wants to see."""
