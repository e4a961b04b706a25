"""What the backward keeps, against the storages that a real forward on the CPU saves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from resnet_viz.analysis import annotate
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.core.structure import Memory
from resnet_viz.tracing import memory
from resnet_viz.tracing.memory import measure_memory
from resnet_viz.tracing.tracer import trace_model
from tests.analysis import zoo

X = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def kept_for_real(model: nn.Module, *args: Any, **kwargs: Any) -> tuple[int, int]:
    """Bytes of distinct storages that a real forward saves: all others, and inputs."""
    given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    inputs = {t.untyped_storage().data_ptr() for t in given}
    state = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    found: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage
        return tensor.detach()

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        model(*args, **kwargs)
    return (
        sum(s.nbytes() for key, s in found.items() if key not in state | inputs),
        sum(s.nbytes() for key, s in found.items() if key in inputs),
    )


def statistics_of(model: nn.Module) -> int:
    """Bytes of mean and deviation of all batch norms: kernels differ in what they return."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    return sum(2 * 4 * norm.num_features for norm in norms)


class Conv(nn.Module):
    """conv, norm, activation, head: what each part keeps is known by hand."""

    def __init__(self, *, inplace: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(8, 5)

    def body(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Checkpointed(Conv):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(self.body, x, use_reentrant=False).mean((2, 3)))


class Reentrant(Conv):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return self.head(checkpoint(self.act, x, use_reentrant=True).mean((2, 3)))


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        doubled = x + x
        ctx.save_for_backward(x, doubled)
        return x * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * ctx.saved_tensors[1]


class Custom(Conv):
    def body(self, x: Tensor) -> Tensor:
        return Square.apply(self.norm(self.conv(x)))


class Views(nn.Module):
    """A saved slice keeps the whole; the same tensor saved twice is kept once."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))
        self.register_buffer("scale", torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        wide = x * self.weight + 1
        narrow = wide[..., :2]
        return narrow * narrow + wide[..., 2:4] * self.scale[:2].exp()


class NoGrad(Conv):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.body(x)
        return self.head(x.mean((2, 3)))


class Inner(nn.Module):
    """Differentiates inside ``forward``, as force fields do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            place = x.detach().requires_grad_()
            energy = self.layer(place).tanh().sum()
        (force,) = torch.autograd.grad(energy, place, create_graph=True)
        return force


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(16, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x.flatten(1, 2))[0]


class Attention(nn.Module):
    def __init__(self, *, mask: bool = False, heads: int = 2) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)
        self.mask, self.heads = mask, heads

    def forward(self, x: Tensor) -> Tensor:
        b, n = x.shape[0], x.shape[1] * x.shape[2]
        parts = self.qkv(x.reshape(b, n, 16)).view(b, n, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mask = torch.ones(n, n, dtype=torch.bool, device=x.device).tril() if self.mask else None
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def frozen() -> nn.Module:
    model = Conv()
    model.conv.requires_grad_(False)
    model.norm.requires_grad_(False)
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "out of place": Conv,
    "in place": lambda: Conv(inplace=True),
    "frozen": frozen,
    "half": lambda: Conv().to(torch.bfloat16),
    "checkpointed": Checkpointed,
    "reentrant": Reentrant,
    "custom function": Custom,
    "views": Views,
    "no grad": NoGrad,
    "differentiates": Inner,
    "attention": Attention,
    "dropout": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.5), nn.Conv2d(4, 2, 1)),
    "max pool": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2), nn.Softmax(1)),
    "norms": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.LayerNorm(16)),
    "nothing to train": lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)),
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", MODELS)
def test_it_is_what_a_real_forward_saves(name: str, training: bool) -> None:
    model = MODELS[name]().train(training)
    x = X.to(next((p.dtype for p in model.parameters()), X.dtype))
    memory = measure_memory(model, (x,))
    assert memory.how.mode == "meta"
    assert memory.mode == ("train" if training else "eval")
    saved, inputs = kept_for_real(model, x)
    assert memory.input_bytes == inputs
    if training and x.dtype is torch.float32:
        assert memory.saved_bytes == saved
    else:
        # On the CPU statistics are of no or of half precision here, on meta they are not.
        assert memory.saved_bytes is not None
        assert 0 <= memory.saved_bytes - saved <= statistics_of(model)


@pytest.mark.parametrize(
    "name",
    ["tv:resnet18", "tv:densenet121", "tv:mobilenet_v2", "tv:swin_t", "hf:gpt2", "hf:llama"],
)
def test_on_real_models(name: str) -> None:
    # In eval mode, so that no dropout keeps attention from its fused kernel on the CPU.
    model, (args, kwargs) = zoo.model(name), zoo._inputs(name)
    memory = measure_memory(model, args, kwargs)
    saved, inputs = kept_for_real(model, *args, **kwargs)
    assert memory.input_bytes == inputs
    assert memory.saved_bytes is not None
    assert memory.saved_bytes - saved in (0, statistics_of(model))
    assert {row.op for row in memory.saved} <= {op.id for op in zoo.graph(name).ops}


def test_fake_keeps_what_meta_keeps() -> None:
    model = zoo.model("tv:resnet18")
    meta, fake = (
        measure_memory(model, (X,), training=True, modes=(mode,)) for mode in ("meta", "fake")
    )
    assert (meta.how.mode, fake.how.mode) == ("meta", "fake")
    assert meta == fake


