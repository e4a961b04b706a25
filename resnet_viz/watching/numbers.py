"""Numbers of many tensors at once, made on their device; one transfer brings them over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from resnet_viz.measuring.device import to_host
from resnet_viz.measuring.gradients.products import dot, flat


@contextmanager
def undisturbed(device_type: str) -> Iterator[None]:
    """No gradient and no autocast: a norm is no part of the training, nor in bfloat16.

    A hook runs under whatever the user's loop has switched on around ``backward``.
    """
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        if device_type == "cpu":
            yield
        else:
            with torch.autocast(device_type, enabled=False):
                yield


def lengths(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norm of each, ``(n,)``, in float32 or better, without waiting for the device."""
    return _by_device(tensors, _lengths)


def highs(tensors: Sequence[Tensor]) -> Tensor:
    """Largest magnitude of each, ``(n,)``; NaN where there is one."""
    return _by_device(tensors, _highs)


def dots(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Inner product of each pair, ``(n,)``."""
    if not left:
        return torch.zeros(0)
    here = left[0].device
    pairs = zip(map(_row, left), map(_row, right), strict=True)
    return torch.stack([dot(a, b).to(here) for a, b in pairs])


class Transfer:
    """Numbers that come to the host together: asked for first, fetched once, then called."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._end = 0
        self._values: list[float] = []

    def row(self, tensor: Tensor | None) -> Callable[[], list[float]]:
        """Gives the elements of a tensor after ``fetch``; none for ``None``."""
        if tensor is None:
            return list
        begin, self._end = self._end, self._end + tensor.numel()
        end = self._end
        self._tensors.append(tensor)
        return lambda: self._values[begin:end]

    def number(self, value: Tensor | float | None) -> Callable[[], float | None]:
        """Gives the number after ``fetch``, or at once where it is on the host already."""
        if not isinstance(value, Tensor):
            # A schedule in NumPy makes rates of its own types.
            on_host = None if value is None else float(value)
            return lambda: on_host
        row = self.row(value)
        return lambda: row()[0]

    def fetch(self) -> None:
        """The one wait for the device."""
        self._values = to_host(self._tensors)


def _by_device(tensors: Sequence[Tensor], measure: Callable[[list[Tensor]], Tensor]) -> Tensor:
    if not tensors:
        return torch.zeros(0)
    solid = [_solid(tensor) for tensor in tensors]
    here = solid[0].device
    places: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for place, tensor in enumerate(solid):
        places.setdefault((tensor.device, tensor.dtype), []).append(place)
    if len(places) == 1:
        return measure(solid)
    found: list[Tensor] = [solid[0]] * len(solid)
    for group in places.values():
        for place, number in zip(group, measure([solid[i] for i in group]).unbind(), strict=True):
            found[place] = number.to(here)
    return torch.stack(found)


def _lengths(tensors: list[Tensor]) -> Tensor:
    if tensors[0].device.type == "cpu":
        rows = [flat(tensor) for tensor in tensors]
        return torch.stack([dot(row, row) for row in rows]).sqrt()
    return torch.stack(torch._foreach_norm(tensors, 2, dtype=_wide(tensors[0])))


def _highs(tensors: list[Tensor]) -> Tensor:
    if tensors[0].device.type == "cpu":
        # Not ``norm(inf)``: ten times slower there.
        ends = [torch.aminmax(flat(tensor)) for tensor in tensors if tensor.numel()]
        if len(ends) < len(tensors):
            return torch.stack([_high(tensor) for tensor in tensors])
        return torch.maximum(
            torch.stack([x.max for x in ends]), -torch.stack([x.min for x in ends])
        )
    return torch.stack(torch._foreach_norm(tensors, float("inf"), dtype=_wide(tensors[0])))


def _high(tensor: Tensor) -> Tensor:
    return flat(tensor).abs().max() if tensor.numel() else flat(tensor).sum()


def _wide(tensor: Tensor) -> torch.dtype:
    """Squares of a gradient of 1e-20, as a deep net of sigmoids has, are zero in float32."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def _row(tensor: Tensor) -> Tensor:
    return flat(_solid(tensor))


def _solid(tensor: Tensor) -> Tensor:
    """The stored numbers of a sparse, complex or sharded tensor; others as they are."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        return tensor.coalesce().values()
    if tensor.is_complex():
        return torch.view_as_real(tensor)
    whole = getattr(tensor, "full_tensor", None)
    # A part of a sharded parameter says nothing of its norm; every process is here.
    return tensor if whole is None else whole()
