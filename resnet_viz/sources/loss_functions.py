"""Losses by name, or from the user's own file: ``--loss``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_viz.core.errors import ResnetVizError, UserError
from resnet_viz.core.units import shape as shape_text
from resnet_viz.sources.names import did_you_mean
from resnet_viz.sources.user_code import blame, on_path
from resnet_viz.sources.user_functions import find_function, names_code
from resnet_viz.tracing.trees import named_tensors

LossFunction = Callable[[Any, Any], Tensor]


class NamedLoss:
    """A loss of ``torch.nn.functional`` between the first floating output and the targets.

    It is computed in float32, as the mean.
    """

    def __init__(self, name: str, function: LossFunction, by_class: bool) -> None:
        """Names the loss.

        Args:
            name: What a report calls it.
            function: ``function(output, targets)``.
            by_class: Whether targets are classes ``(N, …)`` of logits ``(N, C, …)``, and
                not values of the output's shape.
        """
        self.__name__ = name
        self.function = function
        self.by_class = by_class

    def __call__(self, outputs: Any, targets: Any) -> Tensor:
        """The loss, one number.

        Raises:
            UserError: If output and targets do not belong together.
        """
        output = self._output(outputs).float()
        if not isinstance(targets, Tensor):
            raise UserError(
                f"loss {self.__name__} needs targets as one tensor: give data with targets, or a "
                "function of your own (file.py:name)"
            )
        if self.by_class:
            return self.function(output, self._classes(output, targets))
        if targets.numel() != output.numel():
            advice = "cross_entropy" if _are_classes(output, targets) else "a loss that takes them"
            shapes = (shape_text(tuple(tensor.shape)) for tensor in (output, targets))
            raise UserError(
                f"loss {self.__name__} compares values of one shape, but output and targets are "
                f"{' and '.join(shapes)}: give --loss {advice}, or targets of the output's shape"
            )
        # (N, 1) against (N,) would be spread to (N, N).
        return self.function(output, targets.reshape(output.shape).to(output.dtype))

    def random_targets(self, outputs: Any, seed: int) -> Tensor:
        """Seeded targets for data that bring none: labels, N(0, 1), or zeros and ones."""
        output = self._output(outputs)
        generator = torch.Generator().manual_seed(seed)
        if self.by_class:
            classes = _classes_of(output)
            shape = (output.shape[0], *output.shape[2:])
            made = torch.randint(classes, shape, generator=generator, device="cpu")
        elif self.function is F.binary_cross_entropy_with_logits:
            made = torch.randint(2, output.shape, generator=generator, device="cpu")
        else:
            made = torch.randn(output.shape, generator=generator, device="cpu")
        return made.to(output.device)

    def _output(self, outputs: Any) -> Tensor:
        found = [tensor for _, tensor in named_tensors(outputs) if tensor.is_floating_point()]
        if found:
            # Hugging Face's outputs begin with the loss that the model made itself.
            return next((tensor for tensor in found if tensor.ndim), found[0])
        raise UserError(f"loss {self.__name__} needs a floating output; the model returns none")

    def _classes(self, output: Tensor, targets: Tensor) -> Tensor:
        if targets.shape == output.shape and targets.is_floating_point():
            return targets
        if targets.shape == (output.shape[0], 1):
            targets = targets[:, 0]
        if not _are_classes(output, targets):
            raise UserError(
                f"loss {self.__name__} takes class labels {_labels_text(output)} for an output of "
                f"{shape_text(tuple(output.shape))}, but the targets are {targets.dtype} of "
                f"{shape_text(tuple(targets.shape))}"
            )
        return targets.long()


def _are_classes(output: Tensor, targets: Tensor) -> bool:
    whole = not (targets.is_floating_point() or targets.is_complex())
    return whole and output.ndim > 1 and targets.shape == (output.shape[0], *output.shape[2:])


def _classes_of(output: Tensor) -> int:
    if output.ndim < 2:
        raise UserError(
            f"class labels need an output (N, C, …); this one is {shape_text(tuple(output.shape))}"
        )
    return output.shape[1]


def _labels_text(output: Tensor) -> str:
    return shape_text((output.shape[0], *output.shape[2:])) if output.ndim > 1 else "of (N, C)"


LOSSES: Mapping[str, NamedLoss] = {
    name: NamedLoss(name, function, by_class)
    for name, function, by_class in (
        ("cross_entropy", F.cross_entropy, True),
        ("nll", F.nll_loss, True),
        ("mse", F.mse_loss, False),
        ("l1", F.l1_loss, False),
        ("smooth_l1", F.smooth_l1_loss, False),
        ("huber", F.huber_loss, False),
        ("bce_with_logits", F.binary_cross_entropy_with_logits, False),
    )
}
"""By the name of ``--loss``; torch's own names are understood as well."""

_TORCHS = {loss.function.__name__: loss for loss in LOSSES.values()}


def find_loss(text: str) -> LossFunction:
    """The loss called so: one of ``LOSSES``, or a function of the user's.

    Args:
        text: A name, or ``file.py:function`` or ``pkg.mod:function``: of a function
            ``(outputs, targets)``, or of a class of such, made without arguments.

    Raises:
        UserError: If there is none, or the user's code does not import.
    """
    known = LOSSES.get(text) or _TORCHS.get(text)
    if known is not None:
        return known
    if not names_code(text):
        raise UserError(
            f"unknown --loss {text!r}{did_you_mean(text, LOSSES)}: give {', '.join(LOSSES)} or "
            "file.py:function (outputs, targets)"
        )
    found = find_function(text, "--loss", "loss_fn")
    function = found.call({}) if inspect.isclass(found.value) else found.value
    if not callable(function):
        raise UserError(f"{found.what} is a {type(function).__name__}, no function")

    def loss(outputs: Any, targets: Any) -> Tensor:
        try:
            with on_path(found.folder):
                result: Tensor = function(outputs, targets)
        except ResnetVizError:
            raise
        except Exception as error:  # the user's code may raise anything
            raise UserError(f"{found.what} raised {blame(error, found.folder)}") from error
        return result

    loss.__name__ = found.name
    return loss
