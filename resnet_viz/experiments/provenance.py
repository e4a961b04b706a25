"""What an experiment ran on, for the foot of its report."""

from __future__ import annotations

import platform
from importlib.metadata import version

from resnet_viz.core.report import Provenance
from resnet_viz.core.version import __version__


def ran_on(
    *,
    data: str,
    device: str,
    seed: int | None,
    model: str = "",
    weights: str = "drawn at random",
) -> Provenance:
    """Tool, libraries, device and seed; no date, so that equal runs have equal values.

    Args:
        data: What went in, in words.
        device: Where it ran.
        seed: The first, or ``None`` where there are several.
        model: Names of the nets.
        weights: Where theirs come from.
    """
    return Provenance(
        tool=f"resnet-viz {__version__}",
        model=model,
        weights=weights,
        input=data,
        device=device,
        seed=seed,
        libraries=(f"Python {platform.python_version()}", f"torch {version('torch')}"),
    )
