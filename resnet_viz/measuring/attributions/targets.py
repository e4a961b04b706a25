"""What is explained: one number per sample, made from whatever ``forward`` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from resnet_viz.core.errors import UserError

TargetWish: TypeAlias = "int | Sequence[int] | Tensor | str | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A number per sample.

    Attributes:
        words: What it is, per sample (``class 281``).
        columns: Column of the table of scores per sample; ``None`` for ``reduce``.
        reduce: ``sum`` or ``mean`` of all outputs.
        last: Whether the table is of the last position (token logits).
    """

    words: tuple[str, ...]
    columns: Tensor | None = None
    reduce: Literal["sum", "mean"] = "mean"
    last: bool = False

    def __call__(self, output: Tensor) -> Tensor:
        """Scores ``(k · S,)`` of an output whose samples ``(S, …)`` come k times."""
        if self.columns is None:
            flat = output.flatten(1) if output.ndim > 1 else output[:, None]
            return flat.sum(1) if self.reduce == "sum" else flat.mean(1)
        table = _table(output, self.last)
        columns = self.columns.repeat(len(table) // len(self.columns))
        return table.gather(1, columns[:, None]).squeeze(1)


def choose_score(
    output: Tensor, wish: TargetWish, *, name: str = "", several: bool = False
) -> Score:
    """The score to explain.

    Args:
        output: ``(S, …)``, samples first.
        wish: A column for all samples, one per sample, ``"argmax"``, ``"sum"``,
            ``"mean"``, or ``None``: the largest column of ``(S, C)``; of maps
            ``(S, C, H, W)`` the class that wins at most positions, averaged over all;
            of token logits the largest at the last position; of other sequences the
            channel that is largest on average (the mean over channels would be a
            constant after a layer norm).
        name: Place of the output in what ``forward`` returns.
        several: Whether it returns other outputs too, so that the name must be said.

    Raises:
        UserError: If the wish does not fit the output.
    """
    samples = len(output)
    of = f" of output {name}" if several and name else ""
    if isinstance(wish, str) and wish not in ("argmax", "sum", "mean"):
        raise UserError(
            f"target {wish!r} is not known: give a class number, argmax, sum, mean, or nothing"
        )
    if wish in ("sum", "mean") and isinstance(wish, str):
        reduce: Literal["sum", "mean"] = "sum" if wish == "sum" else "mean"
        return Score(words=(f"{wish} of the outputs{of}",) * samples, reduce=reduce)
    last = output.ndim == 3 and name.rpartition(".")[2] == "logits"
    table = _table(output, last)
    columns = _columns(output, table, wish)
    where = " at the last position" if last else ", mean over all positions" * (output.ndim > 2)
    if table.shape[1] == 1:
        words = (f"the output{of}{where}",) * samples
    else:
        kind = "token" if last else "channel" if output.ndim == 3 else "class"
        words = tuple(f"{kind} {c}{of}{where}" for c in columns.tolist())
    return Score(words=words, columns=columns, last=last)


def _table(output: Tensor, last: bool) -> Tensor:
    """``(S, C)``: a number per sample and class."""
    if output.ndim == 1:
        return output[:, None]
    if output.ndim == 2:
        return output
    if output.ndim == 3:
        return output[:, -1] if last else output.mean(1)
    return output.flatten(2).mean(2)


def _columns(output: Tensor, table: Tensor, wish: TargetWish) -> Tensor:
    samples, classes = table.shape
    if wish is None or isinstance(wish, str):
        if output.ndim >= 4:
            return output.argmax(1).flatten(1).mode(1).values
        return table.argmax(1)
    try:
        given = torch.as_tensor(wish, device=table.device)
    except (TypeError, ValueError, RuntimeError):
        given = torch.empty(0)
    if given.dtype.is_floating_point or given.dtype == torch.bool or given.ndim > 1:
        raise UserError(f"target {wish!r} is no class number: give an integer, or one per sample")
    if given.ndim == 1 and len(given) not in (1, samples):
        raise UserError(f"{len(given)} targets for {samples} samples: give one, or one per sample")
    for number in given.reshape(-1).tolist():
        if not 0 <= number < classes:
            raise UserError(
                f"target {number} is not there: the output has {classes} "
                f"{'class' if classes == 1 else 'classes'}, 0 to {classes - 1}"
            )
    return given.to(torch.int64).expand(samples)
