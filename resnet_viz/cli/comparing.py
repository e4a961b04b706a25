"""``compare A B``: two studies with the same options, and one page of both."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from resnet_viz.cli import drawing_options, gradient_options, options, writing
from resnet_viz.cli.terminal import showing


def write_comparison(given: dict[str, Any]) -> bool:
    """Writes or prints the comparison, and says whether the two are equal."""
    from resnet_viz.measuring.processes.distributed import launched_rank
    from resnet_viz.reporting import EXPERIMENT_RENDERERS
    from resnet_viz.study import compared

    began = time.perf_counter()
    given["model"] = given.pop("a")
    first = options.study(given, gradient_options.sections(given))
    second = replace(first, model=given.pop("b"))
    asked = writing.wanted(given, None, lambda: "comparison")
    writing.check(asked, EXPERIMENT_RENDERERS)
    drawing = drawing_options.drawing(given)
    others = bool(launched_rank())
    with showing(quiet=asked.quiet or others) as progress:
        made = compared(first, second, progress)
        if others:
            # Of several processes the first writes.
            return made.equal
        drawn = writing.draw(made, asked, drawing, progress, began)
    drawn.print()
    if drawn.files and not asked.quiet:
        for report in (made.a, made.b):
            writing.say_findings(report, report.graph.name)
    drawn.say(asked)
    return made.equal
