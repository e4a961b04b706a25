"""Where a measurement runs, and how little it asks of that device.

Everything is collected on the device as scalars and transferred once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from resnet_viz.core.errors import NotApplicableError, UserError, one_line


def pick_device(wish: str = "auto") -> torch.device:
    """The device asked for; ``auto`` is the accelerator where there is one.

    Raises:
        UserError: If the device does not exist here, with what does.
    """
    accelerator = (
        torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    )
    if wish == "auto":
        return accelerator or torch.device("cpu")
    here = f"cpu{f', {accelerator.type}' if accelerator else ''}"
    try:
        device = torch.device(wish)
    except RuntimeError:
        raise UserError(f"--device {wish} is no device; here there is: auto, {here}") from None
    if device.type != "cpu" and (accelerator is None or accelerator.type != device.type):
        raise UserError(f"--device {wish} is not on this machine; here there is: auto, {here}")
    if device.index is not None and device.type != "cpu":
        found = torch.accelerator.device_count()
        if device.index >= found:
            raise UserError(f"--device {wish}: this machine has {found} of them, counted from 0")
    return device


def model_device(model: nn.Module) -> torch.device:
    """The device of the model's first parameter or buffer; CPU without any."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def placed(model: nn.Module, device: torch.device | None) -> nn.Module:
    """The model itself where it already is there, else a copy on ``device``.

    Raises:
        NotApplicableError: If the model was built without values (on the meta device), or a
            lazy layer has none yet.
        UserError: If it lives elsewhere and cannot be copied.
    """
    here = model_device(model)
    if here.type == "meta":
        raise NotApplicableError(
            "the model is on the meta device and has no values to measure: build it on the CPU"
        )
    state = (*model.named_parameters(), *model.named_buffers())
    if lazy := [name for name, tensor in state if is_lazy(tensor)]:
        raise NotApplicableError(
            f"{lazy[0]} has no values to measure yet, as its layer is lazy: "
            "run the model once on an input of yours"
        )
    if device is None or device == here or (device.type == here.type and device.index is None):
        return model
    try:
        return copy.deepcopy(model).to(device)
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"the model is on {here} and no copy of it can go to {device} "
            f"({one_line(error, 120)}): move it there yourself"
        ) from error


def reads_freely(tensor: Tensor) -> bool:
    """Whether a look at its value makes no accelerator wait: it is on the CPU."""
    return tensor.device.type == "cpu"


def to_host(scalars: Sequence[Tensor]) -> list[float]:
    """All numbers in one transfer.

    Args:
        scalars: Tensors of any shape and real dtype; they are flattened and joined
            in order, on the device of the first.
    """
    if not scalars:
        return []
    here = scalars[0].device
    wide = torch.float32 if here.type == "mps" else torch.float64
    # ``cat`` widens float32 by itself; integers it would round to float32.
    rows = [s.reshape(-1).to(here, s.dtype if s.dtype == torch.float32 else wide) for s in scalars]
    values: list[float] = torch.cat(rows).tolist()
    return values
