"""Peaks of memory, against every storage that is alive during real forwards and backwards."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from resnet_viz.analysis import annotate
from resnet_viz.core.structure import Costs
from resnet_viz.tracing.memory import measure_memory
from resnet_viz.tracing.tracer import trace_model
from tests.analysis import zoo

# Of the whole peak; what a caller's local variables hold, nobody can tell from a graph.
TOLERANCE = 0.05


class Alive(TorchDispatchMode):
    """Bytes of all storages that exist, and the most there ever were."""

    def __init__(self, *given: Any) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}
        self._track(given)

    def _track(self, tree: Any) -> None:
        for tensor in tree_leaves(tree):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self._known:
                    self.now += size
                    self._known[key] = weakref.finalize(storage, self._gone, key, size)
        self.peak = max(self.peak, self.now)

    def _gone(self, key: int, size: int) -> None:
        self.now -= size
        del self._known[key]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self._track((args, kwargs))
        out = func(*args, **(kwargs or {}))
        self._track(out)
        return out


def real_peaks(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, int]:
    """Of a forward without gradients, and of a forward and backward."""
    state = [*model.parameters(), *model.buffers(), args, kwargs]
    training = model.training
    with torch.no_grad(), Alive(*state) as inference:
        model.eval()(*args, **kwargs)
    model.train(training)
    with Alive(*state) as whole:
        out = tree_leaves(model(*args, **kwargs))
        wanted = [t for t in out if isinstance(t, Tensor) and t.requires_grad]
        torch.autograd.backward(wanted, [torch.ones_like(t) for t in wanted])
        del out, wanted
    model.zero_grad(set_to_none=True)
    return inference.peak, whole.peak


def costs_of(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Costs:
    graph = trace_model(model, args, kwargs, training=False)
    return annotate(graph, measure_memory(model, args, kwargs)).costs


def small(name: str) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    import torchvision

    image = torch.zeros(4, 3, 64, 64)
    if name == "small vit":
        vit = torchvision.models.VisionTransformer(64, 16, 3, 4, 64, 128, num_classes=10)
        return vit.train(), (image,), {}
    if name == "small densenet":
        dense = torchvision.models.DenseNet(8, (2, 4, 4), 16, num_classes=10)
        return dense.train(), (image,), {}
    if name.startswith("hf:"):
        # Without dropout, as with it attention on the CPU is not the fused one.
        return (zoo.model(name).eval(), *zoo._inputs(name))
    return zoo.model(name), (image,), {}


@pytest.mark.parametrize(
    ("name", "training"),
    [("tv:resnet18", True), ("tv:resnet18", False), ("tv:mobilenet_v2", True),
     ("tv:squeezenet1_0", True), ("tv:shufflenet_v2_x1_0", True), ("small vit", True),
     ("small densenet", True), ("small densenet", False), ("tv:swin_t", True),
     ("hf:gpt2", False), ("hf:llama", False)],
)  # fmt: skip
def test_the_estimate_is_what_is_really_alive(name: str, training: bool) -> None:
    model, args, kwargs = small(name)
    model.train(training)
    try:
        costs = costs_of(model, args, kwargs)
        inference, whole = real_peaks(model, args, kwargs)
    finally:
        model.eval()
    assert costs.inference_peak is not None
    assert costs.training_peak is not None
    assert costs.inference_peak.total == pytest.approx(inference, rel=TOLERANCE)
    assert costs.training_peak.total == pytest.approx(whole, rel=TOLERANCE)
    # Most of that may be weights; so their share apart.
    state = sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
    assert costs.inference_peak.total - state == pytest.approx(inference - state, rel=0.2)
    assert costs.training_peak.total - state == pytest.approx(whole - state, rel=0.08)


class Chain(nn.Module):
    """Sizes known by hand: 1 kB in, 4 kB, 4 kB, 4 kB, 1 kB out."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(256, 1024, bias=False)
        self.back = nn.Linear(1024, 256, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.wide(x).tanh().sigmoid())


def test_by_hand() -> None:
    costs = costs_of(Chain(), (torch.zeros(1, 256),), {})
    weights = 2 * 4 * 256 * 1024
    peak, whole = costs.inference_peak, costs.training_peak
    assert peak is not None
    assert whole is not None
    assert (peak.params, peak.inputs, peak.buffers) == (weights, 1024, 0)
    # Two wide tensors at once: what an op reads and what it writes.
    assert (peak.at, peak.working, peak.saved, peak.gradients) == ("tanh#0", 2 * 4096, 0, 0)
    # The outputs of tanh and sigmoid are kept. Where the first weight gets its gradient,
    # both weights have one, and the gradient of the widest tensor is alive.
    assert costs.total.saved_bytes == 2 * 4096
    assert (whole.at, whole.phase) == ("wide/linear#0", "backward")
    assert whole.gradients == weights
    assert whole.total == 2 * weights + 1024 + whole.saved + whole.working


