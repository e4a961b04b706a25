"""How fast a trace is: against the bare meta forward, against peers, and as nets grow.

See README.md in this folder. Every pair of model and tracer runs in a process of its
own (peers leave torch changed), the tracer and the floor in turn. The floor is the
model's forward under ``no_grad`` on meta tensors; our trace gets a newly built CPU
model each time, peers get a model on meta.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import io
import json
import math
import os
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

from harness import process, timed
from peers import ON_CPU, PEERS
from trace_models import MODELS

BAR, BAR_ONE, BAR_EXPONENT = 0.8, 1.15, 1.1
OURS = "resnet-viz"
LIMIT = 120
"""Seconds after which a tracer is given up on one model."""


def _cell(tracer: str, name: str, repeats: int) -> dict[str, Any]:
    """Median ratio to the floor, and what the trace holds; or why there is none."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model, args, kwargs = MODELS[name]()
    bare = copy.deepcopy(model).to("meta")
    given = tuple(t.to("meta") for t in args), {k: t.to("meta") for k, t in kwargs.items()}

    given_bare = (bare, *given)

    def floor() -> float:
        with torch.no_grad():
            return timed(lambda: bare(*given[0], **given[1]))

    def ours() -> float:
        from resnet_viz.tracing.tracer import trace_model

        # A pristine copy of freshly built weights is as new as a second build.
        fresh = copy.deepcopy(model)
        gc.collect()
        return timed(lambda: trace_model(fresh, args, kwargs))

    on_cpu = tracer in ON_CPU

    def peer() -> float:
        gc.collect()
        # Some print what they found.
        with contextlib.redirect_stdout(io.StringIO()):
            return timed(lambda: PEERS[tracer](*((model, args, kwargs) if on_cpu else given_bare)))

    run = ours if tracer == OURS else peer
    try:
        floor()
        run()
        taken = [(run(), floor()) for _ in range(repeats)]
    except ImportError:
        return {"error": "not installed"}
    except Exception as error:  # a peer may raise anything; that is its result
        return {"error": type(error).__name__}
    return {
        "ratio": statistics.median(a / b for a, b in taken),
        "floor": statistics.median(b for _, b in taken),
    }


def _alone(job: str, *arguments: object) -> Any:
    """What a job of this file returns, run in a process of its own."""
    command = [sys.executable, __file__, "--job", job, *map(str, arguments)]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, env=settings, capture_output=True, text=True, timeout=LIMIT, check=True
        )
    except subprocess.TimeoutExpired:
        return {"error": f"over {LIMIT} s"}
    except subprocess.CalledProcessError as error:
        return {"error": f"exit {error.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def _table(names: list[str], tracers: list[str], repeats: int) -> bool:
    """Prints one row per model; whether our bars are met."""
    print(f"CPU time of one thread over the bare meta forward, median of {repeats}")
    print(f"{'model':17}{'floor ms':>9}" + "".join(f"{t:>17}" for t in tracers))
    ratios: dict[str, list[float]] = {t: [] for t in tracers}
    for name in names:
        cells = [_alone("cell", tracer, name, repeats) for tracer in tracers]
        floor = next((f"{c['floor'] * 1e3:9.0f}" for c in cells if "floor" in c), f"{'':9}")
        shown = [f"{c['ratio']:.2f}" if "ratio" in c else c["error"] for c in cells]
        print(f"{name:17}{floor}" + "".join(f"{text:>17.17}" for text in shown), flush=True)
        for tracer, cell in zip(tracers, cells, strict=True):
            if "ratio" in cell:
                ratios[tracer].append(cell["ratio"])
    means = {t: statistics.geometric_mean(r) if r else math.nan for t, r in ratios.items()}
    print(f"{'geometric mean':26}" + "".join(f"{means[t]:17.2f}" for t in tracers))
    print(f"{'highest':26}" + "".join(f"{max(ratios[t], default=math.nan):17.2f}" for t in tracers))
    print(f"{'models traced':26}" + "".join(f"{len(ratios[t]):17}" for t in tracers))
    if OURS not in tracers:
        return True
    whole = len(ratios[OURS]) == len(names)
    return whole and means[OURS] <= BAR and max(ratios[OURS]) <= BAR_ONE


def _first_call() -> None:
    """Prints what the first trace of a fresh process costs beside ``import torch``."""
    code = "import torch, torchvision; m = torchvision.models.resnet50().eval();"
    x = "x = torch.zeros(1, 3, 224, 224);"
    floor = f"{code}{x} m = m.to('meta'); torch.no_grad().__enter__(); m(x.to('meta'))"
    ours = f"{code}{x} from resnet_viz.tracing.tracer import trace_model as t; t(m, (x,))"
    built, bare, traced = (
        statistics.median(process("-c", text) for _ in range(5)) for text in (code + x, floor, ours)
    )
    print(
        f"first call in a fresh process, ResNet-50: bare meta forward {bare - built:.2f} s, "
        f"trace {traced - built:.2f} s (import and build, {built:.2f} s, left out)"
    )


def _growth() -> bool:
    """Prints time and memory over the number of ops; whether both grow linearly."""
    rows = []
    for ops in (3_000, 6_000, 12_000, 25_000, 50_000):
        rows.append(_alone("grown", ops))
        print("{:>7} ops  {:6.2f} s  {:7.1f} MB".format(*rows[-1]), flush=True)
    slopes = []
    for column, what in ((1, "time"), (2, "memory")):
        slopes.append(_slope([math.log(r[0]) for r in rows], [math.log(r[column]) for r in rows]))
        print(f"{what} grows as ops ** {slopes[-1]:.2f} (bar {BAR_EXPONENT})")
    return max(slopes) <= BAR_EXPONENT


def _grown(ops: int) -> tuple[int, float, float]:
    """Ops, CPU seconds and MB (Python's and torch's, while tracing) of a long residual net."""
    import tracemalloc

    import torch

    from resnet_viz.tracing.tracer import trace_model

    torch.set_num_threads(1)
    model, args, _ = MODELS["resnet1202"]()
    trace_model(model, args)
    model, args = _long_net(ops)
    seconds = min(timed(lambda: trace_model(model, args)) for _ in range(3))
    tracemalloc.start()
    graph = trace_model(model, args)
    _, peak = tracemalloc.get_traced_memory()
    return len(graph), seconds, peak / 1e6


def _long_net(ops: int) -> tuple[Any, tuple[Any, ...]]:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Any) -> Any:
            return x + self.down(torch.relu(self.up(x)))

    return nn.Sequential(*(Block() for _ in range(ops // 4))).eval(), (torch.zeros(1, 8),)


def _slope(x: list[float], y: list[float]) -> float:
    return statistics.linear_regression(x, y).slope


JOBS: dict[str, Callable[..., Any]] = {
    "cell": lambda tracer, name, repeats: _cell(tracer, name, int(repeats)),
    "grown": lambda ops: _grown(int(ops)),
}


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--job"]:
        print(json.dumps(JOBS[arguments[1]](*arguments[2:])))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--peers", action="store_true", help="also the other tracers installed")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    unknown = set(given.models) - set(MODELS)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    tracers = [OURS, *PEERS] if given.peers else [OURS]
    met = _table(given.models or list(MODELS), tracers, given.repeats)
    if not given.models:
        _first_call()
        met = _growth() and met
    return int(not met)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
