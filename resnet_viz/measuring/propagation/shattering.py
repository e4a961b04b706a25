"""How alike the gradients of different samples are, on their way back to the input.

In eval mode samples do not couple: one backward of a sum over the batch gives each
sample's gradient. What is differentiated is one random linear readout of the output, the
same for all samples, as Balduzzi et al. 2017 (1702.08591) differentiate a scalar function.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from resnet_viz.core.errors import NotApplicableError
from resnet_viz.core.propagation import Shattering
from resnet_viz.measuring.device import to_host
from resnet_viz.measuring.propagation.opened import Opened, Spot, differentiate


def measure_shattering(opened: Opened, places: Mapping[str, Spot], seed: int) -> Shattering:
    """The mean cosine of the gradients of two samples, place by place.

    Cosine and not centred correlation: over random weights a gradient's mean is zero.

    Args:
        opened: The forward, of two samples or more.
        places: Where, from the output back, by name.
        seed: Of the readout.

    Raises:
        NotApplicableError: If there are fewer than two samples, or all gradients are zero.
    """
    if opened.samples < 2:
        raise NotApplicableError("one sample has nothing to be compared with")
    end = opened.output
    generator = torch.Generator().manual_seed(seed)
    readout = torch.randn(end.shape[1:], generator=generator, device="cpu")
    v = readout.to(end.device, end.dtype).expand(end.shape)
    gradients = differentiate(end, places.values(), v)
    pairs = zip(places, gradients, strict=True)
    measured = {name: _cosines(g.flatten(1)) for name, g in pairs if g is not None}
    numbers = to_host([n for pair in measured.values() for n in pair])
    means = {
        name: numbers[2 * i] / numbers[2 * i + 1]
        for i, name in enumerate(measured)
        if numbers[2 * i + 1]
    }
    if not means:
        raise NotApplicableError("every gradient is zero")
    return Shattering(
        places=tuple(means), correlations=tuple(means.values()), samples=opened.samples
    )


def _cosines(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the cosines of all pairs of rows, and how many pairs have one."""
    rows = rows if rows.dtype == torch.float64 else rows.float()
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    rows = torch.where(norms > 0, rows / norms, 0.0)
    off = 1 - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    alive = (norms > 0).to(rows.dtype)
    return (rows @ rows.T * off).sum(), (alive @ alive.T * off).sum()
