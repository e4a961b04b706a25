"""Where a measurement runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from resnet_viz.core.errors import NotApplicableError, UserError
from resnet_viz.measuring.device import model_device, pick_device, placed, to_host


def here() -> torch.device | None:
    """The accelerator that works on this machine, if one does."""
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None


def test_the_cpu_is_always_there() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device() == (here() or torch.device("cpu"))


@pytest.mark.parametrize("wish", ["gpu", "", "cuda:x", "tpu:0"])
def test_no_device_of_that_name(wish: str) -> None:
    with pytest.raises(UserError, match=r"is no device.*auto, cpu") as caught:
        pick_device(wish)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_here() -> None:
    accelerator = here()
    missing = next(d for d in ("xpu", "cuda") if accelerator is None or accelerator.type != d)
    with pytest.raises(UserError, match=f"--device {missing} is not on this machine.*cpu"):
        pick_device(missing)


def test_the_device_of_a_model() -> None:
    assert model_device(nn.ReLU()) == torch.device("cpu")
    assert model_device(nn.Linear(1, 1, device="meta")).type == "meta"
    assert model_device(nn.BatchNorm1d(2, affine=False)) == torch.device("cpu")


def test_a_model_stays_where_it_is_or_is_copied() -> None:
    model = nn.Linear(2, 2)
    assert placed(model, None) is model
    assert placed(model, torch.device("cpu")) is model
    copy = placed(model, torch.device("meta"))
    assert copy is not model
    assert model_device(copy).type == "meta"
    assert model_device(model).type == "cpu"


def test_a_model_without_values_cannot_be_measured() -> None:
    with pytest.raises(NotApplicableError, match="build it on the CPU"):
        placed(nn.Linear(2, 2, device="meta"), torch.device("cpu"))


def test_a_model_that_cannot_be_copied_is_told_in_one_line() -> None:
    model = nn.Linear(2, 2)
    model.cached = model(torch.ones(1, 2))  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"no copy of it can go to meta.*yourself") as caught:
        placed(model, torch.device("meta"))
    assert "\n" not in str(caught.value)


def test_numbers_of_any_shape_and_dtype_come_over_in_order() -> None:
    scalars = [
        torch.tensor(1, dtype=torch.int64),
        torch.tensor([2.5, 3.5]),
        torch.tensor([[True]]),
        torch.tensor(0.1, dtype=torch.float64),
        torch.tensor(4.0, dtype=torch.bfloat16),
    ]
    assert to_host(scalars) == [1.0, 2.5, 3.5, 1.0, 0.1, 4.0]
    assert to_host([]) == []
