"""The raw numbers as NPZ: what captum gave, samples first, for NumPy and nothing else.

Keys are ``method/rank/where``: what a user types for the method, which of several targets,
and the name of an input or the path of a layer. No array holds objects, so the file loads
with ``allow_pickle=False``.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from resnet_viz.core.attribution import Attribution, Attributions
from resnet_viz.core.errors import UserError
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.attributions.sheet import attributions_of
from resnet_viz.reporting.attributions.words import input_name

if TYPE_CHECKING:
    import numpy as np

_UNSAFE = str.maketrans(dict.fromkeys('/\\:*?"<>|' + "".join(map(chr, range(32))), "_"))


def render_npz(value: Report | Attributions, _options: RenderOptions) -> bytes:
    """All arrays as a compressed NPZ file.

    ``method/rank/where`` is (samples, …), float32 or float64, NaN for a sample the method
    has no values of; ``inputs`` are the samples' names; ``targets``, ``scores`` and
    ``probabilities`` are (samples, ranks); ``relevance/…`` is per op and operand.

    Raises:
        UserError: If there are no values: attributions read from JSON have none.
    """
    import numpy as np

    found = attributions_of(value)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {**_tables(found), **_maps(found), **_relevance(found)}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _maps(found: Attributions) -> dict[str, np.ndarray]:
    groups: dict[str, list[Attribution]] = {}
    for item in found.maps:
        if item.values is not None:
            groups.setdefault(_key(item), []).append(item)
    if found.maps and not groups:
        raise UserError(
            "these attributions have no values to write: JSON leaves them out; compute them anew"
        )
    order = {index: k for k, index in enumerate(_indices(found))}
    return {key: _stacked(items, order) for key, items in groups.items()}


def _stacked(items: list[Attribution], order: dict[int, int]) -> np.ndarray:
    """Values by input; inputs of other sizes than the first are padded with NaN at their ends."""
    import numpy as np

    values = {order[m.input]: m.values.numpy() for m in items if m.values is not None}
    shapes = [array.shape for array in values.values()]
    dims = max(map(len, shapes))
    shape = tuple(max(s[d] for s in shapes if len(s) == dims) for d in range(dims))
    out: np.ndarray = np.full((len(order), *shape), np.nan, next(iter(values.values())).dtype)
    for row, array in values.items():
        out[row][tuple(slice(size) for size in array.shape)] = array
    return out


def _key(item: Attribution) -> str:
    method = (item.name or item.method.replace(" ", "_")).translate(_UNSAFE)
    # Paths come from a model: a name in a ZIP file must not lead out of a folder.
    where = (item.layer or item.source or "input").translate(_UNSAFE)
    return f"{method}/{item.rank}/{where}"


def _indices(found: Attributions) -> list[int]:
    return sorted({m.input for m in found.maps})


def _tables(found: Attributions) -> dict[str, np.ndarray]:
    import numpy as np

    indices, ranks = _indices(found), sorted({m.rank for m in found.maps})
    first: dict[tuple[int, int], Attribution] = {}
    for item in found.maps:
        first.setdefault((item.input, item.rank), item)

    def table(name: str) -> np.ndarray:
        rows = [[getattr(first.get((i, r)), name, None) for r in ranks] for i in indices]
        numbers = [[np.nan if v is None else v for v in row] for row in rows]
        return np.array(numbers, dtype=np.float64).reshape(len(indices), len(ranks))

    words = [[first[i, r].target if (i, r) in first else "" for r in ranks] for i in indices]
    return {
        "inputs": np.array([input_name(found, i) for i in indices], dtype=np.str_),
        "targets": np.array(words, dtype=np.str_).reshape(len(indices), len(ranks)),
        "scores": table("score"),
        "probabilities": table("probability"),
    }


def _relevance(found: Attributions) -> dict[str, np.ndarray]:
    import numpy as np

    relevance = found.relevance
    if relevance is None:
        return {}
    ops, operands = relevance.ops, relevance.operands
    return {
        "relevance/ops": np.array([str(r.op) for r in ops], dtype=np.str_),
        "relevance/signed": np.array([r.amount.signed for r in ops], dtype=np.float64),
        "relevance/absolute": np.array([r.amount.absolute for r in ops], dtype=np.float64),
        "relevance/joins": np.array([str(o.join) for o in operands], dtype=np.str_),
        "relevance/sources": np.array([str(o.src) for o in operands], dtype=np.str_),
        "relevance/roles": np.array([o.role for o in operands], dtype=np.str_),
        "relevance/operands": np.array([o.amount.signed for o in operands], dtype=np.float64),
    }
