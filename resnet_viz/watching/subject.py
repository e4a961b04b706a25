"""What is watched: the model inside its wrappers, and names that wrappers have no part in."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version

from torch import Tensor, nn

from resnet_viz.core.errors import UserError, listed
from resnet_viz.core.report import Provenance
from resnet_viz.core.version import __version__
from resnet_viz.watching.stepper import Stepper

_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model under watch.

    Attributes:
        model: The module inside DDP, DataParallel or ``torch.compile``.
        name: Its class.
        parameters: By name, each once, under its first name.
        compiled: Whether it or a part of it was given to ``torch.compile``.
    """

    model: nn.Module
    name: str
    parameters: dict[str, Tensor]
    compiled: bool


def subject_of(model: nn.Module) -> Subject:
    """The model without its wrappers; parameters and modules are those that train.

    Raises:
        UserError: If it is no module, or has no parameters.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"watch takes an nn.Module, not a {type(model).__name__}")
    compiled = any(
        "_orig_mod" in module._modules or module._compiled_call_impl is not None
        for module in model.modules()
    )
    inside = model
    while (inner := _inside(inside)) is not None:
        inside = inner
    parameters: dict[str, Tensor] = {_plain(n): p for n, p in inside.named_parameters()}
    if not parameters:
        raise UserError(f"{type(inside).__name__} has no parameters: there is nothing to watch")
    return Subject(
        model=inside, name=type(inside).__name__, parameters=parameters, compiled=compiled
    )


def owner_of_module(
    model: nn.Module, path: str, steppers: tuple[Stepper, ...]
) -> tuple[Stepper, ...]:
    """The optimizers that train what is nearest to a module without parameters."""
    if len(steppers) == 1:
        return steppers
    while True:
        ids = {id(parameter) for parameter in model.get_submodule(path).parameters()}
        owners = tuple(s for s in steppers if not s.holds().isdisjoint(ids))
        if owners or not path:
            return owners or steppers[:1]
        path = path.rpartition(".")[0]


def provenance_of(name: str, device: str) -> Provenance:
    """Tool, libraries, device, and when watching began."""
    return Provenance(
        tool=f"resnet-viz {__version__}",
        model=name,
        device=device,
        libraries=(f"Python {platform.python_version()}", f"torch {version('torch')}"),
        created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    )


def _inside(model: nn.Module) -> nn.Module | None:
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner: nn.Module = model.module
        return inner
    return model._modules.get("_orig_mod")


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def chosen(
    parameters: Mapping[str, Tensor], include: Sequence[str], exclude: Sequence[str]
) -> dict[str, Tensor]:
    """The parameters whose names match, without empty ones.

    Raises:
        UserError: If none is left.
    """
    # The letters of one text would match each by itself, and * everything.
    include, exclude = ((p,) if isinstance(p, str) else p for p in (include, exclude))
    left = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.numel()
        and (not include or any(fnmatchcase(name, pattern) for pattern in include))
        and not any(fnmatchcase(name, pattern) for pattern in exclude)
    }
    if not left:
        raise UserError(
            f"include={list(include)} and exclude={list(exclude)} leave no parameter; "
            f"there are {listed(parameters, 4)}: patterns are globs, such as 'layer1.*'"
        )
    return left
