"""The model inside its wrappers: compiled, data parallel, sharded, adapted.

A wrapper adds no mathematics, but it hides the calls (``torch.compile``), wants a
process group (DDP) or keeps only a part of each parameter here (FSDP). What is
taken off is said in one line each; the object that was given is never changed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.core.errors import listed
from resnet_viz.core.units import count
from resnet_viz.tracing.kernels import meta_like


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwrapped:
    """The module to look at.

    Attributes:
        model: What was given, or the module inside it; or, where parameters are sharded
            or wrappers sit deep inside, a second module tree over the same tensors.
        notes: One line for each thing that was taken off.
        hollow: Why there is nothing to compute with; empty where there is.
        replicated: Whether DDP was taken off.
        sharded: The module that runs where FSDP2 spreads the parameters, else ``None``.
    """

    model: nn.Module
    notes: tuple[str, ...] = ()
    hollow: str = ""
    replicated: bool = False
    sharded: nn.Module | None = None


def unwrap(model: nn.Module) -> Unwrapped:
    """The module inside ``torch.compile``, DataParallel, DDP, FSDP or a PEFT shell.

    LoRA layers and other adapters stay: only a shell that holds no parameter of its own
    is taken off. Parameters that FSDP shards are replaced by whole ones without values.
    """
    if _is_plain(model):
        return Unwrapped(model=model)
    outside, shells = model, []
    replicated, whole = False, None
    while (found := _inside(model)) is not None:
        replicated |= isinstance(model, nn.parallel.DistributedDataParallel)
        model, kind = found
        shells.append(kind)
    inside = type(model).__name__ if type(model).__name__ not in shells else "the model"
    notes = [f"{', '.join(shells)} taken off: {inside} inside it is shown"] if shells else []
    paths: dict[str, list[str]] = {}
    for path, module in model.named_modules():
        kind = _kind_inside(module)
        if kind:
            paths.setdefault(kind, []).append(path or "the model")
    sharded = _is_sharded(outside)
    notes += [
        f"{kind} taken off {listed(places, 3)}: traced as written"
        for kind, places in paths.items()
        if kind != _FSDP2
    ]
    if sharded:
        shards = paths.get(_FSDP2)
        wrapped = f" (fully_shard on {count(len(shards), 'module')})" if shards else ""
        notes.append(f"FSDP shards the parameters{wrapped}: whole shapes are shown, no values")
    if sharded and _FSDP2 in paths and next(_flat_parameters(outside), None) is None:
        whole = model
    if sharded or any(kind != _COMPILED for kind in paths):
        model = _Twin(_whole_parameters(outside), hollow=sharded).of(model)
    hollow = "its parameters are sharded by FSDP: measure the model before it is sharded"
    if whole is None and sharded and _FSDP1 in shells:
        hollow += ", or shard it with fully_shard (FSDP2), of which gradient flow can be measured"
    return Unwrapped(
        model=model,
        notes=tuple(notes),
        hollow=hollow if sharded else "",
        replicated=replicated,
        sharded=whole,
    )


def _is_plain(model: nn.Module) -> bool:
    """Whether a look at its modules' classes and attributes shows nothing to take off."""
    classes = set()
    for module in model.modules():
        attributes = vars(module)
        # Both stand in the instance only where somebody put them.
        if attributes.get("_compiled_call_impl") is not None or "forward" in attributes:
            return False
        classes.add(type(module))
    wrappers = (
        nn.DataParallel,
        nn.parallel.DistributedDataParallel,
        *filter(None, (_class(*place) for place in (_OPTIMIZED, _SHARDED, _SHARDER))),
    )
    if any(
        issubclass(cls, wrappers)
        or hasattr(cls, "get_base_model")
        or hasattr(_forward(cls), "_torchdynamo_orig_callable")
        for cls in classes
    ):
        return False
    return not _is_sharded(model)


def _forward(cls: type) -> Any:
    """The class's ``forward`` as it is stored: that of a ScriptModule cannot be asked for."""
    return next((vars(base)["forward"] for base in cls.__mro__ if "forward" in vars(base)), None)


# -- which wrapper -----------------------------------------------------------------

_OPTIMIZED = ("torch._dynamo.eval_frame", "OptimizedModule")
_SHARDED = ("torch.distributed.fsdp", "FullyShardedDataParallel")
_SHARDER = ("torch.distributed.fsdp", "FSDPModule")
_COMPILE, _COMPILED, _FSDP1, _FSDP2 = "torch.compile", "torch.compile in place", "FSDP", "FSDP2"


def _inside(module: nn.Module) -> tuple[nn.Module, str] | None:
    """What the wrapper wraps, and the wrapper's name; ``None`` for any other module."""
    return _inside_torchs(module) or _inside_shell(module)


def _inside_torchs(module: nn.Module) -> tuple[nn.Module, str] | None:
    optimized = _class(*_OPTIMIZED)
    fsdp = _class(*_SHARDED)
    child, kind = "module", type(module).__name__
    if optimized is not None and isinstance(module, optimized):
        child, kind = "_orig_mod", _COMPILE
    elif fsdp is not None and isinstance(module, fsdp):
        child, kind = "_fsdp_wrapped_module", _FSDP1
    elif not isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return None
    inner = module._modules[child]
    return None if inner is None else (inner, kind)


