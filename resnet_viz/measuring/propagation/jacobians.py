"""A Jacobian known by its products, and what they say of its singular values.

Products with Jᵀ are backward passes. Products with J are backward passes through the
graph of such a pass, which is linear in what came in: that needs no second forward, and
works on activations in place. Samples do not couple in eval mode, so one product serves
all of a batch, each with a Jacobian of its own.
"""

from __future__ import annotations

import math
from statistics import fmean, stdev

import torch
from torch import Tensor

from resnet_viz.core.errors import NotApplicableError, one_line
from resnet_viz.core.progress import Progress
from resnet_viz.core.propagation import Spectrum
from resnet_viz.measuring.device import to_host
from resnet_viz.measuring.propagation.lanczos import Extremes, Tridiagonal, lanczos
from resnet_viz.measuring.propagation.opened import Spot, differentiate

_NOT_FINITE = "the Jacobian holds NaN or infinity: check weights and input"


class Jacobian:
    """∂ end / ∂ starts, one matrix ``(rows, columns)`` for each of S samples.

    Attributes:
        samples: S.
        rows: Elements of one sample at the end.
        columns: Elements of one sample at all starts.
    """

    def __init__(self, starts: tuple[Spot, ...], end: Spot) -> None:
        self._starts = starts
        self._end = end
        self.samples = end.shape[0]
        self.rows = end.numel
        self.columns = sum(spot.numel for spot in starts)
        wide = all(spot.dtype == torch.float64 for spot in (*starts, end))
        self._dtype = torch.float64 if wide else torch.float32
        self._adjoint: tuple[Tensor, tuple[Tensor | None, ...]] | None = None

    def pull(self, v: Tensor) -> Tensor:
        """Jᵀ v: ``(S, rows)`` to ``(S, columns)``."""
        gradients = differentiate(self._end, self._starts, v)
        parts = [
            v.new_zeros(spot.shape) if g is None else g.to(self._dtype)
            for g, spot in zip(gradients, self._starts, strict=True)
        ]
        return torch.cat([part.flatten(1) for part in parts], 1)

    def push(self, u: Tensor) -> Tensor:
        """J u: ``(S, columns)`` to ``(S, rows)``.

        Raises:
            NotApplicableError: If an op on the way has no second derivative.
        """
        try:
            seed, adjoint = self._transposed()
            parts = torch.split(u, [spot.numel for spot in self._starts], 1)
            pairs = [
                (g, part.reshape(g.shape).to(g.dtype))
                for g, part in zip(adjoint, parts, strict=True)
                if g is not None and g.requires_grad
            ]
            if not pairs:
                return u.new_zeros(self.samples, self.rows)
            (found,) = torch.autograd.grad(
                [g for g, _ in pairs], seed, [p for _, p in pairs], retain_graph=True
            )
        except RuntimeError as error:
            raise NotApplicableError(
                f"an op on the way cannot be differentiated twice: {one_line(error, 160)}"
            ) from error
        return found.to(self._dtype).flatten(1)

    def couples(self) -> bool:
        """Whether one sample's output depends on another sample's input."""
        v = self.random(torch.Generator().manual_seed(0), self.rows)
        v[1:] = 0
        return bool(self.pull(v)[1:].nan_to_num().any())

    def random(self, generator: torch.Generator, size: int) -> Tensor:
        """``(S, size)`` of the numbers −1 and 1 (Rademacher)."""
        bits = torch.randint(0, 2, (self.samples, size), generator=generator, device="cpu")
        return (2 * bits - 1).to(self._end.device, self._dtype)

    def unit(self, row: int) -> Tensor:
        """``(S, rows)``: the same unit vector for each sample."""
        v = torch.zeros(self.samples, self.rows, dtype=self._dtype, device=self._end.device)
        v[:, row] = 1
        return v

    def _transposed(self) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        if self._adjoint is None:
            seed = torch.zeros(
                self._end.shape, dtype=self._end.dtype, device=self._end.device
            ).requires_grad_()
            self._adjoint = (
                seed,
                differentiate(self._end, self._starts, seed, create_graph=True),
            )
        return self._adjoint


