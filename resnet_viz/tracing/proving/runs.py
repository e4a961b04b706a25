"""Runs of one forward that all start from the same values: plain, counted, taped, replayed.

Each starts with the same bits in inputs, parameters, buffers and generators and the same
Python state, and each is undone. What it returned and what it left behind is kept.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import GeneratorType
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.core.graph import Edge, GraphOutput, ModelGraph, Op
from resnet_viz.tracing.calls import state_names
from resnet_viz.tracing.iterators import iterated, kept_items
from resnet_viz.tracing.opened import scripts_opened
from resnet_viz.tracing.pristine import pristine, reachable_modules
from resnet_viz.tracing.proving.bits import same_bits, storage_of
from resnet_viz.tracing.proving.census import Census
from resnet_viz.tracing.proving.kept import Kept
from resnet_viz.tracing.proving.randomness import other_states
from resnet_viz.tracing.proving.replay import EachCall, replay
from resnet_viz.tracing.proving.sums import model_macs
from resnet_viz.tracing.proving.tape import Tape
from resnet_viz.tracing.proving.taping import TapeRecorder, TapeWalk
from resnet_viz.tracing.stand_ins import sharing
from resnet_viz.tracing.tracer import trace_model
from resnet_viz.tracing.trees import input_tensors, map_tensors, named_tensors, tensors_in


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What a run returned, and what it left behind.

    Attributes:
        outputs: Copies of the tensors it returned, with their places.
        buffers: Copies of the buffers it put in place of others, by name.
        changed: Copies of the model's tensors that have other bits than before, by name.
        outside: The same of tensors outside the model that the forward reads.
    """

    outputs: tuple[tuple[str, Tensor], ...]
    buffers: Mapping[str, Tensor]
    changed: Mapping[str, Tensor]
    outside: Mapping[str, Tensor]

    @property
    def scalars(self) -> int:
        """How many numbers it consists of."""
        left = (*self.buffers.values(), *self.changed.values(), *self.outside.values())
        return sum(t.numel() for t in (*(t for _, t in self.outputs), *left))

    def difference(self, other: Outcome, *, outside: bool = False) -> str:
        """The first thing that is not the same bit for bit, in words; else empty.

        Args:
            other: What it is compared with.
            outside: Whether to compare what lies outside the model as well.
        """
        if [name for name, _ in self.outputs] != [name for name, _ in other.outputs]:
            return "the form of the result"
        for (name, mine), (_, its) in zip(self.outputs, other.outputs, strict=True):
            if not same_bits(mine, its):
                return f"output {name!r}" if name else "the output"
        for mine_by_name, its_by_name in (
            (self.buffers, other.buffers),
            (self.changed, other.changed),
            *([(self.outside, other.outside)] if outside else []),
        ):
            for name in sorted({*mine_by_name, *its_by_name}):
                one, two = mine_by_name.get(name), its_by_name.get(name)
                if one is None or two is None or not same_bits(one, two):
                    return f"the value left in {name}"
        return ""


@dataclass(slots=True, eq=False)
class Taped:
    """A run that was recorded: the tape, the graph's parts, and the census beside them.

    Attributes:
        output_slots: Where on the tape each returned tensor is, by its place in the result.
        buffer_slots: The same of buffers that the forward put in place of others, by name.
        outcome: What it returned and left behind.
        params: Scalars of the model's distinct parameters at its end.
    """

    tape: Tape
    census: Census
    ops: tuple[Op, ...]
    edges: tuple[Edge, ...]
    inputs: tuple[Op, ...]
    outputs: tuple[GraphOutput, ...]
    output_slots: tuple[tuple[str, int], ...]
    buffer_slots: Mapping[str, int]
    outcome: Outcome
    params: int


