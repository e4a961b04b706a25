"""Optimizers by name: ``--optimizer adamw:lr=1e-3``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from resnet_viz.core.errors import UserError, one_line
from resnet_viz.sources.loading import parse_arg
from resnet_viz.sources.names import did_you_mean


def find_optimizer(text: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """A new optimizer over the parameters that are not frozen.

    Args:
        text: A class of ``torch.optim`` in any case, and its arguments after a colon:
            ``sgd``, ``sgd:lr=0.1,momentum=0.9``, ``adamw:lr=1e-3,betas=(0.9,0.95)``.
        parameters: Of the model.

    Raises:
        UserError: If there is no such class, it refuses its arguments, or everything is frozen.
    """
    name, _, rest = text.partition(":")
    known = _known()
    if name.lower() not in known:
        raise UserError(
            f"unknown --optimizer {name!r}{did_you_mean(name, known)}: give {', '.join(known)}, "
            "with arguments as in sgd:lr=0.1,momentum=0.9"
        )
    arguments: dict[str, Any] = {}
    for part in _parts(rest):
        try:
            key, value = parse_arg(part)
        except UserError as error:
            raise UserError(
                f"--optimizer {text}: {part!r} is no name=value pair: write {name}:lr=0.1"
            ) from error
        arguments[key] = value
    every = list(parameters)
    trained = [p for p in every if p.requires_grad]
    if not trained:
        why = "every parameter of the model is frozen" if every else "the model has no parameters"
        raise UserError(f"--optimizer {text}: {why}")
    try:
        made: torch.optim.Optimizer = known[name.lower()](trained, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"--optimizer {text}: {one_line(error, 160)}") from error
    return made


def _known() -> dict[str, Any]:
    """Classes of ``torch.optim`` that step without a closure, by name in lower case."""
    found = {
        key.lower(): value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
    }
    return {key: found[key] for key in sorted(found) if key not in ("optimizer", "lbfgs")}


def _parts(text: str) -> list[str]:
    """Split at the commas outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]
