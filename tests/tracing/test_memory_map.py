"""Which tensors share memory, against the addresses of their elements."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from resnet_viz.tracing.memory_map import (
    Extent,
    faces,
    memory_of,
    set_version,
    shape_of,
    version_of,
)


def _addresses(view: torch.Tensor) -> set[int]:
    """The elements of a view into ``arange``: their values are their places."""
    return set(view.flatten().tolist())


@st.composite
def views(draw: st.DrawFn, base: torch.Tensor) -> torch.Tensor:
    """Slices, steps, selections, transpositions and chunks of a tensor."""
    view = base
    for _ in range(draw(st.integers(0, 3))):
        if view.dim() == 0:
            break
        axis = draw(st.integers(0, view.dim() - 1))
        size = view.shape[axis]
        how = draw(st.sampled_from(("slice", "step", "select", "swap", "chunk")))
        if how == "slice":
            first = draw(st.integers(0, size))
            view = view.narrow(axis, first, draw(st.integers(0, size - first)))
        elif how == "step" and size > 1:
            view = view[(slice(None),) * axis + (slice(None, None, 2),)]
        elif how == "select" and size > 0:
            view = view.select(axis, draw(st.integers(0, size - 1)))
        elif how == "swap":
            view = view.transpose(0, axis)
        elif how == "chunk" and size > 1:
            view = view.chunk(2, axis)[draw(st.integers(0, 1))]
    return view


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_extents_never_miss_an_overlap(shape: list[int], data: st.DataObject) -> None:
    base = torch.arange(torch.Size(shape).numel()).reshape(shape)
    left, right = data.draw(views(base)), data.draw(views(base))
    if _addresses(left) & _addresses(right):
        assert Extent.of(left).meets(right)


@given(st.integers(2, 4), st.integers(1, 5), st.integers(1, 4), st.integers(0, 1))
def test_chunks_of_equal_size_do_not_meet(count: int, rows: int, width: int, axis: int) -> None:
    base = torch.zeros((rows, count * width) if axis else (count * width, rows))
    parts = base.chunk(count, axis)
    assume(len(parts) == count)
    for i, part in enumerate(parts):
        assert [Extent.of(part).meets(other) for other in parts] == [i == j for j in range(count)]


def test_another_dtype_or_no_strides_may_meet_anywhere() -> None:
    x = torch.zeros(4, dtype=torch.complex64)
    assert Extent.of(x[:1]).meets(torch.view_as_real(x)[3])
    assert Extent.of(torch.zeros(2).to_sparse()).meets(torch.zeros(2))
    assert not Extent.of(x[:0]).meets(x)


def test_what_shares_memory_has_one_key() -> None:
    x = torch.zeros(2, 3)
    assert {memory_of(t) for t in (x, x.T, x[0], x.data, x.detach(), nn.Parameter(x))} == {
        memory_of(x)
    }
    assert memory_of(x.clone()) != memory_of(x)
    meta = torch.zeros(2, 3, device="meta")
    assert memory_of(meta.T) == memory_of(meta) != memory_of(torch.zeros(2, 3, device="meta"))


def test_a_nested_tensor_has_the_shape_that_holds_its_parts() -> None:
    parts = [torch.zeros(3, 8), torch.zeros(5, 8)]
    assert shape_of(torch.nested.nested_tensor(parts, layout=torch.jagged)) == (2, 5, 8)
    assert shape_of(nn.LazyLinear(3).weight) == ()
    assert shape_of(torch.zeros(())) == ()


def test_versions_where_nobody_counts() -> None:
    x = torch.zeros(2)
    x.add_(1)
    assert version_of(x) == 1
    with torch.inference_mode():
        assert version_of(torch.zeros(2)) is None


def test_faces_lead_out_of_a_transform() -> None:
    outside = torch.zeros(3, 2)
    met = []

    def inside(row: torch.Tensor) -> torch.Tensor:
        met.append(faces(row))
        return row * 2

    torch.func.vmap(inside)(outside)
    assert met[0][-1] is outside
    assert faces(outside) == [outside]


@pytest.mark.parametrize("takes_one", [False, True], ids=["torch 2.7", "torch 2.6"])
def test_a_count_of_writes_is_taken_back(monkeypatch: pytest.MonkeyPatch, takes_one: bool) -> None:
    real: Any = torch._C._autograd._unsafe_set_version_counter

    def of_one(tensor: Any, version: Any) -> None:
        if not isinstance(version, int):
            raise TypeError("version: int")
        real((tensor,), (version,))

    if takes_one:
        monkeypatch.setattr(torch._C._autograd, "_unsafe_set_version_counter", of_one)
    weight = torch.ones(2, requires_grad=True)
    kept = weight * 2
    loss = (kept * kept).sum()
    before = version_of(kept)
    with torch.no_grad():
        kept.mul_(1)
    assert before is not None
    assert version_of(kept) == before + 1
    set_version(kept, before)
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [8, 8]