def test_bytes_are_at_the_op_that_saves() -> None:
    saved = {}
    for row in measure_memory(Conv().train(), (X,)).saved:
        saved[row.op] = saved.get(row.op, 0) + row.nbytes
    whole = 4 * 8 * 16 * 16 * 4
    assert saved == {
        "norm/batch_norm#0": whole + 2 * 8 * 4,  # its input, and mean and deviation
        "act/relu#0": whole,  # its output
        "head/linear#0": 4 * 8 * 4,  # the pooled features
    }


def test_makers_are_the_ops_whose_outputs_are_kept() -> None:
    rows = measure_memory(Conv(inplace=True).train(), (X,)).saved
    assert [(row.op, row.made_by) for row in rows] == [
        ("norm/batch_norm#0", "conv/conv2d#0"),
        ("norm/batch_norm#0", ""),
        ("act/relu#0", "norm/batch_norm#0"),
        ("head/linear#0", "mean#0"),
    ]


def test_checkpointing_frozen_weights_and_half_precision_keep_less() -> None:
    def kept(name: str) -> int:
        model = MODELS[name]().train()
        x = X.to(next(model.parameters()).dtype)
        return measure_memory(model, (x,)).saved_bytes or 0

    assert kept("checkpointed") < kept("in place") < kept("custom function")
    assert kept("frozen") < kept("out of place")
    assert kept("half") < 0.6 * kept("out of place")
    hidden = measure_memory(Checkpointed().train(), (X,)).hidden
    assert hidden == 3
    assert measure_memory(Conv().train(), (X,)).hidden == 0


def test_where_torch_tells_nothing_of_hooks_only_their_number_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = measure_memory(Checkpointed().train(), (X,))
    monkeypatch.setattr(memory, "_TOP_HOOKS", None)  # as in torch 2.6
    assert measure_memory(Checkpointed().train(), (X,)) == replace(known, hidden=0)


def test_attention_keeps_no_matrix_of_all_pairs() -> None:
    # Query, key and value are one storage; the output and a number per row come to it.
    n, heads = 3 * 16, 2
    for mask in (False, True):
        memory = measure_memory(Attention(mask=mask), (X,))
        fused = 4 * (4 * n * 48 + 4 * n * 16 + 4 * n * heads)
        assert memory.saved_bytes == fused + (4 * n * n if mask else 0)
    # Dropout is drawn again in the backward.
    q = torch.empty(1, 2, 64, 8)

    class Dropped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)

    leaf = q.clone().requires_grad_()
    assert measure_memory(Dropped(), (leaf,)).saved_bytes == 4 * (2 * 64 * 8 + 2 * 64)


def test_inputs_count_apart_and_only_where_they_are_kept() -> None:
    memory = measure_memory(Conv().train(), (X,))
    assert memory.input_bytes == X.nbytes
    assert measure_memory(frozen().train(), (X,)).input_bytes == 0


def test_gradients_of_what_is_read() -> None:
    model = Conv()
    model.extra = nn.Linear(8, 8)
    memory = measure_memory(model, (X,))
    read = sum(p.nbytes for name, p in model.named_parameters() if "extra" not in name)
    assert memory.gradient_bytes == read
    frozen_model = frozen()
    assert measure_memory(frozen_model, (X,)).gradient_bytes == sum(
        p.nbytes for p in frozen_model.head.parameters()
    )


def test_a_recurrent_layer_is_one_op() -> None:
    memory = measure_memory(Recurrent(), (X,))
    assert {row.op for row in memory.saved} == {"rnn/gru#0"}
    assert memory.saved_bytes


def test_the_model_is_as_it_was() -> None:
    model = Conv().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    objects = [id(t) for t in (*model.parameters(), *model.buffers())]
    state = torch.get_rng_state()
    measure_memory(model, (X,), training=False)
    assert model.training
    assert model.norm.training
    assert [id(t) for t in (*model.parameters(), *model.buffers())] == objects
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_under_no_grad_and_inference_mode() -> None:
    model = Conv().train()
    expected = measure_memory(model, (X,))
    with torch.no_grad():
        assert measure_memory(model, (X,)) == expected
    with torch.inference_mode():
        assert measure_memory(model, (X,)) == expected


def test_where_train_mode_refuses_eval_mode_is_measured_and_said() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).train()
    memory = measure_memory(model, (torch.zeros(1, 4),))
    assert memory.mode == "eval"
    assert memory.saved_bytes is not None
    assert memory.how.why.startswith("train mode on meta raised ValueError: Expected more than 1")
    assert model.training


class Chooses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if float(x.sum()) > 0 else x


def test_what_needs_values_is_not_known() -> None:
    memory = measure_memory(Chooses(), (X,))
    assert memory.saved_bytes is None
    assert memory.unknown.startswith("fake raised ")
    costs = annotate(trace_model(Chooses(), (X,)), memory).costs
    assert costs.total.saved_bytes is None
    assert costs.training_peak is None
    assert costs.inference_peak is not None


def test_it_travels_as_json() -> None:
    memory = measure_memory(Conv().train(), (X,))
    again = from_json(to_json(memory))
    assert isinstance(again, Memory)
    assert again == memory
    assert again.how == memory.how
