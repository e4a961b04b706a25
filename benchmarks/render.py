"""How fast a drawing is there and how fast it moves, against ``dot`` and other tools.

    python benchmarks/render.py                 # everything, about 15 minutes
    python benchmarks/render.py layout size     # some of: layout dot size paint peers

Needs Chromium and playwright for ``paint`` and ``peers``, ``dot`` for ``dot``; torchview and
torchvista where they are installed (a folder with them may be put on PYTHONPATH).
"""

from __future__ import annotations

import gc
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from render_browser import Seen, look
from render_nets import LAYERS, traced
from render_peers import PEERS

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting import render
from resnet_viz.reporting.drawing import diagram as drawing
from resnet_viz.reporting.layout.coordinates import coordinates

HERE = Path(__file__).resolve().parent
LIMIT = 40.0  # seconds that another tool has
ROUNDS = 5
ALL = RenderOptions(fold_repeats=False)
FOLDED = RenderOptions(diagram_only=True)
WHOLE = RenderOptions(diagram_only=True, fold_repeats=False, collapse="none")
LARGEST = f"mixture{LAYERS[-1]}"


@dataclass(frozen=True)
class Row:
    """One figure, and the bar it has to be under, where there is one."""

    name: str
    value: float
    unit: str
    bar: float = math.inf
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the figure is under its bar."""
        return self.value <= self.bar

    def __str__(self) -> str:
        bar = "" if math.isinf(self.bar) else f"(bar {self.bar:g})"
        verdict = "" if math.isinf(self.bar) else "ok" if self.ok else "ABOVE THE BAR"
        return f"{self.name:44} {self.value:10.4g} {self.unit:3} {bar:12} {verdict:14} {self.note}"


LAYOUT = ("group_ops", "lift", "_plans", "spacing")


def _laid_out(report: Report) -> tuple[float, float]:
    """CPU seconds from a graph to coordinates with all boxes open: of the layout, and of all.

    The layout is boxes, pieces of edges, ranks, lanes and coordinates; beside it there are
    glyphs, words and colours.
    """
    spent = 0.0

    def clocked(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            nonlocal spent
            began = time.process_time()
            try:
                return work(*args, **options)
            finally:
                spent += time.process_time() - began

        return run

    parts = {name: clocked(getattr(drawing, name)) for name in LAYOUT}
    began = time.process_time()
    with patch.multiple(drawing, **parts):
        data = drawing.diagram(report, ALL)
    clocked(coordinates)(data, [True] * len(data["groups"]))
    return spent, time.process_time() - began


def layout() -> Iterator[Row]:
    """CPU seconds of the layout, and of all that a drawing is made of, every op drawn."""
    bars = {"resnet152": 0.05, LARGEST: 5.0}
    names = ["resnet152", "densenet201", *(f"mixture{n}" for n in LAYERS)]
    reports = {name: traced(name) for name in names}
    # Nobody has all these graphs in memory: the garbage collector shall not walk them.
    gc.collect()
    gc.freeze()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for round_ in range(ROUNDS + 1):
        for name, report in reports.items():
            seconds = _laid_out(report)
            # The first run fills caches (fonts, imports) and is not counted.
            if round_ and (not name.startswith("mixture") or round_ <= 3):
                taken[name].append(seconds)
    for name, found in taken.items():
        middle = statistics.median(layout for layout, _ in found)
        whole = statistics.median(everything for _, everything in found)
        note = f"{len(reports[name].graph):,} ops; with glyphs and words {whole:.3g} s"
        yield Row(f"layout {name}", middle, "s", bars.get(name, math.inf), note)
    sizes = [math.log(len(reports[f"mixture{n}"].graph)) for n in LAYERS]
    times = [math.log(statistics.median(s for s, _ in taken[f"mixture{n}"])) for n in LAYERS]
    slope = statistics.linear_regression(sizes, times).slope
    yield Row("layout grows as ops to the power of", slope, "", 1.15)


def dot() -> Iterator[Row]:
    """Wall seconds of ``dot -Tsvg`` on the same graphs, all ops drawn."""
    if shutil.which("dot") is None:
        print("dot: not installed")
        return
    for name in ("resnet50", "resnet152", "densenet201", "mixture5"):
        source = render(traced(name), "dot", WHOLE)
        yield _limited(f"dot {name}", ["dot", "-Tsvg", "-o", "/dev/null"], source)


def _limited(name: str, command: list[str], given: bytes = b"") -> Row:
    began = time.perf_counter()
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return Row(name, math.inf, "s", note=f"no result in {LIMIT:g} s")
    note = "" if not done.returncode else done.stderr.decode()[-60:].strip().replace("\n", " ")
    return Row(name, time.perf_counter() - began, "s", note=note)


def size() -> Iterator[Row]:
    """Kilobytes of pages."""
    for name, options, bar in (
        ("resnet50", FOLDED, 400),
        ("resnet1202", FOLDED, 2000),
        ("resnet1202", WHOLE, 2000),
        (LARGEST, FOLDED, math.inf),
    ):
        what = "every op wanted" if options is WHOLE else "as it is by default"
        page = render(traced(name), "html", options)
        yield Row(f"diagram {name}, {what}", len(page) / 1000, "kB", bar)
    from resnet_viz.pipeline.reports import report

    yield Row("report resnet50", len(render(report("resnet50"), "html")) / 1000, "kB", 500)


def paint() -> Iterator[Row]:
    """First paint, until scripts are at work, and frames while the drawing is dragged."""
    bars = {"resnet50": 500, LARGEST: 1500}
    with tempfile.TemporaryDirectory() as folder:
        pages = {
            name: Path(folder) / f"{name}.html" for name in ("resnet50", "resnet1202", LARGEST)
        }
        for name, file in pages.items():
            file.write_bytes(render(traced(name), "html", FOLDED))
        for name, seen in look(pages, ROUNDS, "html[data-ready]", "#graph").items():
            yield from _rows(name, seen, bars.get(name, math.inf))


def _rows(name: str, seen: list[Seen], bar: float) -> Iterator[Row]:
    def middle(values: list[float]) -> float:
        return statistics.median(values)

    pans = [frame for s in seen for frame in s.frames]
    yield Row(f"first paint {name}", middle([s.paint for s in seen]), "ms", bar)
    yield Row(f"ready {name}", middle([s.ready for s in seen]), "ms")
    if pans:
        late = statistics.quantiles(pans, n=20)[-1]
        at_most = 50 if bar < math.inf else bar
        yield Row(f"frame {name}", middle(pans), "ms", at_most, f"95 % within {late:.0f} ms")


def peers() -> Iterator[Row]:
    """Files of other tools: until they are written, their size, and in the browser."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("resnet50", "resnet1202", "mixture5"):
            for tool, (_, suffix) in PEERS.items():
                file = Path(folder) / f"{tool}-{name}.{suffix}"
                command = [sys.executable, str(HERE / "render_peers.py"), tool, name, str(file)]
                row = _limited(f"{tool} {name}", command)
                yield row
                if row.note or not file.exists():
                    # Where it failed, what it left is no drawing of the net.
                    continue
                yield Row(f"{tool} {name}, file", file.stat().st_size / 1000, "kB")
                pages = {f"{tool} {name}": file}
                drawn = "svg" if suffix == "svg" else 'svg g[class^="node"]'
                # A picture is not moved by hand.
                moved = "" if suffix == "svg" else "svg"
                for title, seen in look(pages, 3, drawn, moved, limit=LIMIT).items():
                    yield from _rows(title, seen, math.inf)


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "layout": layout,
    "size": size,
    "paint": paint,
    "dot": dot,
    "peers": peers,
}


def main(names: list[str]) -> int:
    if unknown := set(names) - set(PARTS):
        print(f"unknown: {', '.join(unknown)}; known: {', '.join(PARTS)}")
        return 2
    ok = True
    for name in names or PARTS:
        for row in PARTS[name]():
            print(row, flush=True)
            ok = ok and row.ok
    return int(not ok)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
