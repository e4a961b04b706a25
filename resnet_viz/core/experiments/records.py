"""The raw numbers of an experiment as flat rows: what CSV holds and pandas takes.

Each result has a main table, which ``.csv`` writes, and may have others:

- ``Degradation``: ``epochs`` (one row per net, seed and epoch), ``gradients`` (per net,
  seed, step and layer), ``lesions`` (per net, seed and lesion).
- ``IdentityMapping``: ``blocks`` (one row per block), ``forms`` (per form of block),
  ``perturbed``.
- ``DepthStudy``: ``runs`` (per net and depth), ``layers`` (per net, depth and weight),
  ``blocks`` (per net, depth and block, from the last back), ``steps`` (per net,
  optimizer and step).
- ``LesionStudy``: ``lesions`` (one row per lesion).
- ``History``: ``parameters`` (one row per watched step and parameter), ``steps``,
  ``activations``, ``findings``.
- ``Comparison``: ``pairs`` (one row per pair of parts), ``differences``, ``findings`` (of both).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from resnet_viz.core.comparison import Comparison
from resnet_viz.core.comparison_records import COMPARISON_TABLES
from resnet_viz.core.errors import UserError
from resnet_viz.core.experiments.common import Result
from resnet_viz.core.experiments.degradation import Degradation, TrainedNet
from resnet_viz.core.experiments.depth import DepthRun, DepthStudy, FirstSteps
from resnet_viz.core.experiments.identity import IdentityMapping
from resnet_viz.core.experiments.lesions import LesionStudy
from resnet_viz.core.history import History
from resnet_viz.core.history_records import HISTORY_TABLES

Record: TypeAlias = dict[str, Any]


def tables_of(value: Result) -> tuple[str, ...]:
    """Names of the tables of this result, the main one first."""
    return tuple(_TABLES[type(value)])


def records(value: Result, table: str = "") -> list[Record]:
    """Flat dicts, one per row; ``pandas.DataFrame`` takes them as they are.

    Args:
        value: An experiment's result.
        table: Name of a table; the main one where empty.

    Raises:
        UserError: If the result has no such table.
    """
    tables = _TABLES[type(value)]
    name = table or next(iter(tables))
    if name not in tables:
        raise UserError(f"no table {table!r} in {type(value).__name__}; known: {' '.join(tables)}")
    return list(tables[name](value))


def _net(net: TrainedNet) -> Record:
    return {
        "net": net.label, "variant": net.variant, "depth": net.depth,
        "residual": net.residual, "seed": net.seed,
    }  # fmt: skip


def _epochs(value: Degradation) -> Iterator[Record]:
    for net in value.nets:
        for e in net.epochs:
            yield _net(net) | {
                "epoch": e.number, "train_loss": e.train_loss, "train_error": e.train_error,
                "eval_train_loss": e.eval_train_loss, "eval_train_error": e.eval_train_error,
                "test_loss": e.test_loss, "test_error": e.test_error,
                "learning_rate": e.learning_rate,
            }  # fmt: skip


def _gradients(value: Degradation) -> Iterator[Record]:
    for net in value.nets:
        for g in net.gradients:
            for i, (name, norm) in enumerate(zip(g.layers, g.norms, strict=False), start=1):
                yield _net(net) | {"step": g.step, "layer": i, "weight": name, "l2": norm}


def _net_lesions(value: Degradation) -> Iterator[Record]:
    for net in value.nets:
        for row in _lesions(net.lesions) if net.lesions is not None else ():
            yield _net(net) | row


def _lesions(value: LesionStudy) -> Iterator[Record]:
    for x in value.lesions:
        yield {
            "kind": x.kind, "blocks": " ".join(x.blocks), "count": len(x.blocks),
            "draw": x.draw, "tau": x.tau, "loss": x.loss, "error": x.error,
        }  # fmt: skip


def _blocks(value: IdentityMapping) -> Iterator[Record]:
    for b in value.blocks:
        values = b.singular_values
        yield {
            "block": b.path, "stage": b.stage, "index": b.index, "silent": b.silent,
            "difference": b.difference, "singular_values": len(values),
            "largest": values[0] if values else None, "smallest": values[-1] if values else None,
        }  # fmt: skip


def _forms(value: IdentityMapping) -> Iterator[Record]:
    for f in value.forms:
        yield {
            "block": f.block, "order": f.order, "silenced": f.silenced,
            "difference": f.difference, "train_difference": f.train_difference,
            "positive": f.positive, "signed": f.signed,
        }  # fmt: skip


def _perturbed(value: IdentityMapping) -> Iterator[Record]:
    for scale, change in value.perturbed:
        yield {"scale": scale, "change": change}


def _kind(run: DepthRun | FirstSteps) -> Record:
    kind = run.kind
    return {
        "activation": kind.activation, "init": kind.init, "norm": kind.norm,
        "residual": kind.residual, "depth": run.depth, "seed": run.seed,
    }  # fmt: skip


def _runs(value: DepthStudy) -> Iterator[Record]:
    for run in value.runs:
        norms = run.weights.norms
        yield _kind(run) | {
            "first_norm": norms[0] if norms else None,
            "last_norm": norms[-1] if norms else None,
            "first_over_last": run.weights.first_over_last if norms else None,
            "product": run.products[-1] if run.products else None,
            "expected": run.expected[-1] if run.expected else None,
            "per_block": run.per_block if run.outputs else None,
            "per_wrapped_block": run.per_wrapped_block if run.outputs else None,
            "textbook": run.textbook,
            "lost_after": run.lost_after,
            "source": run.source,
        }


def _layers(value: DepthStudy) -> Iterator[Record]:
    for run in value.runs:
        for i, (name, norm) in enumerate(
            zip(run.weights.layers, run.weights.norms, strict=False), start=1
        ):
            yield _kind(run) | {"layer": i, "weight": name, "l2": norm}


def _chain(value: DepthStudy) -> Iterator[Record]:
    for run in value.runs:
        for i, (factor, product) in enumerate(
            zip(run.factors, run.products, strict=False), start=1
        ):
            yield _kind(run) | {"blocks_back": i, "factor": factor, "product": product}


def _steps(value: DepthStudy) -> Iterator[Record]:
    for run in value.steps:
        for i, loss in enumerate(run.losses):
            ratios = run.updates[i] if i < len(run.updates) else ()
            yield _kind(run) | {
                "optimizer": run.optimizer, "learning_rate": run.learning_rate, "step": i,
                "loss": loss, "first_update_ratio": ratios[0] if ratios else None,
                "last_update_ratio": ratios[-1] if ratios else None,
            }  # fmt: skip


_TABLES: dict[type, dict[str, Callable[[Any], Iterator[Record]]]] = {
    Degradation: {"epochs": _epochs, "gradients": _gradients, "lesions": _net_lesions},
    IdentityMapping: {"blocks": _blocks, "forms": _forms, "perturbed": _perturbed},
    DepthStudy: {"runs": _runs, "layers": _layers, "blocks": _chain, "steps": _steps},
    LesionStudy: {"lesions": _lesions},
    History: HISTORY_TABLES,
    Comparison: COMPARISON_TABLES,
}
