"""What is said of a map, each number written once: for page, picture and terminal."""

from __future__ import annotations

from resnet_viz.core.attribution import Attribution, Attributions, Bar
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
    "verdict_of",
]


def input_name(found: Attributions, index: int) -> str:
    """The name of an input's picture, or its number."""
    return found.pictures[index].name if index < len(found.pictures) else f"input {index + 1}"


def score_of(item: Attribution) -> str:
    """``score 12.3, probability 45.6 %``, as far as they are known."""
    parts = []
    if item.score is not None:
        parts.append(f"score {scientific(item.score)}")
    if item.probability is not None:
        parts.append(f"probability {percent(item.probability)}")
    return ", ".join(parts)


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
        f"Forced, and not to be believed: {item.forced}." if item.forced else "",
        f"The layer has {places} places." if (places := resolution_of(item)) else "",
    )
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
    rows = []
    if item.delta is not None:
        rows.append(("Completeness delta", _delta(item)))
    trust = item.trust or Trust()
    if trust.infidelity is not None:
        rows.append(("Infidelity", scientific(trust.infidelity)))
    if trust.max_sensitivity is not None:
        rows.append(("Max-sensitivity", scientific(trust.max_sensitivity)))
    for name, curve in (("Deletion", trust.deletion), ("Insertion", trust.insertion)):
        if curve is not None:
            rows.append((f"{name} AUC", _area(curve)))
    if trust.depends_on_weights is not None:
        said = "it changes" if trust.depends_on_weights else "it hardly changes"
        rows.append(("With weights drawn anew", said))
    return rows


def facts_of(found: Attributions) -> list[tuple[str, str]]:
    """How it ran, as labels and texts."""
    rows = [
        ("device", found.device),
        ("rows per forward", f"at most {found.rows:,}" if found.rows else ""),
        ("peak memory", nbytes(found.peak_bytes) if found.peak_bytes else ""),
        ("settings", found.settings),
    ]
    return [(label, text) for label, text in rows if text]


def _delta(item: Attribution) -> str:
    text = scientific(item.delta or 0.0)
    relative = item.relative_delta
    if relative is None:
        return text
    return f"{text} ({'less than 0.1 %' if relative < 0.001 else percent(relative)})"


def _area(curve: Curve) -> str:
    return f"{scientific(curve.auc)} (random {scientific(curve.random_auc)})"


def line_of(found: Attributions) -> str:
    """All of it in one line: how many maps, of what, by which methods."""
    inputs = len({m.input for m in found.maps})
    methods = list(dict.fromkeys(m.method for m in found.maps))
    targets = len({(m.input, m.target) for m in found.maps})
    return (
        f"attributions: {count(len(found.maps), 'map')} of {count(inputs, 'input')} and "
        f"{count(targets, 'target')} by {', '.join(methods)}"
    )
