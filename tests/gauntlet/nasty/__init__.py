"""Hand-written models, a few lines each, that break tracers; each says what it tests."""

from __future__ import annotations

from tests.gauntlet.cases import NASTY, Case
from tests.gauntlet.nasty import (  # noqa: F401  (each registers its models)
    control,
    functions,
    gradients,
    modules,
    sequence,
    surroundings,
    tensors,
    values,
    writes,
)

CASES: dict[str, Case] = NASTY
