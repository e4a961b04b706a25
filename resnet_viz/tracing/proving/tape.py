"""The tape: every call of a forward in a form that can run again without the model.

Tensors become numbered slots: given as an input, held (parameters, buffers, constants)
or made by a call. All else is kept by value. What cannot be kept (Python code, foreign
generators, values that went back to Python) is a reason to refuse, noted where it happened.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from resnet_viz.core.graph import OpId
from resnet_viz.tracing.functions import kind_of, plain_name
from resnet_viz.tracing.memory_map import version_of
from resnet_viz.tracing.proving.aliases import Alias
from resnet_viz.tracing.proving.bits import Region, fingerprint, region_of, storage_of
from resnet_viz.tracing.proving.census import Kernels
from resnet_viz.tracing.proving.kept import Kept
from resnet_viz.tracing.proving.randomness import is_default
from resnet_viz.tracing.proving.settings import Settings, settings_now
from resnet_viz.tracing.source_lines import source_line
from resnet_viz.tracing.trees import tensors_in
from resnet_viz.tracing.walk import Function

_PLAIN = (
    *(type(None), bool, int, float, complex, str, bytes, type, enum.Enum, type(Ellipsis)),
    *(torch.Size, torch.dtype, torch.device, torch.layout, torch.memory_format),
)  # fmt: skip
# Calls by which Python looks at values, or at memory, without a kernel that says so.
_LOOKS = frozenset(
    (
        *("item", "tolist", "numpy", "__array__", "__dlpack__", "data_ptr", "storage"),
        *("__cuda_array_interface__", "__reduce_ex__"),
        *("untyped_storage", "_typed_storage", "__bool__", "__int__", "__float__", "__index__"),
        *("__complex__", "__contains__", "__repr__", "__format__", "__str__"),
        *("equal", "allclose"),
    )
)
_SIZES = frozenset(("shape", "size", "numel", "nelement", "__len__", "nbytes"))
# Kept apart, as settings of each call.
_SETTINGS = frozenset(("_set_grad_enabled",))


@dataclass(frozen=True, slots=True)
class Slot:
    """A tensor's place among the arguments."""

    index: int


class Read(NamedTuple):
    """A tensor that a call was given, and the memory it looked at then."""

    slot: int
    region: Region


@dataclass(slots=True, eq=False)
class Call:
    """One call of one function.

    Attributes:
        func: What was called.
        args: Its arguments, tensors as slots.
        kwargs: Its keyword arguments.
        settings: What else it depended on.
        module: Path of the module whose ``forward`` made it.
        reads: The tensors among its arguments, in the order of an op's edges.
        versions: Of these tensors, before the call.
        kernels: What ran in it.
        results: Slots of the tensors it returned.
        regions: Their memory.
        written: The memory it wrote.
        prints: Fingerprints of what it returned.
        op: The op it is; ``None`` for bookkeeping.
        outputs: Slots of the op's outputs.
        cast: Whether it is a cast that keeps the dtype.
    """

    func: Function
    args: Any
    kwargs: Any
    settings: Settings
    module: str
    reads: list[Read]
    versions: list[int | None]
    kernels: Kernels = field(default_factory=Kernels)
    results: tuple[int, ...] = ()
    regions: tuple[Region, ...] = ()
    written: list[Region] = field(default_factory=list)
    prints: tuple[int, ...] = ()
    op: OpId | None = None
    outputs: tuple[int, ...] = ()
    cast: bool = False

    @property
    def name(self) -> str:
        """The op's id, or what was called where, in words."""
        if self.op is not None:
            return repr(self.op)
        return f"{plain_name(self.func)} in {self.module or 'the root module'}"


