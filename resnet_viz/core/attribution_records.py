"""Rows of attributions; ``record_columns.COLUMNS`` says what every column means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnet_viz.core.trust import Trust

if TYPE_CHECKING:
    from resnet_viz.core.attribution import Attributions

Row = dict[str, object]
_UNTESTED = Trust()


def attribution_records(attributions: Attributions) -> list[Row]:
    """Table ``attributions``: one row per map."""
    names = dict(enumerate(picture.name for picture in attributions.pictures))
    rows: list[Row] = []
    for row in attributions.maps:
        trust = row.trust or _UNTESTED
        rows.append(
            {
                "input": row.input,
                "picture": names.get(row.input, ""),
                "source": row.source,
                "method": row.method,
                "target": row.target,
                "rank": row.rank,
                "score": row.score,
                "probability": row.probability,
                "layer": row.layer,
                "signed": row.signed,
                "delta": row.delta,
                "relative_delta": row.relative_delta,
                "deletion_auc": trust.deletion.auc if trust.deletion else None,
                "insertion_auc": trust.insertion.auc if trust.insertion else None,
                "random_auc": trust.deletion.random_auc if trust.deletion else None,
                "infidelity": trust.infidelity,
                "max_sensitivity": trust.max_sensitivity,
                "depends_on_weights": trust.depends_on_weights,
                "forced": row.forced,
                "verdict": row.verdict,
            }
        )
    return rows