def _inside_shell(module: nn.Module) -> tuple[nn.Module, str] | None:
    """The base model of a PEFT-like shell, if that holds every tensor of the shell."""
    # Asked of the class: tuners pass attributes they lack on to what they wrap.
    if not callable(getattr(type(module), "get_base_model", None)):
        return None
    base = module.get_base_model()  # type: ignore[operator]
    if not isinstance(base, nn.Module) or base is module:
        return None
    if all(base is not m for m in module.modules()) or not _tensors(module) <= _tensors(base):
        return None
    return base, type(module).__name__


def _tensors(module: nn.Module) -> set[int]:
    return {id(t) for t in (*module.parameters(), *module.buffers())}


def _kind_inside(module: nn.Module) -> str:
    """Which wrapper a module of the model is, or carries in its class or its forward."""
    sharder = _class(*_SHARDER)
    if sharder is not None and isinstance(module, sharder):
        return _FSDP2
    found = _inside_torchs(module)
    if found is not None:
        return found[1]
    forward = getattr(module, "forward", None)
    by_hand = hasattr(forward, "_torchdynamo_orig_callable")
    disabled = hasattr(forward, "_torchdynamo_disable")
    is_compiled = module._compiled_call_impl is not None or (by_hand and not disabled)
    return _COMPILED if is_compiled else ""


def _class(module: str, name: str) -> type | None:
    """A class of torch, if its module is imported; no object of it exists otherwise."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


# -- sharded parameters ------------------------------------------------------------


def _is_sharded(model: nn.Module) -> bool:
    dtensor = _class("torch.distributed.tensor", "DTensor")
    if dtensor is not None and any(isinstance(p, dtensor) for p in model.parameters()):
        return True
    return next(_flat_parameters(model), None) is not None


def _flat_parameters(model: nn.Module) -> Iterator[Any]:
    """What FSDP1 made of the parameters of each of its units."""
    fsdp = _class(*_SHARDED)
    for module in model.modules() if fsdp is not None else ():
        handle: Any = module._handle if fsdp is not None and isinstance(module, fsdp) else None
        if handle is not None:
            yield handle.flat_param


def _whole_parameters(model: nn.Module) -> dict[int, dict[str, nn.Parameter]]:
    """By ``id`` of the module: parameters of FSDP1 in their own shapes, without memory."""
    whole: dict[int, dict[str, nn.Parameter]] = {}
    for flat in _flat_parameters(model):
        for (name, module, _), shape in zip(flat._param_infos, flat._shapes, strict=True):
            data = torch.empty(shape, dtype=flat.dtype, device="meta")
            whole.setdefault(id(module), {})[name] = nn.Parameter(data, flat.requires_grad)
        for name, module, _, first_name, first, _ in flat._shared_param_infos:
            whole.setdefault(id(module), {})[name] = whole[id(first)][first_name]
    return whole


# -- the second tree ---------------------------------------------------------------


class _Twin:
    """Builds a module tree over the same tensors, without the wrappers in it."""

    def __init__(self, whole: dict[int, dict[str, nn.Parameter]], *, hollow: bool) -> None:
        self._whole = whole
        self._hollow = hollow
        self._made: dict[int, nn.Module] = {}
        self._stand_ins: dict[int, Tensor] = {}

    def of(self, module: nn.Module) -> nn.Module:
        """The twin of a module; the same one each time."""
        while (found := _inside_torchs(module)) is not None:
            module = found[0]
        if id(module) in self._made:
            return self._made[id(module)]
        cls: Any = _plain_class(type(module))
        twin: nn.Module = cls.__new__(cls)
        self._made[id(module)] = twin
        attributes = vars(twin)
        for name, value in vars(module).items():
            attributes[name] = self._copied(value, without_hooks="_hooks" in name)
        attributes["_compiled_call_impl"] = None
        if self._whole:
            attributes["_parameters"].pop("_flat_param", None)
        for name, parameter in self._whole.get(id(module), {}).items():
            attributes.pop(name, None)
            attributes["_parameters"][name] = parameter
        return twin

    def _copied(self, value: Any, *, without_hooks: bool) -> Any:
        """Containers anew, modules by their twins, tensors as they are or on meta."""
        if isinstance(value, nn.Module):
            return self.of(value)
        if isinstance(value, Tensor):
            return self._tensor(value)
        value = getattr(value, "_torchdynamo_orig_callable", value)
        if isinstance(value, MethodType) and isinstance(value.__self__, nn.Module):
            return MethodType(value.__func__, self.of(value.__self__))
        if isinstance(value, dict):
            copied = value.copy()
            for key, item in value.items():
                if without_hooks and _is_distributed(item):
                    del copied[key]
                else:
                    copied[key] = self._copied(item, without_hooks=False)
            return copied
        if type(value) in (list, tuple):
            return type(value)(self._copied(item, without_hooks=False) for item in value)
        return value

    def _tensor(self, tensor: Tensor) -> Tensor:
        if not self._hollow:
            return tensor
        if id(tensor) not in self._stand_ins:
            self._stand_ins[id(tensor)] = meta_like(tensor)
        return self._stand_ins[id(tensor)]


def _is_distributed(hook: Callable[..., Any]) -> bool:
    """Whether torch put it there to gather, shard or spread tensors."""
    return (getattr(hook, "__module__", None) or "").startswith("torch.distributed.")


def _plain_class(cls: type) -> type:
    """The class that ``fully_shard`` found: it puts a new one in its place."""
    sharder = _class(*_SHARDER)
    if sharder is None or not issubclass(cls, sharder):
        return cls
    return next(base for base in cls.__mro__[1:] if not issubclass(base, sharder))
