"""``compared``: two studies, and which part of one model is which part of the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from resnet_viz.core.comparison import Comparison
from resnet_viz.core.errors import UserError
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.report import Report
from resnet_viz.study.asked import Study
from resnet_viz.study.running import analyse


def compared(a: Study, b: Study, progress: Progress = SILENT) -> Comparison:
    """Both reports and their alignment; a section that one model lacks is listed in its report.

    Args:
        a: What is asked of the first model.
        b: Of the second.
        progress: Who listens.

    Raises:
        TraceError: If a ``forward`` raises.
        UserError: If an optimizer was given as an object.
        ResnetVizError: For whatever else a user can cause.
    """
    from resnet_viz.analysis.align import align
    from resnet_viz.analysis.differences import differences

    if not (a.optimizer is None or isinstance(a.optimizer, str)):
        raise UserError(
            f"optimizer {type(a.optimizer).__name__} was given: it holds the parameters of one "
            "model; for two give text, as in adamw:lr=1e-3"
        )
    if isinstance(a.data, Iterator) and a.data is b.data:
        # It yields once, and both are measured on the same.
        data = list(islice(a.data, a.batches))
        a, b = replace(a, data=data), replace(b, data=data)
    first, second = analyse(a, progress), analyse(b, progress)
    if first.graph.name == second.graph.name:
        first, second = _called(first, "A"), _called(second, "B")
    progress.start("matching the two by block")
    both = first.graph, first.structure, second.graph, second.structure
    alignment = align(*both)
    told = differences(*both, alignment)
    progress.finish()
    common = replace(first.provenance, model=f"{first.graph.name}, {second.graph.name}")
    return Comparison(a=first, b=second, alignment=alignment, differences=told, provenance=common)


def _called(report: Report, side: str) -> Report:
    name = f"{report.graph.name} ({side})"
    return replace(report, graph=replace(report.graph, name=name))
