"""What every experiment's result has: rows, and checks against closed forms and papers."""

from __future__ import annotations

from dataclasses import dataclass

from resnet_viz.core.display import Savable


class Result(Savable):
    """What an experiment found: saves and shows itself, and gives its numbers as rows."""

    __slots__ = ()

    def to_records(self, table: str = "") -> list[dict[str, object]]:
        """Flat dicts for ``pandas.DataFrame``.

        Args:
            table: A name of ``core.experiments.records``; the main table, which ``.csv``
                holds, where empty.

        Raises:
            UserError: If the result has no such table; lists those it has.
        """
        from resnet_viz.core.experiments.records import records

        return records(self, table)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A measured number beside the one that theory or a paper gives.

    Attributes:
        what: What was measured, in words and units.
        measured: What came out.
        expected: What theory or the paper says; ``None`` for a bound or an order that
            is told in ``allowed`` alone.
        allowed: When it counts as met, in words: ``within 2 %``, ``more than 10``.
        holds: Whether it is met.
        source: The closed form or the paper.
    """

    what: str
    measured: float
    expected: float | None = None
    allowed: str
    holds: bool
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNorms:
    """Norms of the loss gradient with respect to each layer's weight, at one moment.

    Attributes:
        step: Optimizer steps done before; 0 is initialisation.
        layers: Names of the weights, in forward order.
        norms: L2 norm of the gradient of each.
    """

    step: int
    layers: tuple[str, ...]
    norms: tuple[float, ...]

    @property
    def first_over_last(self) -> float:
        """Norm at the first layer over norm at the last; above 1 the gradient grows backward.

        NaN where both are zero.
        """
        first, last = self.norms[0], self.norms[-1]
        return first / last if last else float("inf" if first else "nan")
