"""A new output format in twenty lines: the skip paths as CSV.

resnet-viz diagram resnet18 --format examples/renderer.py:skips_as_csv -o skips.csv
"""

import csv
import io

from resnet_viz import RenderOptions, Report


def skips_as_csv(report: Report, options: RenderOptions) -> bytes:
    """One line per skip path, with its share of the gradient where that was measured."""
    flow = report.gradient_flow
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["fork", "join", "kind", "ops past", "share"])
    for skip in report.structure.skips:
        share = flow.share_of(skip) if flow else None
        table.writerow([skip.fork, skip.join, skip.kind, len(skip.branch), share])
    return text.getvalue().encode()
