"""torch's own FLOP counter as the judge of ours, and a way to meta that is not the tracer's."""

from __future__ import annotations

import copy
import dataclasses
import functools
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, _FlopCounterMode

from resnet_viz.core.graph import ModelGraph
from tests.gauntlet.cases import Case, Given, seed
from tests.gauntlet.portrait import read

# Their kernels are counted differently on meta and on the CPU (PEERS and SCIENCE say how).
_BY_KERNEL = {
    "scaled_dot_product_attention", "lstm", "gru", "rnn_tanh", "rnn_relu",
    "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "grouped_mm",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Counted:
    """What FlopCounterMode says, where it ran, and what of it are kernels apart."""

    flops: int
    where: str
    by_kernel: int = 0


class _Counter(FlopCounterMode):
    """Without the tracking of modules, which forbids ``autograd.grad`` in a forward."""

    def __enter__(self) -> Self:
        self.flop_counts.clear()
        self.mode = _FlopCounterMode(self)
        self.mode.__enter__()
        return self

    def __exit__(self, *args: Any) -> Any:
        return self.mode.__exit__(*args)


def flops_of(model: nn.Module | None, case: Case) -> Iterator[Counted]:
    """FlopCounterMode on meta, then in a real run, each where it runs.

    Args:
        model: A model too large to build again or to run for real; ends up on meta.
        case: Builds another otherwise.
    """
    for where in ("meta", "real") if model is None else ("meta",):
        for gradients in (True, False):
            net, given = model or case.build(), case.given()
            try:
                if where == "meta":
                    given = on_meta(net, given)
                counts = _count(net, given, "meta" if where == "meta" else "cpu", gradients)
            except Exception:  # whatever a model raises there: then this way tells nothing
                continue
            apart = sum(v for k, v in counts.items() if "attention" in k or "rnn" in k)
            yield Counted(sum(counts.values()), where, apart)
            break


def _count(net: nn.Module, given: Given, device: str, gradients: bool) -> dict[str, int]:
    seed(2)
    dtype = torch.get_default_dtype()
    try:
        with (
            _Counter(display=False) as counter,
            torch.device(device),
            torch.set_grad_enabled(gradients),
        ):
            read(net(*given.args, **given.kwargs))
    finally:
        torch.set_default_dtype(dtype)
    return {str(kernel): flops for kernel, flops in counter.flop_counts["Global"].items()}


@contextmanager
def no_caches_kept() -> Iterator[None]:
    """Empties every ``lru_cache`` that grew: it may hold meta tensors now, for everybody."""
    cached = [o for o in gc.get_objects() if type(o) is functools._lru_cache_wrapper]
    before = [function.cache_info().currsize for function in cached]
    try:
        yield
    finally:
        for function, size in zip(cached, before, strict=True):
            if function.cache_info().currsize > size:
                function.cache_clear()


def ours(graph: ModelGraph) -> tuple[int, int]:
    """Our MACs, and those without attention and recurrent kernels."""
    apart = sum(op.macs or 0 for op in graph.ops if op.kind in _BY_KERNEL)
    return graph.total_macs, graph.total_macs - apart


def on_meta(model: nn.Module, given: Given) -> Given:
    """Moves the model there for good, and gives the inputs as meta tensors."""
    model.to("meta")
    done: dict[int, Any] = {}
    for module in model.modules():
        for key, value in list(vars(module).items()):
            if not key.startswith("_"):
                vars(module)[key] = _moved(value, done)
    return Given(_moved(given.args, {}), _moved(given.kwargs, {}))


def _moved(value: Any, done: dict[int, Any]) -> Any:
    if isinstance(value, Tensor):
        if id(value) not in done:
            done[id(value)] = value.to("meta")
        return done[id(value)]
    if isinstance(value, torch.device):
        return torch.device("meta")
    if type(value) in (list, tuple):
        return type(value)(_moved(v, done) for v in value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_moved(v, done) for v in value))
    if isinstance(value, dict):
        changed = copy.copy(value)
        for k, v in value.items():
            changed[k] = _moved(v, done)
        return changed
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: _moved(getattr(value, f.name), done) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    return value
