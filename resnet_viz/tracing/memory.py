"""What a forward keeps for its backward: measured on tensors without memory.

A second forward, in grad mode, under ``torch.autograd.graph.saved_tensors_hooks``,
while a walk tells which op runs. Autograd itself says what it saves, so checkpointing,
in-place activations, frozen parameters, half precision and custom functions are right
without a rule for any of them. Only the shapes are needed: meta first, then fake tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.parameter import is_lazy

from resnet_viz.core.errors import one_line
from resnet_viz.core.graph import How, OpId
from resnet_viz.core.structure import Memory, SavedTensor
from resnet_viz.tracing.calls import CallObserver, state_names
from resnet_viz.tracing.kernels import meta_like
from resnet_viz.tracing.memory_map import dense_parts
from resnet_viz.tracing.meta_kernels import STAND_INS
from resnet_viz.tracing.pristine import pristine, swap_tensors
from resnet_viz.tracing.quiet import no_collection, no_log
from resnet_viz.tracing.stand_ins import fake_input
from resnet_viz.tracing.trees import map_tensors, tensors_in
from resnet_viz.tracing.walk import Function, Walk

Mode = Literal["meta", "fake"]
# Until torch 2.6 nobody tells whose hooks are on top: no call counts as hidden there.
_TOP_HOOKS: Callable[[bool], Any] | None = getattr(
    torch._C._autograd, "_top_saved_tensors_default_hooks", None
)


def measure_memory(
    model: nn.Module,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    training: bool | None = None,
    modes: tuple[Mode, ...] = ("meta", "fake"),
) -> Memory:
    """What the backward of one forward keeps, per op, in bytes.

    The loss is not in it, nor what a custom ``autograd.Function`` keeps as plain
    attributes of its ``ctx``. ``F.scaled_dot_product_attention`` counts as its fused
    kernels save it: query, key, value, output and one number per row, no N × N matrix.

    Args:
        model: Left exactly as it came.
        args: Positional arguments of ``forward``; any tree of values.
        kwargs: Keyword arguments of ``forward``.
        training: Train or eval mode for this call; the mode it has if ``None``. Where
            train mode raises (batch norm with one value per channel, a detector without
            boxes), eval mode is measured and the value says so.
        modes: What to try, in this order.

    Returns:
        Where neither runs (data-dependent control flow), a value that says why.
    """
    wanted = model.training if training is None else training
    refused = reason = ""
    for train in dict.fromkeys((wanted, False)):
        change = None if training is None and train == wanted else train
        for mode in modes:
            with no_collection():
                book = _run(mode, model, args, kwargs or {}, change)
            if isinstance(book, Exception):
                reason = f"{mode} raised {one_line(book, 120)}"
                refused = refused or (f"train mode on {reason}" if train else "")
                continue
            return Memory(
                mode="train" if train else "eval",
                how=How(mode=mode, why=refused if wanted and not train else reason),
                saved=book.rows(),
                input_bytes=book.input_bytes,
                gradient_bytes=book.gradient_bytes,
                hidden=book.hidden,
            )
    return Memory(mode="train" if wanted else "eval", unknown=reason or "no mode to run in")


def _run(
    mode: Mode,
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    training: bool | None,
) -> _Book | Exception:
    """The book of one forward, or what the forward raised."""
    device: AbstractContextManager[Any] = torch.device("meta")
    stand_in: Callable[[Tensor], Tensor] = meta_like
    if mode == "fake":
        device = fakes = FakeTensorMode(allow_non_fake_inputs=True)
        stand_in = fake_input(fakes, model)
    state: list[Tensor] = []

    def convert(tensor: Tensor) -> Tensor:
        if is_lazy(tensor):
            # What the forward makes of it would count as saved.
            raise TypeError("a lazy layer has no weights yet")
        made = stand_in(tensor)
        if tensor.is_leaf and tensor.requires_grad != made.requires_grad:
            made.requires_grad_(tensor.requires_grad)
        state.append(made)
        return made

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(no_log("torch._subclasses.fake_tensor"))
        modules = stack.enter_context(pristine(model, values=False)).modules
        if training is not None:
            model.train(training)
        try:
            swap_tensors(modules, convert)
            known = len(state)
            args, kwargs = map_tensors(args, convert), map_tensors(kwargs, convert)
        except (TypeError, RuntimeError, NotImplementedError, AssertionError) as error:
            return error
        book = _Book(state_names(model), state[:known], state[known:])
        walk = Walk(model, book)
        try:
            with device, saved_tensors_hooks(book.pack, book.unpack), walk.watching():
                model(*args, **kwargs)
        except Exception as error:  # whatever the user's forward raises is the answer here
            return error
        book.settle()
    return book


class _Book(CallObserver):
    """Notes every storage that autograd saves, and the op that was running.

    Attributes:
        input_bytes: Of the inputs, those saved.
        gradient_bytes: Of the trainable parameters that some call read.
        hidden: Calls under somebody else's saved-tensor hooks.
    """

    def __init__(
        self, names: dict[int, tuple[str, str]], state: list[Tensor], inputs: list[Tensor]
    ) -> None:
        super().__init__(names)
        # Storages are held, so that no key is used twice.
        self._held: list[torch.UntypedStorage] = []
        self._not_counted = {key for t in state for key, _ in self._storages(t)}
        self._inputs = {key: n for t in inputs for key, n in self._storages(t)}
        self._maker: dict[int, OpId] = {}
        self._saver: dict[int, tuple[OpId, int]] = {}
        self._pending: list[tuple[int, int]] = []
        self._last = OpId("")
        self._parameters = {id(p): p for p in state if p.requires_grad and p.is_leaf}
        self.input_bytes = 0
        self.gradient_bytes = 0
        self.hidden = 0

    def pack(self, tensor: Tensor) -> Tensor:
        """Called by autograd for every tensor that it saves."""
        # Custom functions save between two calls, where the walk would see ours.
        with torch._C.DisableTorchFunction():
            self._pending += self._storages(tensor)
            # Never the tensor itself: an op's own output would hold itself alive.
            return tensor.detach()

    def unpack(self, tensor: Tensor) -> Tensor:
        """Called where ``forward`` itself differentiates."""
        return tensor

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's result, by the kernel that real devices prefer."""
        if self._pending:
            self.settle()
        stand_in = STAND_INS.get(func)
        result = stand_in(*args, **kwargs) if stand_in is not None else None
        return func(*args, **kwargs) if result is None else result

    def record(
        self,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
        written: list[Tensor],
    ) -> None:
        """What was saved during the call is the op's."""
        self._last = op = walk.next_id(func)
        for tensor in outputs:
            for key, _ in self._storages(tensor):
                self._maker.setdefault(key, op)
        if self._parameters:
            for tensor in tensors_in((args, kwargs)):
                parameter = self._parameters.pop(id(tensor), None)
                if parameter is not None:
                    self.gradient_bytes += parameter.nbytes
        top = _TOP_HOOKS(True) if _TOP_HOOKS is not None else None
        self.hidden += top is not None and top[0] != self.pack
        self.settle()

    def settle(self) -> None:
        """What is pending belongs to the last op: custom functions save as they return."""
        pending, self._pending = self._pending, []
        for key, nbytes in pending:
            if key in self._inputs:
                self.input_bytes += self._inputs.pop(key)
                self._not_counted.add(key)
            elif key not in self._not_counted and nbytes:
                self._saver.setdefault(key, (self._last, nbytes))

    def rows(self) -> tuple[SavedTensor, ...]:
        """One row per pair of ops, in the order they saved."""
        table: dict[tuple[OpId, str], int] = {}
        for key, (op, nbytes) in self._saver.items():
            pair = (op, self._maker.get(key, ""))
            table[pair] = table.get(pair, 0) + nbytes
        return tuple(
            SavedTensor(op=op, made_by=maker, nbytes=n) for (op, maker), n in table.items()
        )

    def _storages(self, tensor: Tensor) -> list[tuple[int, int]]:
        found = []
        for part in dense_parts(tensor):
            storage = part.untyped_storage()
            self._held.append(storage)
            found.append((storage._cdata, storage.nbytes()))
        return found
