"""The gradient of each layer's weight, measured without leaving a trace in the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_viz.core.experiments.common import LayerNorms
from resnet_viz.measuring.device import to_host


def weight_layers(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of convolutions and linear layers by module path, in order of registration.

    In the nets of the experiments that is forward order. Norms and biases are left out:
    they have one dimension.
    """
    return {
        name.removesuffix(".weight"): parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1
    }


def gradient_norms(model: nn.Module, inputs: Tensor, labels: Tensor, step: int = 0) -> LayerNorms:
    """L2 norm of the gradient of the mean cross entropy for each layer's weight.

    Train mode, as in the step that would follow: batch norm uses the batch. Mode, buffers
    (running statistics) and ``.grad`` are left as they were. One device transfer.

    Args:
        model: Gives logits ``(N, classes)``.
        inputs: ``(N, C, H, W)``, on the model's device.
        labels: ``(N,)``, int64.
        step: Optimizer steps done before, to be written down.
    """
    weights = weight_layers(model)
    modes = {module: module.training for module in model.modules()}
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        model.train()
        loss = functional.cross_entropy(model(inputs), labels)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        norms = to_host(torch._foreach_norm(gradients))
    finally:
        for module, training in modes.items():
            module.training = training
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
    return LayerNorms(step=step, layers=tuple(weights), norms=tuple(norms))
