"""What ``forward`` takes, as its signature says."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from resnet_viz.core.errors import UserError, listed
from resnet_viz.sources.names import did_you_mean

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def signature_of(model: nn.Module) -> inspect.Signature | None:
    """The signature of ``forward``; ``None`` where it shows none."""
    try:
        return inspect.signature(model.forward)
    except (TypeError, ValueError):
        return None


def keywords(model: nn.Module) -> tuple[str, ...]:
    """Names of the arguments that ``forward`` takes by keyword."""
    signature = signature_of(model)
    if signature is None:
        return ()
    return tuple(p.name for p in signature.parameters.values() if p.kind in _NAMED)


def takes_keyword(model: nn.Module, name: str) -> bool:
    """Whether ``forward`` may be given this keyword."""
    signature = signature_of(model)
    if signature is None:
        return True
    kinds = {p.kind for p in signature.parameters.values()}
    return inspect.Parameter.VAR_KEYWORD in kinds or name in keywords(model)


def check_keywords(model: nn.Module, names: Iterable[str], option: str) -> None:
    """Passes where ``forward`` takes all of these keywords.

    Raises:
        UserError: Naming the first that it does not take, and those that it does.
    """
    for name in names:
        if not takes_keyword(model, name):
            known = keywords(model)
            raise UserError(
                f"{option}: forward of {type(model).__name__} has no argument {name!r}"
                f"{did_you_mean(name, known)}; it takes: {listed(known, 12) or 'none'}"
            )


def binds(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether ``forward`` can be called with these arguments, as far as names and number go."""
    signature = signature_of(model)
    if signature is None:
        return True
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def required(model: nn.Module, given: Iterable[str] = ()) -> tuple[inspect.Parameter, ...]:
    """Arguments without a default, other than those already given by name."""
    signature = signature_of(model)
    if signature is None:
        return ()
    return tuple(
        p
        for p in signature.parameters.values()
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and p.name not in set(given)
    )
