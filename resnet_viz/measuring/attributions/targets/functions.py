"""A user's own score: ``fn(what forward returned)`` to one number per sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from resnet_viz.core.errors import UserError, one_line
from resnet_viz.core.units import shape as shape_text
from resnet_viz.measuring.attributions.targets.score import Score, means


def function_value(function: Callable[[Any], Any], result: Any) -> Tensor:
    """What a user's function makes of what ``forward`` returned, ``(S,)`` or a scalar.

    Args:
        function: Takes the whole result, gives a floating tensor of one number per sample.
        result: Of a forward, as it is.

    Raises:
        UserError: If it raises, or gives anything else.
    """
    name = function_name(function)
    try:
        value = function(result)
    except UserError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise UserError(f"target {name} raised {one_line(error)}") from error
    if isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] == 1:
        value = value[:, 0]
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim > 1:
        gave = shape_text(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
        raise UserError(
            f"target {name} gave {gave or 'no floating tensor'}: it must give one floating number "
            "per sample, a tensor of shape (samples,)"
        )
    return value


def function_name(function: Callable[[Any], Any]) -> str:
    """What to call it."""
    return str(getattr(function, "__name__", type(function).__name__))


def function_score(output: Tensor, function: Callable[[Any], Any]) -> Score:
    """The score that a user's function is: its values ``(S,)`` as they are."""
    columns = torch.zeros(len(output), dtype=torch.int64, device=output.device)
    words = (f"{function_name(function)} of the outputs",) * len(output)
    return Score(words=words, columns=columns, table=means)
