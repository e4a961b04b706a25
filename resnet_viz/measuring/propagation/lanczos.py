"""Extreme eigenvalues of a positive operator that is known only by its products.

Lanczos with full re-orthogonalisation: without it, float32 finds the same large
eigenvalue again and again (Golub & Van Loan, Matrix Computations, 10.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_SMALL = 100.0
"""A new direction is none if its length is below this many units of rounding."""


@dataclass(frozen=True, slots=True)
class Tridiagonal:
    """What is left of an operator in its Krylov space; one row per sample.

    Attributes:
        diagonal: ``(S, k)``.
        beside: ``(S, k)``: lengths of the new directions; 0 from where there was none.
    """

    diagonal: Tensor
    beside: Tensor

    @staticmethod
    def extremes(diagonal: Sequence[float], beside: Sequence[float]) -> Extremes:
        """Largest and smallest eigenvalue of one sample, off its two transferred rows."""
        steps = next((k for k, b in enumerate(beside, 1) if b == 0), len(diagonal))
        off = torch.tensor(beside[: steps - 1], dtype=torch.float64)
        small = torch.diag(torch.tensor(diagonal[:steps], dtype=torch.float64))
        small += torch.diag(off, 1) + torch.diag(off, -1)
        values = torch.linalg.eigvalsh(small)
        return Extremes(float(values[-1]), float(values[0]), beside[steps - 1] == 0)


@dataclass(frozen=True, slots=True)
class Extremes:
    """Eigenvalues of the ends, and whether the Krylov space was exhausted."""

    largest: float
    smallest: float
    exact: bool


def lanczos(
    product: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    advance: Callable[[], None] = lambda: None,
) -> Tridiagonal:
    """The operator in the Krylov space of ``start``, sample by sample.

    Args:
        product: ``(S, n)`` to ``(S, n)``, symmetric and positive for each of S samples.
        start: ``(S, n)``; any length, no row zero.
        steps: At most; never more than n. Holds so many vectors.
        advance: Called after each step.
    """
    rounding = _SMALL * torch.finfo(start.dtype).eps
    steps = min(steps, start.shape[1])
    basis = start.new_zeros((steps + 1, *start.shape))
    basis[0] = start / torch.linalg.vector_norm(start, dim=1, keepdim=True)
    diagonal, beside = [], []
    scale = torch.zeros_like(start[:, 0])
    for step in range(steps):
        ahead = product(basis[step])
        along = (ahead * basis[step]).sum(1)
        known = basis[: step + 1]
        for _ in range(2):  # twice is enough (Parlett, The Symmetric Eigenvalue Problem)
            parts = torch.einsum("ksn,sn->ks", known, ahead)
            ahead = ahead - torch.einsum("ks,ksn->sn", parts, known)
        length = torch.linalg.vector_norm(ahead, dim=1)
        scale = torch.maximum(scale, along.abs() + length)
        # After n steps there is no further direction, only rounding.
        found = (length > rounding * scale) & (step < start.shape[1] - 1)
        diagonal.append(along)
        beside.append(torch.where(found, length, 0.0))
        basis[step + 1] = torch.where(found[:, None], ahead / length[:, None], 0.0)
        advance()
    return Tridiagonal(torch.stack(diagonal, 1), torch.stack(beside, 1))
