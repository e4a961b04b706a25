"""What attributions cost beside the captum call that its tutorial writes.

See README.md in this folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from harness import PAIRS, Ratio, kilobytes, pairs, timed

NETS = ("resnet50", "vit_b_16")
"""torchvision's, one image of 224 pixels."""

METHODS = ("integrated_gradients", "gradient_shap")
BAR = 0.75
MEMORY_BAR = 1.0
SAME = 1e-4
TARGET = 281
DRAWS = 50
SEED = 0

Run = Callable[[], Any]


class Bench:
    """A net, an image, and one method: as the tutorial has it, and ours."""

    def __init__(self, net: str, method: str, steps: int = DRAWS) -> None:
        import torch
        import torchvision

        from resnet_viz.analysis import annotate
        from resnet_viz.tracing.tracer import trace_model

        torch.set_num_threads(1)
        torch.manual_seed(SEED)
        self.model: Any = torchvision.models.get_model(net)
        # ViT's head starts at zero, so that nothing would be attributed.
        torch.nn.init.normal_(list(self.model.modules())[-1].weight, std=0.02)
        self.model.eval()
        self.image = torch.randn(1, 3, 224, 224)
        self.method, self.steps = method, steps
        self.graph = trace_model(self.model, (self.image,))
        self.structure = annotate(self.graph)

    def plain(self, **more: Any) -> Any:
        """Captum, called as in its tutorial."""
        import numpy as np
        import torch
        from captum.attr import GradientShap, IntegratedGradients

        # Captum draws from both.
        torch.manual_seed(SEED)
        np.random.seed(SEED)
        x = self.image
        if self.method == "integrated_gradients":
            explainer = IntegratedGradients(self.model)
            values = explainer.attribute(x, target=TARGET, n_steps=self.steps, **more)
        else:
            values = GradientShap(self.model).attribute(
                x,
                n_samples=self.steps,
                stdevs=0.0001,
                baselines=torch.cat([x * 0, x * 1]),
                target=TARGET,
            )
        return values.detach()

    def ours(self, rows: int | None = None) -> Any:
        """The same by ``attribute_inputs``: all of it but the tests, the maps included."""
        import torch

        from resnet_viz.core.attribution_options import AttributionOptions
        from resnet_viz.measuring.attributions.measure import attribute_inputs

        x = self.image
        shap = self.method == "gradient_shap"
        options = AttributionOptions(
            methods=(self.method,),
            target=TARGET,
            n_steps=self.steps,
            n_samples=self.steps,
            stdevs=0.0001,
            baselines=torch.cat([x * 0, x * 1]) if shap else None,
            internal_batch_size=rows,
            trust="off",
            relevance=False,
            stages=False,
        )
        self.found = attribute_inputs(
            self.model,
            (x,),
            graph=self.graph,
            structure=self.structure,
            options=options,
            seed=SEED,
        )
        (values,) = self.found.arrays(self.method).values()
        return torch.from_numpy(values)


def difference(found: Any, expected: Any) -> float:
    """The largest, as a part of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


def values(net: str, method: str, rows: int | None) -> Ratio:
    """How far the values are from those of plain captum, both in float32."""
    bench = Bench(net, method)
    ours, plain = bench.ours(rows), bench.plain()
    found = bench.found
    print(f"{net} {method}: {found.rows} rows at once, {found.settings or 'default layout'}")
    if method == "integrated_gradients":
        _print_truth(bench, ours, plain)
    away = difference(ours, plain)
    return Ratio(f"{net} {method} difference", (away,), 0, away, SAME, unit="of the maximum")


def _print_truth(bench: Bench, ours: Any, plain: Any) -> None:
    """How far both are from captum in float64: what float32 leaves open.

    A ReLU or a maximum that rounding turns over moves a gradient by a step.
    """
    bench.model.double()
    bench.image = bench.image.double()
    truth = bench.plain(internal_batch_size=5)
    print(
        f"from captum in float64, of the maximum: plain {difference(plain.double(), truth):.1e}, "
        f"ours {difference(ours.double(), truth):.1e}"
    )


def speed(net: str, method: str, rows: int | None, count: int, steps: int) -> Ratio:
    """CPU time of one thread over plain captum's, in turn."""
    bench = Bench(net, method, steps)
    return pairs(
        f"{net} {method}",
        lambda: timed(bench.plain),
        lambda: timed(lambda: bench.ours(rows)),
        bar=BAR,
        count=count,
    )


def memory(net: str, method: str) -> Ratio:
    """Peak memory beyond the net over plain captum's, each in a process of its own."""
    plain, ours = (_needed(net, method, run) for run in ("plain", "ours"))
    ratio = Ratio(f"{net} {method} memory", (ours / plain,), plain, ours, MEMORY_BAR)
    print(f"{net} {method}: peak {plain:.0f} MB plain, {ours:.0f} MB measured")
    return ratio


def _needed(net: str, method: str, run: str) -> float:
    # A fixed threshold: what is freed goes back, and a peak is a peak.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "262144", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--peak", net, method, run]
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    return float(done.stdout.split()[-1])


def peak(net: str, method: str, run: str) -> float:
    """Megabytes that a run needs beyond the net and what it imports."""
    small = Bench(net, method, steps=1)
    work: Run = getattr(small, run)
    work()
    before = kilobytes("VmRSS")
    small.steps = DRAWS
    work()
    return (kilobytes("VmHWM") - before) / 1e3


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--peak"]:
        print(peak(*arguments[1:]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=NETS, action="append")
    parser.add_argument("--method", choices=METHODS, action="append")
    parser.add_argument("--only", choices=("values", "speed", "memory"), action="append")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--steps", type=int, default=DRAWS, help="of the timed runs")
    parser.add_argument("--rows", type=int, help="per forward of ours; found if not given")
    asked = parser.parse_args(arguments)
    parts = asked.only or ["values", "speed", "memory"]
    found: list[Ratio] = []
    for net in asked.net or NETS:
        for method in asked.method or METHODS:
            runs: dict[str, Callable[[], Ratio]] = {
                "values": lambda n=net, m=method: values(n, m, asked.rows),
                "speed": lambda n=net, m=method: speed(n, m, asked.rows, asked.pairs, asked.steps),
                "memory": lambda n=net, m=method: memory(n, m),
            }
            for part in parts:
                found.append(runs[part]())
                print(found[-1], flush=True)
    return int(any(ratio.median > ratio.bar for ratio in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
