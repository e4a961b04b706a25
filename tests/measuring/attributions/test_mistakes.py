"""What a person can get wrong ends in one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnet_viz.analysis import annotate
from resnet_viz.core.errors import ModelError, NotApplicableError, UserError
from resnet_viz.measuring.attributions.answers import in_one_line
from resnet_viz.measuring.attributions.methods import find_methods
from resnet_viz.tracing.tracer import trace_model
from tests.measuring.attributions.explaining import Net, attribute_inputs, explain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("salience",)}, "unknown attribution method 'salience'.*mean saliency"),
        ({"methods": ("gradcam",)}, "mean layer_grad_cam.*known: saliency, input_x_gradient"),
        ({"layer": "bady"}, "no module is called 'bady'.*mean body"),
        ({"layer": "head"}, "Grad-CAM: module 'head' gives 2×5, not channels at several"),
        ({"target": 5}, "target 5 is not there: the output has 5 classes, 0 to 4"),
        ({"target": -1}, "target -1 is not there"),
        ({"target": "cat"}, "target 'cat' is no class number"),
        ({"target": 1.5}, "target 1.5 is no class number"),
        ({"target": ["a"]}, "is no class number"),
        ({"target": [1, 2, 3]}, "3 targets for 2 samples"),
        ({"baselines": torch.zeros(7)}, "baseline of shape 7 does not fit the input x"),
        ({"baselines": (0, 1)}, "2 baselines for 1 inputs"),
        ({"n_steps": 0}, "n_steps=0 was given"),
    ],
)
def test_a_mistake_ends_in_one_line(
    net: Net, images: Tensor, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        explain(net, images, **options)
    assert "\n" not in str(caught.value)


def test_a_module_that_runs_twice_is_no_layer(resnet: nn.Module) -> None:
    with pytest.raises(UserError, match=r"'layer1.0.relu' runs 2 times.*such as layer1.0"):
        explain(resnet.eval(), torch.zeros(1, 3, 32, 32).double(), layer="layer1.0.relu")


def test_values_that_are_not_finite_are_refused(net: Net, images: Tensor) -> None:
    net.head.bias.data[0] = float("nan")
    with pytest.raises(NotApplicableError, match="NaN or infinity"):
        explain(net, images)


def test_a_model_without_gradient_is_refused() -> None:
    class Cut(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.detach())

    with pytest.raises(NotApplicableError, match="anything differentiable") as caught:
        explain(Cut(3, 2), torch.rand(1, 3))
    assert "\n" not in str(caught.value)


def test_a_model_without_values_is_refused() -> None:
    with torch.device("meta"):
        model = nn.Linear(3, 2)
    with pytest.raises(UserError, match="meta"):
        explain(model, torch.rand(1, 3))


def test_other_arguments_than_the_traced_ones_are_refused(net: Net, images: Tensor) -> None:
    graph = trace_model(net, (images,))
    with pytest.raises(UserError, match="2 tensors go in, but the graph was traced with 1"):
        attribute_inputs(net, (images, images + 1), graph=graph, structure=annotate(graph))


def test_a_bug_of_ours_keeps_its_traceback() -> None:
    not_names: Any = 5
    with pytest.raises(TypeError), in_one_line("a method"):
        find_methods(not_names)
    with pytest.raises(NotApplicableError), in_one_line("a method"):
        len(not_names)


def test_what_needs_no_backward_outlives_one_that_fails() -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            raise RuntimeError("the fuse blew")

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Broken.apply(x).sum(1, keepdim=True)

    found = explain(Model(), torch.rand(2, 4), methods=("saliency", "occlusion"))
    assert {m.name for m in found.maps} == {"occlusion"}
    assert "the fuse blew" in found.note
    with pytest.raises(ModelError, match="the fuse blew"):
        explain(Model(), torch.rand(2, 4), methods=("saliency",))


def test_relevance_alone_is_an_answer_only_where_no_method_was_asked_for() -> None:
    net = Net(channels=3)
    alone = explain(net, torch.rand(1, 3, 8, 8), methods=(), relevance=True)
    assert alone.maps == ()
    assert alone.relevance is not None
    with pytest.raises(NotApplicableError, match="goes past"):
        explain(
            net,
            torch.rand(1, 3, 8, 8),
            methods=("layer_conductance",),
            layer="body",
            relevance=True,
        )