class Runs:
    """A model, its inputs, and the ways to run them.

    Attributes:
        state: Storages of the model's own tensors, each with a name.
        own: ``id`` of every tensor that the model held from the start.
        training: Whether the model runs in train mode.
    """

    def __init__(
        self,
        model: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        training: bool | None,
    ) -> None:
        self.model = model
        self._args: tuple[Any, ...] = kept_items(args)
        self._kwargs: dict[str, Any] = kept_items(kwargs)
        self._training = training
        self.training = model.training if training is None else training
        held = [t for m in reachable_modules(model) for t in tensors_in(vars(m))]
        self.kept = Kept(held)
        names = {key: f"{kind} {name}" for key, (kind, name) in state_names(model).items()}
        self._names = {
            key: names.get(key, f"a plain {tuple(t.shape)} tensor of the model (number {i})")
            for i, (key, t) in enumerate(self.kept.tensors.items())
        }
        self.own = frozenset(self.kept.tensors)
        self.state: dict[Hashable, str] = {}
        for key, tensor in self.kept.tensors.items():
            self.state.setdefault(storage_of(tensor), self._names[key])

    def plain(self, *, other: bool = False) -> Outcome:
        """The forward, with nothing watching.

        Args:
            other: Whether to run on other values of the same inputs.
        """
        with self.started(other=other) as (args, kwargs):
            return self._outcome(self._forward(args, kwargs))

    def traced(self, name: str) -> ModelGraph:
        """The graph of a trace on the real tensors, called ``name``.

        Raises:
            TraceError: If ``forward`` raises.
        """
        try:
            return trace_model(
                self.model,
                self._args,
                self._kwargs,
                name=name,
                training=self._training,
                modes=("real",),
            )
        finally:
            self.kept.restore()

    def macs_on_meta(self) -> int | None:
        """See ``model_macs``."""
        return model_macs(self.model, self._args, self._kwargs, self._training)

    def counted(self) -> tuple[Outcome, Census]:
        """The forward, with nothing but its kernels counted.

        Scripted functions run as Python, as under a trace: what they fuse is no kernel.
        """
        census = Census(storages=True)
        with self.started() as (args, kwargs):
            with census, scripts_opened():
                result = self._forward(args, kwargs)
            assert census.storages is not None
            census.storages.update(storage_of(t) for t in tensors_in(result))
            return self._outcome(result), census

    def taped(self) -> Taped:
        """The forward, recorded call by call."""
        walk: TapeWalk | None = None

        def place() -> str:
            return walk.path if walk is not None else ""

        census = Census(place=place)
        tape = Tape(self.kept, place)
        with self.started() as (args, kwargs):
            recorder = TapeRecorder(state_names(self.model), tape, census)
            walk = TapeWalk(self.model, recorder, tape)
            for label, tensor in input_tensors(self.model, args, kwargs):
                recorder.add_input(tensor, label)
            random = other_states()
            with census, walk.watching():
                result = self._forward(args, kwargs)
            if other_states() != random:
                tape.refuse("the forward draws random numbers outside torch")
            returned = list(named_tensors(result))
            found = [recorder.output(t, label) for label, t in returned]
            made = Taped(
                tape=tape,
                census=census,
                ops=tuple(recorder.ops),
                edges=tuple(recorder.edges),
                inputs=tuple(recorder.inputs),
                outputs=tuple(output for output in found if output is not None),
                output_slots=tuple((label, tape.slot(t)) for label, t in returned),
                buffer_slots={name: tape.slot(b) for name, b in self._new_buffers().items()},
                outcome=self._outcome(result),
                params=sum(p.numel() for p in self.model.parameters()),
            )
            tape.close()
            return made

    def replayed(
        self,
        taped: Taped,
        *,
        compare: bool = False,
        each: EachCall | None = None,
        other: bool = False,
    ) -> Outcome:
        """The tape, without the model. See ``replay`` for what it raises."""
        slots = [slot for _, slot in taped.output_slots] + list(taped.buffer_slots.values())
        with self.started(other=other) as (args, kwargs):
            inputs = [tensor for _, tensor in input_tensors(self.model, args, kwargs)]
            values = replay(taped.tape, inputs, slots, compare=compare, each=each)
            return Outcome(
                outputs=tuple((n, values[s].detach().clone()) for n, s in taped.output_slots),
                buffers={n: values[s].detach().clone() for n, s in taped.buffer_slots.items()},
                **self._changes(),
            )

    @contextmanager
    def started(self, *, other: bool = False) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Within it everything is as at the start, the inputs are fresh, and all is undone."""
        try:
            with (
                torch.inference_mode(False),
                torch.no_grad(),
                pristine(self.model, values=True),
            ):
                if self._training is not None:
                    self.model.train(self._training)
                given = self._args, self._kwargs
                fresh = sharing(given, other_values if other else torch.clone)
                args, kwargs = map_tensors(given, fresh)
                yield args, kwargs
        finally:
            self.kept.restore()

    def _forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = self.model(*iterated(args), **iterated(kwargs))
        # The body of a generator has yet to run.
        return list(result) if isinstance(result, GeneratorType) else result

    def _new_buffers(self) -> dict[str, Tensor]:
        """Those that were put in place of others, or beside them."""
        return {n: b for n, b in self.model.named_buffers() if id(b) not in self.own}

    def _outcome(self, result: Any) -> Outcome:
        return Outcome(
            outputs=tuple((n, t.detach().clone()) for n, t in named_tensors(result)),
            buffers={name: b.detach().clone() for name, b in self._new_buffers().items()},
            **self._changes(),
        )

    def _changes(self) -> dict[str, dict[str, Tensor]]:
        changed: dict[str, Tensor] = {}
        outside: dict[str, Tensor] = {}
        places = {key: place for place, key in enumerate(self.kept.tensors)}
        for key, tensor in self.kept.changed().items():
            if key in self.own:
                changed[self._names[key]] = tensor
            else:
                shape = tuple(tensor.shape)
                outside[f"a {shape} tensor outside the model (number {places[key]})"] = tensor
        return {"changed": changed, "outside": outside}


def other_values(tensor: Tensor) -> Tensor:
    """A tensor like this with other values, which are as good an input.

    In reverse order; on the CPU floating ones with other signs too, while a bad index made
    of them on an accelerator would end the process, where integers stay as they are.
    """
    made = tensor.clone()
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized:
        return made
    floating = tensor.dtype.is_floating_point or tensor.dtype.is_complex
    if tensor.device.type != "cpu" and not floating and tensor.dtype is not torch.bool:
        return made
    turned = tensor.flip(tuple(range(tensor.dim())))
    if tensor.device.type == "cpu" and floating and tensor.element_size() > 1:
        turned = turned * -0.7
    return made.copy_(turned)
