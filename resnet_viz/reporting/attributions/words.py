"""What is said of a map, each number written once: for page, picture and terminal."""

from __future__ import annotations

from resnet_viz.core.attribution import Attribution, Attributions, Bar
from resnet_viz.core.message import Joined, Message, join, say, sentences
from resnet_viz.core.trust import Curve, Trust
from resnet_viz.core.units import count, nbytes, percent, scientific
from resnet_viz.core.units import shape as shape_text
from resnet_viz.reporting.attributions.papers import paper_of

__all__ = [
    "bar_css",
    "column_of",
    "facts_of",
    "figures_of",
    "input_name",
    "line_of",
    "meanings_of",
    "paper_of",
    "resolution_of",
    "score_of",
    "score_parts",
    "verdict_of",
]


def input_name(found: Attributions, index: int) -> str:
    """The name of an input's picture, or its number."""
    return (
        found.pictures[index].name if index < len(found.pictures) else say("input {n}", n=index + 1)
    )


def score_of(item: Attribution) -> Message:
    """``score 12.3, probability 45.6 %``, as far as they are known."""
    return join(", ", score_parts(item))


def score_parts(item: Attribution) -> list[Message]:
    """Score and probability, as far as they are known."""
    parts = []
    if item.score is not None:
        parts.append(say("score {score}", score=scientific(item.score)))
    if item.probability is not None:
        parts.append(say("probability {probability}", probability=percent(item.probability)))
    return parts


def column_of(item: Attribution) -> tuple[str, str, int]:
    """What tells the columns of a contact sheet apart: method, place, rank of the target."""
    return item.method, item.layer or item.source, item.rank


def verdict_of(item: Attribution) -> tuple[str, str]:
    """How far to trust it as its tests say, and what else is said; each once, either empty.

    What the method's values mean is left to ``meanings_of``, which says it once for all maps.
    """
    tested = item.trust.verdict if item.trust is not None else ""
    # Why it was forced stands beside it in red already.
    told = (
        tested,
        item.says,
        say("Forced, and not to be believed: {forced}.", forced=item.forced) if item.forced else "",
        say("The layer has {places} places.", places=places)
        if (places := resolution_of(item))
        else "",
    )
    if isinstance(item.verdict, Joined):
        kept = (s for s in item.verdict.values.values() if isinstance(s, str) and s not in told)
        return tested, sentences(*kept)
    rest = item.verdict
    for text in filter(None, told):
        rest = rest.replace(text, " ")
    return tested, " ".join(rest.split())


def bar_css(bar: Bar, item: Attribution) -> str:
    """The colour of a bar: against the target, for it, or how much where there is no sign."""
    return "neg" if bar.value < 0 else "pos" if item.signed else "much"


def meanings_of(found: Attributions) -> list[tuple[str, str, str]]:
    """Of each method its title, what its values mean, and its paper: once, not once per map."""
    said = {m.method: (m.method, m.says, paper_of(m.name, m.method)) for m in found.maps}
    return [row for row in said.values() if row[1] or row[2]]


def resolution_of(item: Attribution) -> str:
    """How many places the layer has; its map is enlarged, so only its values tell."""
    if not item.layer or item.heatmap is None or item.values is None:
        return ""
    return shape_text(item.values.shape[-2:]) if len(item.values.shape) >= 2 else ""


def figures_of(item: Attribution) -> list[tuple[str, str]]:
    """The figures of trust, as labels and texts."""
    rows: list[tuple[str, str]] = []
    if item.delta is not None:
        rows.append((say("Completeness delta"), _delta(item)))
    trust = item.trust or Trust()
    if trust.infidelity is not None:
        rows.append((say("Infidelity"), scientific(trust.infidelity)))
    if trust.max_sensitivity is not None:
        rows.append((say("Max-sensitivity"), scientific(trust.max_sensitivity)))
    if trust.deletion is not None:
        rows.append((say("Deletion AUC"), _area(trust.deletion)))
    if trust.insertion is not None:
        rows.append((say("Insertion AUC"), _area(trust.insertion)))
    if trust.depends_on_weights is not None:
        said = say("it changes") if trust.depends_on_weights else say("it hardly changes")
        rows.append((say("With weights drawn anew"), said))
    return rows


def facts_of(found: Attributions) -> list[tuple[str, str]]:
    """How it ran, as labels and texts."""
    rows: list[tuple[str, str]] = [
        (say("device"), found.device),
        (
            say("rows per forward"),
            say("at most {rows}", rows=f"{found.rows:,}") if found.rows else "",
        ),
        (say("peak memory"), nbytes(found.peak_bytes) if found.peak_bytes else ""),
        (say("settings"), found.settings),
    ]
    return [(label, text) for label, text in rows if text]


def _delta(item: Attribution) -> str:
    text = scientific(item.delta or 0.0)
    relative = item.relative_delta
    if relative is None:
        return text
    if relative < 0.001:
        return say("{delta} (less than 0.1 %)", delta=text)
    return f"{text} ({percent(relative)})"


def _area(curve: Curve) -> str:
    return say(
        "{auc} (random {random})", auc=scientific(curve.auc), random=scientific(curve.random_auc)
    )


def line_of(found: Attributions) -> str:
    """All of it in one line: how many maps, of what, by which methods."""
    inputs = len({m.input for m in found.maps})
    methods = list(dict.fromkeys(m.method for m in found.maps))
    targets = len({(m.input, m.target) for m in found.maps})
    return say(
        "attributions: {maps} of {inputs} and {targets} by {methods}",
        maps=count(len(found.maps), "map"),
        inputs=count(inputs, "input"),
        targets=count(targets, "target"),
        methods=", ".join(methods),
    )
