"""How far a place of a map really looks: effective receptive fields (Luo et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor

from resnet_viz.core.depth_views import ReceptiveField

HELD = 0.95
"""Part of the gradient's magnitude that the effective field holds."""


def centre_of(
    field: ReceptiveField | None, grid: tuple[int, int], size: tuple[int, int]
) -> tuple[float, float]:
    """Where the field of a map's central place has its middle, in input pixels.

    Args:
        field: The theoretical field, where it is known.
        grid: Rows and columns of the map.
        size: Of the input.
    """
    places = [count // 2 for count in grid]
    if field is not None:
        middles = zip(field.centre, field.stride, places, strict=True)
        return tuple(c + s * p for c, s, p in middles)  # type: ignore[return-value]
    ratios = zip(places, size, grid, strict=True)
    return tuple((p + 0.5) * s / g - 0.5 for p, s, g in ratios)  # type: ignore[return-value]


def effective_side(magnitude: Tensor, centre: tuple[float, float]) -> float | None:
    """Side of the smallest square around ``centre`` that holds ``HELD`` of the magnitude.

    Args:
        magnitude: ``(H, W)``, not negative.
        centre: In pixels from the middle of the first one.

    Returns:
        ``None`` where there is no magnitude.
    """
    values = magnitude.detach().to("cpu", torch.float64)
    total = float(values.sum())
    if not total > 0:
        return None
    rows, columns = (
        (torch.arange(size, dtype=torch.float64, device="cpu") - at).abs()
        for size, at in zip(values.shape, centre, strict=True)
    )
    away, order = torch.maximum(rows[:, None], columns[None]).flatten().sort()
    held = values.flatten()[order].cumsum(0)
    # The last sum may fall short of the total by its rounding.
    enough = min(int((held < HELD * total).sum()), len(away) - 1)
    return 2 * float(away[enough]) + 1
