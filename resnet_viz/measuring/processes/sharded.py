"""Models whose parameters ``torch.distributed.fsdp.fully_shard`` spreads over processes.

They run as they do in training: each group of parameters is whole only while it is
needed, and gradients are reduced as soon as they are there. Two things are put aside
meanwhile. The work in FSDP's hooks is hidden from whoever watches the calls, and the
identity that it puts before each module into autograd's graph, behind which a fork could
not be recognised, is replaced by a hook on the same gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.core.errors import UserError
from resnet_viz.measuring.autograd_graph import NodeMap
from resnet_viz.measuring.processes.exchange import Exchange
from resnet_viz.tracing.trees import tensors_in


def is_sharded(model: nn.Module) -> bool:
    """Whether ``fully_shard`` was applied to the model or to a part of it."""
    # No object of a class exists whose module was never imported.
    fsdp = sys.modules.get("torch.distributed.fsdp")
    sharder = getattr(fsdp, "FSDPModule", None)
    return sharder is not None and any(isinstance(m, sharder) for m in model.modules())


class Sharded(Exchange):
    """FSDP2: parameters are spread; FSDP itself reduces their gradients to means."""

    accumulates = True

    def __init__(self, model: nn.Module) -> None:
        """Looks for what FSDP keeps about the model.

        Raises:
            UserError: If this release of torch keeps it elsewhere.
        """
        super().__init__(model)
        self._modules: list[Any] = []
        self._modules += (m for m in model.modules() if hasattr(m, "_get_fsdp_state"))
        self._nodes: NodeMap | None = None
        self._own: dict[int, int] = {}
        try:
            states = {id(s): s for s in (m._get_fsdp_state() for m in self._modules)}
            self._groups: list[Any] = [g for s in states.values() for g in _groups(s)]
            self._parameters = [p for g in self._groups for p in g.fsdp_params]
        except AttributeError as error:
            raise UserError(
                f"torch {torch.__version__} keeps FSDP's parameters where this release does not "
                "know them: measure the model before it is sharded"
            ) from error

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within it forwards and backwards may run; see the module's first lines."""
        with ExitStack() as stack:
            for module in self._modules:
                for table in (module._forward_pre_hooks, module._forward_hooks):
                    stack.enter_context(_unseen(table, self._meet))
            for group in self._groups:
                stack.enter_context(_replaced(group, "reduce_grads", True))
                hook = _after_backward(group)
                stack.enter_context(_replaced(group, "_register_post_backward_hook", hook))
            try:
                yield
            except BaseException:
                self._reset()
                raise

    def _reset(self) -> None:
        """In pieces again, where a forward or a backward raised half-way."""
        for module in self._modules:
            if not hasattr(module, "reset_iter_state"):
                module.reshard()
            elif module._get_fsdp_state()._is_root:
                module.reset_iter_state()

    def adopt(self, nodes: NodeMap) -> None:
        """Tells an observer under which identities the forward will meet the parameters."""
        self._nodes = nodes

    def settle(self, nodes: NodeMap, leaves: list[Tensor]) -> None:
        """After the forward: what it read, and the leaves, by the parameters' own identities."""
        # The outermost group stays whole until the backward, so that the model has others.
        leaves += [parameter.sharded_param for parameter in self._parameters]
        nodes.reads |= {self._own[key] for key in nodes.reads & self._own.keys()}
        self._nodes = None

    def gradients(self, own: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """As FSDP left them on the parameters."""
        return dict(own)

    def _meet(self) -> None:
        """Learns the whole parameters, which are other objects than the pieces."""
        if self._nodes is None:
            return
        for parameter in self._parameters:
            whole = getattr(parameter, "_unsharded_param", None)
            if whole is not None and id(whole) not in self._own:
                self._own[id(whole)] = id(parameter.sharded_param)
                self._nodes.alias(whole, parameter.sharded_param)


def _groups(state: Any) -> list[Any]:
    groups = getattr(state, "_fsdp_param_groups", None)
    return [state._fsdp_param_group] if groups is None else list(groups)


@contextmanager
def _unseen(table: dict[int, Callable[..., Any]], then: Callable[[], None]) -> Iterator[None]:
    """FSDP's own hooks in the table run where no torch function mode sees their calls."""
    kept = {
        key: hook
        for key, hook in table.items()
        if (getattr(hook, "__module__", None) or "").startswith("torch.distributed.")
    }

    def hidden(hook: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            with torch._C.DisableTorchFunction():
                result = hook(*args, **kwargs)
            then()
            return result

        return run

    table.update({key: hidden(hook) for key, hook in kept.items()})
    try:
        yield
    finally:
        table.update(kept)


@contextmanager
def _replaced(holder: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute of one object, and of no other of its class, is another one meanwhile."""
    had, before = name in vars(holder), vars(holder).get(name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        if had:
            setattr(holder, name, before)
        else:
            delattr(holder, name)


def _after_backward(group: Any) -> Callable[..., Any]:
    """Reduces the group's gradients once those of all its inputs are there.

    In place of ``_register_post_backward_hook``, which puts a node into autograd's graph.
    Groups none of whose inputs ask for gradients are reduced at the end by FSDP itself.
    """

    def register(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inputs = [t for t in tensors_in((args, kwargs)) if t.requires_grad]
        if inputs and torch.is_grad_enabled():
            torch.autograd.graph.register_multi_grad_hook(
                inputs, lambda _: group.post_backward(), mode="all"
            )
        return args, kwargs

    return register