def spectrum_of(
    jacobian: Jacobian,
    *,
    start: str,
    end: str,
    probes: int,
    steps: int,
    seed: int,
    progress: Progress,
) -> Spectrum:
    """Moments and extremes of the squared singular values, mean over the samples.

    Where there are no more rows than probes, every row is computed and all is exact.

    Args:
        jacobian: Of samples that do not couple.
        start: What it is taken with respect to, in words.
        end: What is differentiated, in words.
        probes: Rademacher vectors v of Hutchinson: E‖Jᵀv‖² = tr JJᵀ and
            E‖JJᵀv‖² = tr (JJᵀ)².
        steps: Of Lanczos, on JJᵀ or JᵀJ, whichever is smaller.
        seed: Of the random vectors.
        progress: Told of every product.

    Raises:
        NotApplicableError: If products with J cannot be had.
    """
    whole = jacobian.rows <= probes
    progress.start(f"Jacobian of {end}", jacobian.rows if whole else probes + steps)
    try:
        if whole:
            return _whole(jacobian, start, end, progress)
        return _estimated(jacobian, start, end, probes, steps, seed, progress)
    finally:
        progress.finish()


def _whole(jacobian: Jacobian, start: str, end: str, progress: Progress) -> Spectrum:
    rows = []
    for row in range(jacobian.rows):
        rows.append(jacobian.pull(jacobian.unit(row)))
        progress.advance()
    matrices = torch.stack(rows, 1)
    if not bool(matrices.isfinite().all()):
        raise NotApplicableError(_NOT_FINITE)
    values = to_host([torch.linalg.svdvals(matrices)])
    count = len(values) // jacobian.samples
    of_sample = [values[i : i + count] for i in range(0, len(values), count)]
    return Spectrum(
        start=start,
        end=end,
        rows=jacobian.rows,
        columns=jacobian.columns,
        mean_square=fmean(sum(s**2 for s in found) / jacobian.rows for found in of_sample),
        mean_square_error=0.0,
        mean_fourth=fmean(sum(s**4 for s in found) / jacobian.rows for found in of_sample),
        mean_fourth_error=0.0,
        largest=fmean(max(found) for found in of_sample),
        smallest=fmean(min(found) for found in of_sample),
        exact=True,
        probes=0,
        steps=0,
        samples=jacobian.samples,
    )


def _estimated(
    jacobian: Jacobian,
    start: str,
    end: str,
    probes: int,
    steps: int,
    seed: int,
    progress: Progress,
) -> Spectrum:
    generator = torch.Generator().manual_seed(seed)
    seconds, fourths = [], []
    for _ in range(probes):
        pulled = jacobian.pull(jacobian.random(generator, jacobian.rows))
        pushed = jacobian.push(pulled)
        seconds.append(pulled.square().sum())
        fourths.append(pushed.square().sum())
        progress.advance()
    wide = jacobian.rows > jacobian.columns
    first = jacobian.random(generator, min(jacobian.rows, jacobian.columns))
    small = lanczos(
        (lambda v: jacobian.pull(jacobian.push(v)))
        if wide
        else (lambda v: jacobian.push(jacobian.pull(v))),
        first,
        steps,
        progress.advance,
    )
    numbers = to_host([*seconds, *fourths, small.diagonal, small.beside])
    if not all(map(math.isfinite, numbers)):
        raise NotApplicableError(_NOT_FINITE)
    elements = jacobian.samples * jacobian.rows
    mean_square, mean_square_error = _mean([n / elements for n in numbers[:probes]])
    mean_fourth, mean_fourth_error = _mean([n / elements for n in numbers[probes : 2 * probes]])
    ends = _ends(small, numbers[2 * probes :])
    return Spectrum(
        start=start,
        end=end,
        rows=jacobian.rows,
        columns=jacobian.columns,
        mean_square=mean_square,
        mean_square_error=mean_square_error,
        mean_fourth=mean_fourth,
        mean_fourth_error=mean_fourth_error,
        largest=fmean(math.sqrt(max(e.largest, 0.0)) for e in ends),
        smallest=fmean(math.sqrt(max(e.smallest, 0.0)) for e in ends),
        exact=all(e.exact for e in ends),
        probes=probes,
        steps=small.diagonal.shape[1],
        samples=jacobian.samples,
    )


def _ends(small: Tridiagonal, numbers: list[float]) -> list[Extremes]:
    samples, steps = small.diagonal.shape
    rows = [numbers[i : i + steps] for i in range(0, len(numbers), steps)]
    pairs = zip(rows[:samples], rows[samples:], strict=True)
    return [small.extremes(diagonal, beside) for diagonal, beside in pairs]


def _mean(values: list[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return fmean(values), error