class Tape:
    """The calls of one forward, in order.

    Attributes:
        calls: All that a replay has to run.
        inputs: Slots of the inputs, and the memory they look at.
        held: Slots of tensors that no call made, with the tensor.
        aliases: Slots of tensors that no call made on memory that one did.
        refusal: Why this forward cannot be replayed; empty where it can. From then on
            nothing more is kept.
    """

    def __init__(self, kept: Kept, place: Callable[[], str]) -> None:
        self.calls: list[Call] = []
        self.inputs: list[Read] = []
        self.held: dict[int, Tensor] = {}
        self.aliases: dict[int, Alias] = {}
        self.refusal = ""
        self._kept = kept
        self._place = place
        # Held until the tape is closed, so that no ``id`` and no storage is used twice.
        self._slots: dict[int, int] = {}
        self._tensors: list[Tensor] = []
        self._homes: dict[Hashable, int] = {}
        self._sized: set[int] = set()
        # Above the model stands who asked for the proof.
        self._asker = source_line()

    def add_input(self, tensor: Tensor) -> None:
        """The tensor is an input of ``forward``."""
        self.inputs.append(Read(self._known(tensor), region_of(tensor)))

    def slot(self, tensor: Tensor) -> int:
        """The tensor's slot; a tensor nobody made is held from now on."""
        known = self._slots.get(id(tensor))
        if known is not None:
            return known
        home = self._homes.get(storage_of(tensor))
        slot = self._new(tensor)
        if home is not None and id(tensor) not in self._kept.tensors:
            self.aliases[slot] = Alias.of(tensor, home)
        else:
            self.held[slot] = tensor
            self._kept.keep(tensor)
        return slot

    def close(self) -> None:
        """Lets go of what the calls made."""
        self._slots.clear()
        self._tensors.clear()

    def refuse(self, reason: str) -> None:
        """This forward cannot be replayed."""
        if not self.refusal:
            line = source_line(2)
            at = f" ({line})" if line and line != self._asker else ""
            self.refusal = f"{reason} in {self._place() or 'the root module'}{at}"

    def asked(self, func: Function, args: tuple[Any, ...]) -> None:
        """Python has asked a tensor something: how large it is, maybe."""
        if not self._sized or not args or plain_name(func) not in _SIZES:
            return
        if self._slots.get(id(args[0])) in self._sized:
            self.refuse(f"Python reads {plain_name(func)} of a tensor sized by values")

    # -- one call ----------------------------------------------------------------

    def begin(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """The call as it is about to run."""
        if torch._C._functorch.peek_interpreter_stack() is not None:
            self.refuse(f"{kind_of(func)} runs inside a torch.func transform")
        if self.refusal:
            return Call(func, (), {}, settings_now(), self._place(), [], [])
        tensors = [*_given(args), *_given(kwargs)]
        return Call(
            func=func,
            args=self._frozen(args, func),
            kwargs=self._frozen(kwargs, func),
            settings=settings_now(),
            module=self._place(),
            reads=[Read(self.slot(t), region_of(t)) for t in tensors],
            versions=[version_of(t) for t in tensors],
        )

    def end(self, call: Call, result: Any) -> None:
        """The call has returned."""
        if self.refusal:
            return
        name = plain_name(call.func)
        made = list(tensors_in(result))
        kernels = call.kernels
        if name in _LOOKS or (kernels.reads and not made):
            self.refuse(f"{kind_of(call.func)} gives values back to Python")
            return
        if kernels.foreign:
            self.refuse(f"{kind_of(call.func)} draws from a generator of the model's own")
            return
        # ``shape`` and its like: nothing to run again, and nothing depends on it.
        if not made and not kernels.count and result is not None:
            return
        if name in _SETTINGS:
            return
        for read, before in zip(call.reads, call.versions, strict=True):
            tensor = self._tensors[read.slot]
            if before is not None and tensor._version != before:
                call.written.append(region_of(tensor))
        call.results = tuple(self._made(tensor) for tensor in made)
        call.regions = tuple(region_of(tensor) for tensor in made)
        known = {region.storage for region in call.regions}
        known |= {read.region.storage for read in call.reads}
        # A kernel's scratch memory is nobody's afterwards.
        call.written += [r for r in kernels.written if r.storage in known]
        call.prints = tuple(fingerprint(tensor) for tensor in made)
        if kernels.sized:
            self._sized.update(call.results)
        self.calls.append(call)

    def _new(self, tensor: Tensor) -> int:
        slot = self._slots[id(tensor)] = len(self._tensors)
        self._tensors.append(tensor)
        return slot

    def _known(self, tensor: Tensor) -> int:
        """The slot of a tensor that was given or made."""
        slot = self._new(tensor)
        self._homes.setdefault(storage_of(tensor), slot)
        return slot

    def _made(self, tensor: Tensor) -> int:
        known = self._slots.get(id(tensor))
        return self._known(tensor) if known is None else known

    def _frozen(self, value: Any, func: Function) -> Any:
        """The value with slots for tensors; copies of all that could still change."""
        if isinstance(value, Tensor):
            return Slot(self.slot(value))
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, tuple | list):
            items = [self._frozen(item, func) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        if isinstance(value, Mapping):
            return {key: self._frozen(item, func) for key, item in value.items()}
        if isinstance(value, slice):
            return slice(*(self._frozen(v, func) for v in (value.start, value.stop, value.step)))
        if type(value).__module__ == "numpy":
            return value.copy()
        if isinstance(value, torch.Generator):
            if not is_default(value):
                self.refuse(f"{kind_of(func)} draws from a generator of the model's own")
            return value
        if isinstance(value, types.BuiltinFunctionType | type(Tensor.add)):
            return value
        kind = "Python code" if callable(value) else "an object"
        self.refuse(f"{kind_of(func)} takes {kind} ({type(value).__name__}) as an argument")
        return value


def _given(value: Any) -> Iterator[Tensor]:
    """The tensors among arguments, in the order in which an op's edges name them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _given(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _given(item)
    elif isinstance(value, slice):
        yield from _given((value.start, value.stop, value.step))
