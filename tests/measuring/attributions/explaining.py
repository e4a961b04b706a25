"""How the tests of attributions ask, and what they compare."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.analysis import annotate
from resnet_viz.core.attribution import Attribution, Attributions
from resnet_viz.core.attribution_options import NAMES, AttributionOptions
from resnet_viz.core.pictures import Heatmap
from resnet_viz.measuring.attributions import measure
from resnet_viz.tracing.tracer import trace_model

IG, SALIENCY, CAM = "integrated gradients", "saliency", "layer Grad-CAM"


def attribute_inputs(
    model: nn.Module, args: Any, kwargs: Any = None, **options: Any
) -> Attributions:
    """``measure.attribute_inputs``, which takes what is asked as one value."""
    own = {name: options.pop(name) for name in NAMES & options.keys()}
    asked = AttributionOptions(**{"relevance": False, "stages": False, "trust": "off", **own})
    return measure.attribute_inputs(model, args, kwargs, options=asked, **options)


def explain(
    model: nn.Module, *args: Any, kwargs: dict[str, Any] | None = None, **options: Any
) -> Attributions:
    graph = trace_model(model, args, kwargs)
    options = {"n_steps": 8, **options}
    return attribute_inputs(model, args, kwargs, graph=graph, structure=annotate(graph), **options)


def unquantised(heatmap: Heatmap) -> Tensor:
    values = torch.tensor(list(heatmap.data), dtype=torch.float64)
    values = heatmap.low + values / 255 * (heatmap.high - heatmap.low)
    return values.view(heatmap.height, heatmap.width)


def assert_shows(found: Attribution, expected: Tensor) -> None:
    """The map is the expected one, its ends exactly and the rest within half a step."""
    heatmap = found.heatmap
    assert heatmap is not None
    torch.testing.assert_close(
        torch.tensor([heatmap.low, heatmap.high], dtype=torch.float64),
        torch.stack([expected.min(), expected.max()]),
        rtol=1e-6,
        atol=1e-12,
    )
    step = (heatmap.high - heatmap.low) / 255
    assert (unquantised(heatmap) - expected).abs().max() <= 0.501 * step


def bars(found: Attribution) -> Tensor:
    return torch.tensor([bar.value for bar in found.bars], dtype=torch.float64)


class Net(nn.Module):
    """Residual, in-place from its very first op on, with batch norm and dropout."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.first = nn.ReLU(inplace=True)
        self.stem = nn.Conv2d(channels, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.body = nn.Conv2d(6, 6, 3, stride=1, padding=1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(self.stem(self.first(x))))
        z = self.body(y)
        z += y
        return self.head(self.drop(z.relu_().mean((2, 3))))


class Recurrent(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=batch_first).double()

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        result: tuple[Tensor, tuple[Tensor, Tensor]] = self.lstm(x)
        return result


def state_of(model: nn.Module) -> dict[str, Any]:
    return {
        "values": {k: v.clone() for k, v in model.state_dict(keep_vars=False).items()},
        "identities": [id(t) for t in (*model.parameters(), *model.buffers())],
        "needs": [t.requires_grad for t in (*model.parameters(), *model.buffers())],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in model.modules()
        ],
        "random": torch.get_rng_state(),
    }


def assert_unchanged(model: nn.Module, before: dict[str, Any]) -> None:
    torch.testing.assert_close(state_of(model), before, rtol=0, atol=0)


def half_trained(model: Net) -> Net:
    model.train()
    model.norm.eval()
    model.stem.weight.requires_grad_(False)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    return model