def test_views_and_in_place_ops_take_no_memory() -> None:
    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x + 1
            y = F.relu(y, inplace=True)
            return y.flatten(1).view(-1).add_(1).reshape(2, -1)

    costs = costs_of(Views(), (torch.zeros(2, 64),), {})
    assert costs.inference_peak is not None
    assert costs.inference_peak.working == costs.total.activation_bytes == 2 * 64 * 4


def test_a_residual_is_alive_until_its_join() -> None:
    class Residual(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2
            return (y.tanh().sigmoid() + y).sum()

    costs = costs_of(Residual(), (torch.zeros(1000),), {})
    assert costs.inference_peak is not None
    assert (costs.inference_peak.at, costs.inference_peak.working) == ("sigmoid#0", 3 * 4000)


def test_arguments_live_as_long_as_the_call_they_went_into() -> None:
    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.tanh().sigmoid().relu()

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x * 2)

    model, x = Outer(), torch.zeros(1000)
    costs = costs_of(model, (x,), {})
    assert costs.inference_peak is not None
    assert costs.inference_peak.working == 3 * 4000
    assert costs.inference_peak.total == real_peaks(nn.Sequential(model), (x,), {})[0]


def test_more_samples_more_memory_and_training_more_than_inference() -> None:
    model = zoo.model("tv:resnet18")
    before = 0
    for batch in (1, 2, 4):
        costs = costs_of(model, (torch.zeros(batch, 3, 64, 64),), {})
        assert costs.inference_peak is not None
        assert costs.training_peak is not None
        assert before < costs.inference_peak.total < costs.training_peak.total
        state = costs.training_peak.params + costs.training_peak.buffers
        assert state == sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
        before = costs.inference_peak.total


def test_frozen_parameters_have_no_gradients() -> None:
    model = Chain()
    model.wide.requires_grad_(False)
    costs = costs_of(model, (torch.zeros(1, 256),), {})
    assert costs.training_peak is not None
    assert costs.training_peak.gradients == model.back.weight.nbytes
    model.requires_grad_(False)
    costs = costs_of(model, (torch.zeros(1, 256),), {})
    assert costs.training_peak is not None
    assert costs.inference_peak is not None
    assert costs.training_peak.total == costs.inference_peak.total


def test_checkpointing_lowers_the_peak_and_is_said() -> None:
    class Deep(nn.Module):
        def __init__(self, *, spare: bool) -> None:
            super().__init__()
            self.spare = spare
            self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(8))

        def part(self, x: Tensor, start: int) -> Tensor:
            for layer in self.layers[start : start + 2]:
                x = layer(x).tanh()
            return x

        def forward(self, x: Tensor) -> Tensor:
            for start in range(0, 8, 2):
                if self.spare:
                    x = checkpoint(self.part, x, start, use_reentrant=False)
                else:
                    x = self.part(x, start)
            return x

    x = torch.zeros(512, 16)
    spared, plain = (costs_of(Deep(spare=spare), (x,), {}) for spare in (True, False))
    assert spared.training_peak is not None
    assert plain.training_peak is not None
    assert spared.memory is not None
    assert spared.training_peak.total < plain.training_peak.total
    assert spared.memory.hidden == 16
    assert (spared.total.saved_bytes or 0) < (plain.total.saved_bytes or 0)


def test_heads_that_only_train_mode_runs_are_in_the_peak() -> None:
    class Aux(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(16, 16)
            self.aux = nn.Linear(16, 512)

        def forward(self, x: Tensor) -> Any:
            x = self.body(x).tanh()
            return (x, self.aux(x.exp())) if self.training else x

    model = Aux().train()
    costs = costs_of(model, (torch.zeros(8, 16),), {})
    assert costs.training_peak is not None
    assert costs.unplaced_bytes == 8 * 16 * 4  # what exp keeps
    # The peak is where the wide head's output comes back; the body's gradient is to come.
    assert costs.training_peak.gradients >= sum(p.nbytes for p in model.aux.parameters())
