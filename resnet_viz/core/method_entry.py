"""``MethodEntry``: an attribution method, and whether it holds on a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodEntry:
    """One row of the table of methods, in words.

    Attributes:
        name: What ``--method`` takes.
        title: What a reader reads.
        source: Paper.
        says: What its values mean, and what they do not claim.
        needs: A layer, a baseline, a rewritten copy of the model; comma-separated.
        valid_on: On which models it holds.
        refused: Why it does not hold on the model at hand; empty where it does, or where no
            model was given.
    """

    name: str
    title: str
    source: str
    says: str
    needs: str
    valid_on: str
    refused: str = ""
