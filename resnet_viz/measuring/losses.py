"""What is differentiated when nobody says: always named in the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_viz.core.errors import NotApplicableError, UserError
from resnet_viz.core.message import say
from resnet_viz.tracing.trees import named_tensors

LossFunction = Callable[[Any, Any], Tensor]


def choose_loss(
    outputs: Any,
    targets: Any,
    loss_fn: LossFunction | None,
    *,
    seed: int = 0,
    on_host: Any = None,
) -> tuple[Tensor, str]:
    """The scalar to differentiate, and its name.

    First match: the function given; a dict of losses, summed; a ``.loss``
    attribute; cross entropy of the first floating (N, C) or (N, C, H, W) output on
    seeded labels (or on ``targets``); the mean square of the floating outputs.

    Args:
        outputs: Whatever ``forward`` returned.
        targets: What belongs to them, or ``None``.
        loss_fn: ``loss_fn(outputs, targets)``, or ``None``. Its ``random_targets(outputs,
            seed)``, if it has such a method, makes the targets where there are none.
        seed: Of the labels, where there are no targets.
        on_host: The targets before they went to a device: to look at them there is to wait.

    Raises:
        NotApplicableError: If there is nothing floating to differentiate.
        UserError: If ``loss_fn`` does not return one number, or there are labels that the
            model has no output for.
    """
    if loss_fn is not None:
        name = str(getattr(loss_fn, "__name__", type(loss_fn).__name__))
        made = getattr(loss_fn, "random_targets", None)
        if targets is None and made is not None:
            targets, name = made(outputs, seed), f"{name} on random targets"
        elif getattr(loss_fn, "by_class", False):
            output = next((t for _, t in named_tensors(outputs) if t.is_floating_point()), None)
            _check_labels(output, targets if on_host is None else on_host)
        loss = loss_fn(outputs, targets)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise UserError("the loss function must return one number as a tensor")
        return loss.reshape(()), name
    # A cache is returned for the next call, not to be judged; a distribution is opened for
    # want of anything else.
    named = _differentiable(outputs, objects=False) or _differentiable(outputs, objects=True)
    if not named:
        raise NotApplicableError(
            "no output carries a gradient: the model is frozen, detached, or returns no floats"
        )
    if isinstance(outputs, dict) and outputs and all(_is_loss(v) for v in outputs.values()):
        total = torch.stack([v.reshape(()).float() for v in outputs.values()]).sum()
        return total, say("sum of {outputs}", outputs=", ".join(map(str, outputs)))
    own = getattr(outputs, "loss", None)
    if isinstance(own, Tensor) and own.numel() == 1:
        return own.reshape(()), say("the model's own .loss")
    label, first = named[0]
    if first.ndim in (2, 4) and first.shape[1] > 1:
        named_it: str = label or say("the output")
        if label.isdigit():
            named_it = say("output {n}", n=label)
        what = say("cross entropy of {output}", output=named_it)
        if targets is None:
            targets = _labels(first, seed)
            what = say("{loss} on random labels", loss=what)
        else:
            _check_labels(first, targets if on_host is None else on_host)
        return F.cross_entropy(first.float(), targets), what
    squares = torch.stack([t.float().square().mean() for _, t in named])
    return squares.sum(), say("mean square of the outputs")


def _differentiable(outputs: Any, *, objects: bool) -> list[tuple[str, Tensor]]:
    found = named_tensors(outputs, objects=objects)
    return [(n, t) for n, t in found if t.is_floating_point() and t.requires_grad]


def _is_loss(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point()


def _check_labels(output: Tensor | None, labels: Any) -> None:
    """Refuses classes that there is no output for: CUDA would not survive them."""
    if output is None or output.ndim < 2 or not isinstance(labels, Tensor):
        return
    is_whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if labels.device.type != "cpu" or not is_whole:
        return
    # -100 is torch's own mark for a place that does not count.
    counted = labels[labels != -100]
    if not counted.numel():
        return
    low, high = (int(end) for end in counted.aminmax())
    classes = output.shape[1]
    if low < 0 or high >= classes:
        raise UserError(
            f"the data have labels from {low} to {high}, but the model has outputs for {classes} "
            f"classes (0 to {classes - 1}): give data that suit it, or a loss of your own"
        )


def _labels(output: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (output.shape[0], *output.shape[2:])
    labels = torch.randint(output.shape[1], shape, generator=generator)
    return labels.to(output.device)
