"""The chain of gains as a figure, a table and words: the product that vanishes or explodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnet_viz.core.chain import Link
from resnet_viz.core.message import Message, join, say
from resnet_viz.core.terms import word
from resnet_viz.core.units import count, scientific
from resnet_viz.reporting.experiments.figure import Axis, Figure, Hue, Note, Panel, Rule, Series
from resnet_viz.reporting.experiments.page import Table, log_mean

_FEW_DOTS = 90
_MOST_NAMES = 250
_MOST_NOTES = 4
_HUES: dict[str, Hue] = {"block": "residual", "layer": "momentum", "between": "muted"}
_NAMES = {
    "block": say("gain of a block"),
    "layer": say("gain of a layer"),
    "between": say("gain of what lies between"),
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SPARK = "▁▂▃▄▅▆▇█"


def chain_figure(chain: Sequence[Link], *, main: bool = False) -> Figure | None:
    """Gain of every piece around 1, and what is left of the gradient; ``None`` for no chain."""
    if not chain:
        return None
    placed = list(enumerate(chain, start=1))
    series = [
        Series(
            name=_NAMES[kind],
            hue=_HUES[kind],
            points=tuple((x, link.gain) for x, link in placed if link.kind == kind),
            line=False,
            dots=True,
            names=_named(chain, kind),
            ops=tuple(link.end for link in chain if link.kind == kind),
            stems=1.0 if len(chain) <= _FEW_DOTS else None,
        )
        for kind in _HUES
        if any(link.kind == kind for link in chain)
    ]
    series.append(
        Series(
            name=say("product from the loss back to here"),
            hue="plain",
            points=tuple((x, link.product) for x, link in placed),
            thick=True,
        )
    )
    panel = Panel(
        title="",
        # There is no piece 0.
        x=Axis(
            label=say("piece of the chain, from the input to the loss"),
            whole=True,
            low=0.5,
            high=len(chain) + 0.5,
        ),
        y=Axis(label=say("factor"), log=True),
        series=tuple(series),
        rules=(Rule(at=1.0, label="1"),),
        notes=tuple(
            Note(
                x=x,
                y=link.gain,
                text=join(" ", (link.name, scientific(link.gain))),
                stem=1.0 if len(chain) <= _FEW_DOTS else None,
            )
            for x, link in _largest(chain)
        ),
    )
    return Figure(
        key="chain",
        title=say("The chain: one factor per block, and their product"),
        caption=say(
            "A dot is ‖∂L/∂x_in‖ / ‖∂L/∂x_out‖ of one piece that all of the gradient "
            "passes; below 1 it shrinks the gradient on its way back. The line is the "
            "product of all factors from the loss back to that piece: read it from "
            "right to left. Both on one log axis (Glorot & Bengio 2010, eq. 6; He et "
            "al. 2016, arXiv:1603.05027, eq. 5). The largest factors are named, as far "
            "as there is room; the table of the chain names all."
        ),
        panels=(panel,),
        height=0.36,
        main=main,
    )


def _named(chain: Sequence[Link], kind: str) -> tuple[str, ...]:
    # Names to point at would outweigh the rest of a page of a very deep net.
    if len(chain) > _MOST_NAMES:
        return ()
    return tuple(join(": ", (x.name, scientific(x.gain))) for x in chain if x.kind == kind)


def _largest(chain: Sequence[Link]) -> list[tuple[int, Link]]:
    """The factors farthest from 1, in either direction, with their places."""
    far = [
        (abs(math.log(link.gain)), x, link)
        for x, link in enumerate(chain, start=1)
        if link.gain > 0 and _number(link.gain)
    ]
    far.sort(key=lambda one: (-one[0], one[1]))
    return [(x, link) for size, x, link in far[:_MOST_NOTES] if size > math.log(1.5)]


def chain_words(chain: Sequence[Link]) -> tuple[str, ...]:
    """What the chain says, computed from its numbers; empty for no chain."""
    if not chain:
        return ()
    first, last = chain[0], chain[-1]
    whole = first.product
    said = [_becomes(whole, last.end, first.start)]
    blocks = [link for link in chain if link.kind == "block" and _number(link.gain)]
    # The last layer's factor is the loss's own, and one of so few would speak for all.
    layers = [link for link in chain[:-1] if link.kind == "layer" and _number(link.gain)]
    pieces = blocks or layers
    if len(pieces) > 1:
        least, most = (f(pieces, key=lambda link: link.gain) for f in (min, max))
        said.append(
            say(
                "Each of the {pieces} multiplies it by {mean} on average (geometric mean): from "
                "{least} at {least_at} to {most} at {most_at}.",
                pieces=count(len(blocks), "block")
                if blocks
                else say("{layers} before the last", layers=count(len(layers), "layer")),
                mean=scientific(log_mean(link.gain for link in pieces)),
                least=scientific(least.gain),
                least_at=least.name,
                most=scientific(most.gain),
                most_at=most.name,
            )
        )
    lost = [link for link in chain if not math.isfinite(link.gain)]
    if lost:
        said.append(
            say(
                "No factor can be told of {pieces} (first {name}, counted from the loss): "
                "the gradient there is zero or not finite.",
                pieces=count(len(lost), "piece"),
                name=lost[-1].name,
            )
        )
    return tuple(said)


def chain_table(chain: Sequence[Link]) -> Table:
    """One row per piece, from the loss back to the input."""
    return Table(
        title=say("The chain, from the loss back to the input"),
        head=(
            say("Piece"),
            say("Kind"),
            say("Depth"),
            "‖∂L/∂x_out‖",
            "‖∂L/∂x_in‖",
            say("Factor"),
            say("Product"),
        ),
        rows=tuple(
            (
                link.name,
                word(link.kind),
                str(link.depth),
                *map(scientific, (link.gradient_out, link.gradient_in, link.gain, link.product)),
            )
            for link in reversed(chain)
        ),
        words=2,
        note=say("Depth: weighted layers from the input to its end, on the longest way."),
        tall=True,
    )


def sparkline(values: Sequence[float]) -> str:
    """The values as one row of blocks on a log scale; a blank where there is no number."""
    logs = [math.log10(v) if _number(v) and v > 0 else None for v in values]
    good = [v for v in logs if v is not None]
    low, high = min(good, default=0.0), max(good, default=0.0)
    top = len(SPARK) - 1
    return "".join(
        " "
        if v is None
        else SPARK[round((v - low) / (high - low) * top) if high > low else top // 2]
        for v in logs
    )


def power(value: float) -> str:
    """``3.1e-28`` -> ``3.1·10⁻²⁸``; numbers of common size as everywhere."""
    text = scientific(value)
    digits, mark, exponent = text.partition("e")
    return f"{digits}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}" if mark else text


def _becomes(whole: float, end: str, start: str) -> Message:
    if math.isnan(whole):
        return say(
            "From {end} back to {start} no product can be told: the gradient at one end is zero "
            "or not finite.",
            end=end,
            start=start,
        )
    if whole == 0:
        return say(
            "From {end} back to {start} nothing is left of the gradient.", end=end, start=start
        )
    if math.isinf(whole):
        return say(
            "From {end} back to {start} the gradient grows beyond every number.",
            end=end,
            start=start,
        )
    if 0.5 <= whole <= 2:
        return say(
            "From {end} back to {start} the gradient keeps its size: {part} of it arrives.",
            end=end,
            start=start,
            part=power(whole),
        )
    if whole < 1:
        return say(
            "From {end} back to {start} the gradient shrinks to {part} of its norm.",
            end=end,
            start=start,
            part=power(whole),
        )
    return say(
        "From {end} back to {start} the gradient grows to {times} times its norm.",
        end=end,
        start=start,
        times=power(whole),
    )


def _number(value: float) -> bool:
    return math.isfinite(value)
