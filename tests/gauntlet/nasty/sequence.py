"""Sequences: recurrent layers, packed and nested input, attention in all its forms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.gauntlet.cases import Seen, given, nasty


def tokens() -> Any:
    return given(torch.randn(2, 5, 8))


@nasty(tokens)
class Lstm(nn.Module):
    """Two layers, both directions, a projection: three outputs in a nested tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, 2, batch_first=True, bidirectional=True, proj_size=3)

    def forward(self, x: Tensor) -> Any:
        return self.lstm(x)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert list(seen.outputs) == ["0", "1.0", "1.1"]
        (lstm,) = seen.of("lstm")
        assert len(lstm.parameters) == 20
        assert lstm.macs is not None
        assert lstm.macs > 0
        assert seen.connected()
        assert {o.out_slot for o in seen.graph.outputs} == {0, 1, 2}


@nasty(tokens)
class RecurrentZoo(nn.Module):
    """GRU, plain RNN and loops over the three cells."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.rnn = nn.GRU(8, 8, batch_first=True), nn.RNN(8, 8, 2, batch_first=True)
        self.cells = nn.ModuleList([nn.LSTMCell(8, 8), nn.GRUCell(8, 8), nn.RNNCell(8, 8)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.rnn(self.gru(x)[0])[0]
        h = c = g = r = torch.zeros(len(x), 8)
        for step in x.unbind(1):
            h, c = self.cells[0](step, (h, c))
            g = self.cells[1](h, g)
            r = self.cells[2](g, r)
        return r + c

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected()
        assert [seen.graph.module(f"cells.{i}").calls for i in range(3)] == [5, 5, 5]
        assert all(p.used for p in seen.graph.parameters)
        assert seen.loose == []


@nasty(lambda: given(torch.randn(3, 5, 8), torch.tensor([5, 3, 2])))
class Packed(nn.Module):
    """A packed sequence between two calls: its tensors are in a named tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gru, self.head = nn.Linear(8, 8), nn.GRU(8, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embed(x), lengths, batch_first=True, enforce_sorted=False
        )
        out, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        return self.head(out)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("embed/linear#0")
        assert seen.connected("gru/gru#0")
        assert seen.of("linear")[1].shape == (3, 5, 2)


@nasty(tokens)
class AttentionBothWays(nn.Module):
    """``MultiheadAttention`` with and without weights: its ops are visible both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.MultiheadAttention(8, 2, batch_first=True)
        self.second = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        y, weights = self.first(x, x, x, need_weights=True, average_attn_weights=False)
        z, none = self.second(y, x, x, need_weights=False, is_causal=True, attn_mask=_causal(x))
        return x + z, weights, none

    @staticmethod
    def expect(seen: Seen) -> None:
        first = [op.kind for op in seen.graph.ops if op.module == "first"]
        assert "linear" in first
        assert "softmax" in first
        assert "bmm" in first or "baddbmm" in first
        second = [op.kind for op in seen.graph.ops if op.module == "second"]
        assert "scaled_dot_product_attention" in second
        assert list(seen.outputs) == ["0", "1"]
        assert len(seen.skips) == 1
        names = {name for op in seen.graph.ops for name in op.parameters}
        assert {"first.out_proj.weight", "second.in_proj_weight"} <= names


def _causal(x: Tensor) -> Tensor:
    return nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)


@nasty(lambda: given(torch.randn(2, 5, 8), src_key_padding_mask=_padding()))
class EncoderWithPadding(nn.TransformerEncoder):
    """``TransformerEncoder`` in eval mode with a padding mask: its nested-tensor fast path."""

    def __init__(self) -> None:
        super().__init__(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layers.0.linear1/linear#0")
        assert [kind for *_, kind in seen.skips] == ["identity"] * 4
        assert seen.connected("input#1")


def _padding() -> Tensor:
    mask = torch.zeros(2, 5, dtype=torch.bool)
    mask[1, 3:] = True
    return mask


@nasty(lambda: given(torch.randn(2, 5, 8), torch.randn(2, 3, 8)))
class WholeTransformer(nn.Module):
    """``nn.Transformer``: self- and cross-attention, and the copied layers of both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Transformer(8, 2, 1, 1, 16, batch_first=True, norm_first=True)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        return self.net(src, tgt)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [kind for *_, kind in seen.skips] == ["identity"] * 5
        assert all(seen.connected(f"input#{i}") for i in range(2))


@nasty(tokens)
class FusedAttention(nn.Module):
    """``scaled_dot_product_attention`` with a mask, causal, and grouped queries."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(2, 5, 3, 4, 2).permute(2, 0, 3, 1, 4)
        mask = torch.ones(5, 5, dtype=torch.bool).tril()
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y = y + F.scaled_dot_product_attention(y, k, v, is_causal=True)
        return y + F.scaled_dot_product_attention(y, k[:, :2], v[:, :2], enable_gqa=True)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert len(seen.of("scaled_dot_product_attention")) == 3
        assert seen.connected("qkv/linear#0")
        assert seen.graph.uncounted == ()


@nasty(tokens)
class RotaryCache(nn.Module):
    """Tables made in the first call and kept: never on meta, never ours to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.cos: Tensor | None = None
        self.tables: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        if self.cos is None:
            self.cos = torch.arange(n, device=x.device).cos()[:, None]
        if n not in self.tables:
            self.tables[n] = torch.arange(n).sin()[:, None]
        half = torch.cat((-x[..., 4:], x[..., :4]), -1)
        return x * self.cos + half * self.tables[n]

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.skips == []
        assert seen.connected()


@nasty(lambda: given(torch.nested.nested_tensor([torch.randn(3, 8), torch.randn(5, 8)])))
class NestedInput(nn.Module):
    """A nested (ragged) tensor goes in and is padded half-way."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).to_padded_tensor(0.0)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0")
        assert seen.graph.ops[-1].shape == (2, 5, 4)


@nasty(lambda: given(torch.randint(0, 9, (2, 3)), max_new=3), mode="real")
class Generates(nn.Module):
    """Greedy decoding with a growing cache in a list, until an end token or three steps."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layer, self.head = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 9)

    def forward(self, ids: Tensor, max_new: int) -> Tensor:
        cache: list[Tensor] = []
        for _ in range(max_new):
            new = ids if not cache else ids[:, -1:]
            cache.append(self.layer(self.embed(new)))
            logits = self.head(torch.cat(cache, 1).mean(1))
            ids = torch.cat((ids, logits.argmax(-1, keepdim=True)), 1)
            if bool((ids[:, -1] == 99).all()):
                break
        return ids

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [op.shape for op in seen.of("embedding")] == [(2, 3, 8), (2, 1, 8), (2, 1, 8)]
        assert seen.graph.ops[-1].outputs
        assert seen.connected("embed/embedding#2")


@nasty(tokens)
class SelectiveScan(nn.Module):
    """A state space by hand: ``einsum`` in a loop, every step's state feeds the next."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.rand(8, 3)), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        state, out = x.new_zeros(2, 8, 3), []
        for step, gate in zip(x.unbind(1), self.b(x).unbind(1), strict=True):
            state = state * self.a + torch.einsum("bd,bn->bdn", step, gate)
            out.append(torch.einsum("bdn,bn->bd", state, gate))
        return torch.stack(out, 1)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert len(seen.of("einsum")) == 10
        assert seen.connected("einsum#0", "einsum#9")
        assert seen.loose == []
