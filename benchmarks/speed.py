"""The speed this project promises, measured. See README.md in this folder."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness import Ratio, pairs, process, timed

HERE = Path(__file__).resolve().parent


def trace() -> Ratio:
    import torch

    from resnet_viz.sources.variants import build
    from resnet_viz.tracing.tracer import trace_model

    torch.set_num_threads(1)
    image = torch.zeros(1, 3, 224, 224)

    def plain() -> float:
        model = build("resnet152").eval().to("meta")
        given = image.to("meta")
        with torch.no_grad():
            return timed(lambda: model(given))

    def measured() -> float:
        model = build("resnet152").eval()
        return timed(lambda: trace_model(model, (image,)))

    return pairs("trace", plain, measured, bar=1.5)


def help_() -> Ratio:
    return pairs(
        "help",
        lambda: process("-c", "import click, rich"),
        lambda: process("-m", "resnet_viz", "--help"),
        bar=2,
    )


def report() -> Ratio:
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "resnet18.html")
        return pairs(
            "report",
            lambda: process(str(HERE / "plain_report.py")),
            lambda: process("-m", "resnet_viz", "report", "resnet18", "-o", file),
            bar=3,
        )


def size() -> Ratio:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "resnet50.html"
        process("-m", "resnet_viz", "report", "resnet50", "-o", str(file))
        kilobytes = file.stat().st_size / 1000
    return Ratio("size", (kilobytes,), 0, 0, bar=500, unit="kB")


BENCHMARKS: dict[str, Callable[[], Ratio]] = {
    "trace": trace,
    "help": help_,
    "report": report,
    "size": size,
}


def main(names: list[str]) -> int:
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        print(f"unknown: {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
        return 2
    found = []
    for name in names or BENCHMARKS:
        found.append(BENCHMARKS[name]())
        print(found[-1], flush=True)
    return int(any(ratio.median > ratio.bar for ratio in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
