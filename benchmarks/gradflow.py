"""What measuring the gradient flow costs beside a plain forward and backward.

See README.md in this folder.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from harness import PAIRS, Ratio, kilobytes, timed

NETS = {"resnet50": 8, "vit_b_16": 4}
"""torchvision's, by their batch; images of 224 pixels."""

BARS = {"norms": 1.08, "default": 1.15}
MEMORY_BAR = 1.10
PEERS = ("torchspace", "torchlens")
PEER_RUNS = 3

Run = Callable[[], object]


class Bench:
    """A net, a batch, and all that can be run on them."""

    def __init__(self, name: str, device: str = "cpu") -> None:
        import torch
        import torchvision

        from resnet_viz.tracing.tracer import trace_model

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.model: Any = torchvision.models.get_model(name).train()
        # ViT's head starts at zero, so that no gradient would flow.
        torch.nn.init.normal_(list(self.model.modules())[-1].weight, std=0.02)
        image = torch.zeros(1, 3, 224, 224)
        self.graph = trace_model(self.model, (image,), training=False)
        self.model.to(device)
        self.inputs = torch.randn(NETS[name], 3, 224, 224).to(device)
        self.labels = torch.randint(1000, (NETS[name],)).to(device)
        self.session: Any = None

    def plain(self) -> None:
        """A forward and a backward, as a training loop has them."""
        from torch.nn.functional import cross_entropy

        self.model.zero_grad(set_to_none=True)
        cross_entropy(self.model(self.inputs), self.labels).backward()

    def measured(self, stats: Any) -> None:
        """The same by ``measure_gradients``."""
        from resnet_viz.core.batch import Batch
        from resnet_viz.measuring.gradients.measure import measure_gradients

        self.model.zero_grad(set_to_none=True)
        batch = Batch(args=(self.inputs,), targets=self.labels)
        measure_gradients(self.model, [batch], graph=self.graph, stats=stats)

    def pasted(self) -> None:
        """The measuring half of the ``plot_grad_flow`` that people paste; it draws nothing."""
        self.plain()
        averages, largest, layers = [], [], []
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and "bias" not in name:
                layers.append(name)
                averages.append(parameter.grad.abs().mean().cpu())
                largest.append(parameter.grad.abs().max().cpu())

    def torchlens(self) -> None:
        """Every call's output and its gradient, kept."""
        import torchlens
        from torch.nn.functional import cross_entropy

        self.model.zero_grad(set_to_none=True)
        capture = torchlens.options.CaptureOptions(save_grads=True)
        log = torchlens.trace(self.model, self.inputs, capture=capture)
        log.log_backward(cross_entropy(log[log.output_layers[0]].out, self.labels))

    def torchspace(self) -> None:
        """Statistics of every module's output and its gradient; the net is traced before."""
        import torchspace

        if self.session is None:
            self.session = torchspace.trace(self.model, self.inputs[:1], mode="train")
        self.plain()

    @property
    def runs(self) -> dict[str, Run]:
        """Everything that can run here, by name."""
        return {
            "plain": self.plain,
            "norms": lambda: self.measured("norms"),
            "default": lambda: self.measured("default"),
            "pasted": self.pasted,
        }


def speed(net: str, count: int, only: list[str]) -> list[Ratio]:
    """CPU time of each run over the plain one of the same round."""
    runs = {n: run for n, run in Bench(net).runs.items() if not only or n in ("plain", *only)}
    for run in runs.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(count):
        for name, run in runs.items():
            taken[name].append(timed(run))
    plain = taken.pop("plain")
    return [
        Ratio(
            name=f"{net} {name}",
            ratios=tuple(m / p for m, p in zip(times, plain, strict=True)),
            plain=statistics.median(plain),
            measured=statistics.median(times),
            bar=BARS.get(name, float("inf")),
        )
        for name, times in taken.items()
    ]


def peer(net: str, name: str, count: int) -> str:
    """One peer against the plain run, in turn."""
    bench = Bench(net)
    # The plain runs first: a peer may leave torch wrapped, or the net hooked.
    plain = [timed(bench.plain) for _ in range(count + 1)][1:]
    run: Run = getattr(bench, name)
    run()
    measured = [timed(run) for _ in range(count)]
    ratio = statistics.median(measured) / statistics.median(plain)
    return f"{net} {name} {ratio:6.3f} × of {statistics.median(plain):.3f} s"


def peers(net: str) -> list[str]:
    """Each peer in a process of its own, as some change torch for good."""
    lines = []
    for name in PEERS:
        if importlib.util.find_spec(name) is None:
            lines.append(f"{net} {name} is not installed: left out")
            continue
        command = [sys.executable, __file__, "--peer", net, name, str(PEER_RUNS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        told = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
        lines.append(told[-1] if done.returncode == 0 else f"{net} {name} raised: {told[-1]}")
    return lines


def memory(net: str) -> list[Ratio]:
    """Peak memory of each run over the plain one's, each in a process of its own."""
    needed = {name: _needed(net, name) for name in ("plain", "norms", "default")}
    plain = needed.pop("plain")
    return [
        Ratio(f"{net} {name} memory", (peak / plain,), plain, peak, bar=MEMORY_BAR)
        for name, peak in needed.items()
    ]


def _needed(net: str, run: str) -> float:
    # A fixed threshold: what is freed goes back, and a peak is a peak.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "262144", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--peak", net, run]
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    return float(done.stdout.split()[-1])


def peak(net: str, run: str) -> float:
    """Megabytes that two runs need beyond the net and its batch."""
    work = Bench(net).runs[run]
    before = kilobytes("VmRSS")
    for _ in range(2):
        work()
    return (kilobytes("VmHWM") - before) / 1e3


def on_gpu(net: str, count: int) -> list[str]:
    """Time by CUDA events, in rounds, and transfers to the host per batch."""
    import torch

    bench = Bench(net, "cuda")
    runs = bench.runs

    def milliseconds(run: Run) -> float:
        torch.cuda.synchronize()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return float(begin.elapsed_time(end))

    for run in runs.values():
        run()
        run()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(count):
        for name, run in runs.items():
            taken[name].append(milliseconds(run))
    lines = []
    for name, times in taken.items():
        ratio = statistics.median(m / p for m, p in zip(times, taken["plain"], strict=True))
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            runs[name]()
        transfers = sum("Memcpy DtoH" in event.name for event in profile.events())
        lines.append(
            f"{net} {name}: {ratio:.3f} × of {statistics.median(taken['plain']):.1f} ms, "
            f"{transfers} transfers to the host"
        )
    return lines


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--peak"]:
        print(peak(*arguments[1:]))
        return 0
    if arguments[:1] == ["--peer"]:
        print(peer(arguments[1], arguments[2], int(arguments[3])))
        return 0
    nets = [a for a in arguments if a in NETS] or list(NETS)
    only = [a for a in arguments if a not in NETS and not a.isdigit()]
    count = next((int(a) for a in arguments if a.isdigit()), PAIRS)
    found = []
    for net in nets:
        for ratio in (*speed(net, count, only), *(() if only else memory(net))):
            found.append(ratio)
            print(ratio, flush=True)
        if not only:
            print(*peers(net), sep="\n", flush=True)
    import torch

    if not torch.cuda.is_available():
        print("not run on a GPU: there is none")
    else:
        for net in nets:
            print(*on_gpu(net, count), sep="\n", flush=True)
    return int(any(ratio.median > ratio.bar for ratio in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
