"""Parameters and MACs of torchvision's classifiers against what torchvision publishes.

``python -m tests.analysis.published`` compares all of them and prints a table; the tests
take a few. No weights are ever in memory.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import nn

from resnet_viz.tracing.tracer import trace_model

TOLERANCE = 0.006e9
"""Published figures are rounded to 0.001 G and leave out what is no convolution or linear."""

# The weights that torchvision publishes for these come without the auxiliary heads.
_BUILT: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"init_weights": False},
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model: what the trace counts and what is published."""

    name: str
    weights: str
    side: int
    params: int
    published_params: int
    macs: int
    published_macs: float

    @property
    def agrees(self) -> bool:
        """Whether parameters are equal and MACs within the tolerance."""
        return (
            self.params == self.published_params
            and abs(self.macs - self.published_macs) <= TOLERANCE
        )


def classifiers() -> list[str]:
    """Every classifier with published weights."""
    return torchvision.models.list_models(module=torchvision.models)


def compare(name: str) -> Row:
    """Traces the model at the size its default weights are for."""
    weights = torchvision.models.get_model_weights(name).DEFAULT
    side = weights.transforms().crop_size[0]
    graph = trace_model(_built(name).eval(), (torch.empty(1, 3, side, side, device="meta"),))
    assert not graph.uncounted
    return Row(
        name=name,
        weights=weights.name,
        side=side,
        params=graph.total_params,
        published_params=weights.meta["num_params"],
        macs=graph.total_macs,
        published_macs=weights.meta["_ops"] * 1e9,
    )


def _built(name: str) -> nn.Module:
    changes = _BUILT.get(name, {})
    if name.startswith("vit"):
        weights = torchvision.models.get_model_weights(name).DEFAULT
        changes = {"image_size": weights.transforms().crop_size[0]}
    with warnings.catch_warnings(), _no_initialisation():
        warnings.simplefilter("ignore")
        # RegNet works its widths out in tensors; what nobody fills takes no memory either.
        device = "cpu" if name.startswith("regnet") else "meta"
        with torch.device(device):
            return torchvision.models.get_model(name, weights=None, **changes)


@contextlib.contextmanager
def _no_initialisation() -> Any:
    """Some of torchvision's own initialisation reads values, which meta has none of."""
    kept = {key: value for key, value in vars(nn.init).items() if key.endswith("_")}
    for key in kept:
        if not key.startswith("_"):
            setattr(nn.init, key, lambda tensor, *args, **kwargs: tensor)
    try:
        yield
    finally:
        for key, value in kept.items():
            setattr(nn.init, key, value)


def main() -> int:
    """Prints the table; 1 where something does not agree."""
    rows = [compare(name) for name in classifiers()]
    for row in rows:
        params = "=" if row.params == row.published_params else f"{row.published_params:,}"
        sys.stdout.write(
            f"{row.name:22}{row.side:5}{row.params:14,} {params:12}{row.macs / 1e9:9.4f} G "
            f"{row.published_macs / 1e9:8.3f} G {'' if row.agrees else 'DIFFERS'}\n"
        )
    agree = sum(row.agrees for row in rows)
    sys.stdout.write(f"{agree} of {len(rows)} agree\n")
    return int(agree != len(rows))


if __name__ == "__main__":
    raise SystemExit(main())
