"""Matrix products of large linear layers on a CPU, by oneDNN instead of the BLAS.

Torch gives float32 products to its BLAS, forward and backward, although oneDNN, which it has
beside it for convolutions, is the faster of the two on many machines and takes the frozen
weights in its own layout. The results are equal to rounding. Where oneDNN is not what this
file expects, nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from resnet_viz.measuring.attributions.question import Question

_MACS_PER_OP = 2_000_000
"""Mean over all ops, below which telling products apart costs more than it saves."""
_MACS = 2**22
_ROWS = 32
_RUNS = 3
"""From as many on, weights are brought into oneDNN's layout once."""


def faster_on(question: Question) -> Callable[[int], AbstractContextManager[Any]]:
    """Within what its result returns, large products are oneDNN's, where that helps.

    Returns:
        To be told how many runs there will be, without a change of the weights in between.
    """
    rows = question.structure.costs.kinds
    products = sum(row.macs for row in rows if not row.key.startswith("conv"))
    heavy = products > _MACS_PER_OP * len(question.graph.ops)
    if not heavy or question.device.type != "cpu" or not _works():
        return lambda runs: nullcontext()
    return lambda runs: _OneDnn(question.model if runs >= _RUNS else None)


@lru_cache(maxsize=1)
def _works() -> bool:
    """Whether this torch has the product, and it is the product."""
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, 48, generator=generator) for n in (40, 24))
    bias = torch.randn(24, generator=generator)
    try:
        with torch.no_grad():
            found = (_product(x, w, bias), _product(x, _packed(w, 40), bias))
            turned = _product(x, w.t().contiguous().t(), None)
    except (RuntimeError, AttributeError, TypeError, NotImplementedError):
        return False
    expected = x @ w.t()
    return torch.allclose(turned, expected, atol=1e-4) and all(
        torch.allclose(f, expected + bias, atol=1e-4) for f in found
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias``."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def _packed(weight: Tensor, rows: int) -> Tensor:
    result: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return result


class _OneDnn(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Below autograd: the graph, and what it keeps, are the same."""

    def __init__(self, frozen: nn.Module | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        parameters = () if frozen is None else frozen.parameters()
        self._frozen = {p.untyped_storage().data_ptr() for p in parameters}
        self._layouts: dict[tuple[int, ...], Tensor] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if not kwargs:
            run = _OURS.get(func)
            result = run(self, *args) if run is not None else None
            if result is not None:
                return result
        return func(*args, **(kwargs or {}))

    def addmm(self, bias: Tensor, x: Tensor, turned: Tensor) -> Tensor | None:
        """``x @ turned + bias``; ``None`` where it is not worth it."""
        return self._times(x, turned, bias) if bias.ndim == 1 and _large(x, turned) else None

    def mm(self, x: Tensor, turned: Tensor) -> Tensor | None:
        """``x @ turned``, and nothing done for rows that are zero."""
        if not _large(x, turned):
            return None
        # Behind the choice of a token the others get no gradient: one look at the last.
        if not bool(x[-1].any()):
            (at,) = x.any(1).nonzero(as_tuple=True)
            result = x.new_zeros(len(x), turned.shape[1])
            return result.index_copy_(0, at, x[at] @ turned) if len(at) else result
        return self._times(x, turned, None)

    def bmm(self, x: Tensor, turned: Tensor) -> Tensor | None:
        """One matrix for the whole batch, as where torch does not fold a linear layer's input."""
        if turned.stride(0) != 0 or not _large(x, turned[0]):
            return None
        return self._times(x.reshape(-1, x.shape[-1]), turned[0], None).view(*x.shape[:2], -1)

    def patches(
        self,
        grad: Tensor,
        image: Tensor,
        weight: Tensor,
        _biases: Any,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        transposed: bool,
        _more: list[int],
        groups: int,
        wanted: list[bool],
    ) -> tuple[Tensor, None, None] | None:
        """The input's gradient of a convolution whose windows tile an image: one product."""
        out, channels, *window = weight.shape
        sides = [n * s for n, s in zip(grad.shape[2:], stride, strict=True)]
        tiles = window == list(stride) and sides == list(image.shape[2:]) and len(window) == 2
        plain = not any(padding) and all(d == 1 for d in dilation) and groups == 1
        if not tiles or not plain or transposed or list(wanted) != [True, False, False]:
            return None
        flat, turned = grad.permute(0, 2, 3, 1).reshape(-1, out), weight.reshape(out, -1)
        if not _large(flat, turned):
            return None
        rows = self._times(flat, turned, None)
        tiled = rows.view(len(grad), *grad.shape[2:], channels, *window)
        return tiled.permute(0, 3, 1, 4, 2, 5).reshape(image.shape), None, None

    def _times(self, x: Tensor, turned: Tensor, bias: Tensor | None) -> Tensor:
        weight = turned.t()
        if turned.untyped_storage().data_ptr() in self._frozen:
            weight = self._laid_out(weight, len(x))
        return _product(x.contiguous(), weight, bias)

    def _laid_out(self, weight: Tensor, rows: int) -> Tensor:
        key = (weight.data_ptr(), *weight.shape, *weight.stride())
        if key not in self._layouts:
            self._layouts[key] = _packed(weight.contiguous(), rows)
        return self._layouts[key]


_OURS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.addmm.default: _OneDnn.addmm,
    torch.ops.aten.mm.default: _OneDnn.mm,
    torch.ops.aten.bmm.default: _OneDnn.bmm,
    torch.ops.aten.convolution_backward.default: _OneDnn.patches,
}


def _large(x: Tensor, turned: Tensor) -> bool:
    return (
        x.dtype == turned.dtype == torch.float32
        and x.device.type == "cpu"
        and x[..., 0].numel() >= _ROWS
        and x.numel() * turned.shape[-1] >= _MACS
    )
