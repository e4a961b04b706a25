"""What the gauntlet runs: a ``Case`` builds a model and its inputs, and says what it expects.

Models and inputs are built anew from one seed for every run, because half of the
models here remember things: a twin from the same seed says what an untouched
model would have answered.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from resnet_viz.analysis import annotate
from resnet_viz.core.graph import ModelGraph, Op
from resnet_viz.core.structure import Structure

Mode = Literal["meta", "fake", "real"]


@dataclass(frozen=True, slots=True)
class Given:
    """Arguments of one ``forward``."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


def given(*args: Any, **kwargs: Any) -> Given:
    """``forward(*args, **kwargs)``."""
    return Given(args, kwargs)


class Seen:
    """A graph with the questions that expectations ask."""

    def __init__(self, graph: ModelGraph) -> None:
        self.graph = graph

    @property
    def mode(self) -> str:
        return self.graph.how.mode

    @property
    def kinds(self) -> list[str]:
        return [op.kind for op in self.graph.ops]

    @property
    def ids(self) -> list[str]:
        return [op.id for op in self.graph.ops]

    @property
    def outputs(self) -> dict[str, str]:
        return {output.name: output.src for output in self.graph.outputs}

    @property
    def inputs(self) -> list[str]:
        return [op.label for op in self.graph.inputs]

    @cached_property
    def structure(self) -> Structure:
        return annotate(self.graph)

    @property
    def skips(self) -> list[tuple[str, str, str]]:
        return [(s.fork, s.join, s.kind) for s in self.structure.skips]

    def of(self, kind: str) -> list[Op]:
        return [op for op in self.graph.ops if op.kind == kind]

    def reads(self, op: str) -> list[str]:
        """Where the operands of ``op`` come from, by slot."""
        return [edge.src for edge in self.graph.edges_in(op)]

    def above(self, op: str) -> set[str]:
        """Every op and input from which a path leads to ``op``, and ``op``."""
        found, todo = {op}, [op]
        while todo:
            new = set(self.reads(todo.pop())) - found
            found |= new
            todo += new
        return found

    def connected(self, src: str = "input#0", dst: str | None = None) -> bool:
        """Whether a path leads from ``src`` to ``dst``, or to every output."""
        ends = [dst] if dst else list(self.outputs.values())
        return bool(ends) and all(src in self.above(end) for end in ends)

    @property
    def loose(self) -> list[str]:
        """Ops that no output depends on."""
        used: set[str] = set()
        for end in self.outputs.values():
            used |= self.above(end)
        return [op.id for op in self.graph.ops if op.id not in used]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table.

    Attributes:
        name: ``group/what``.
        family: What kind of model it is, for the table.
        model: Builds it.
        inputs: Builds its inputs; called for every run.
        expect: Asserts what the graph must say.
        mode: The mode that must have run; any if ``None``.
        train: Train mode instead of eval.
        modes: Also compare meta, fake and real graphs.
        limit: Why something cannot hold here, told in the table; empty if all holds.
        flops: Whether FlopCounterMode's figure is one to compare with.
        grad: Whether its forward only runs where gradients are on.
        bits: Whether two real forwards of twins give equal bits at all.
        short: Whether it runs in CI.
    """

    name: str
    family: str
    model: Callable[[], nn.Module]
    inputs: Callable[[], Given]
    expect: Callable[[Seen], None] | None = None
    mode: Mode | None = None
    train: bool = False
    modes: bool = True
    limit: str = ""
    flops: bool = True
    grad: bool = False
    bits: bool = True
    short: bool = False

    @property
    def group(self) -> str:
        return self.name.partition("/")[0]

    def build(self) -> nn.Module:
        """The same model every time."""
        seed()
        return self.model().train(self.train)

    def given(self) -> Given:
        """The same inputs every time."""
        seed(1)
        return self.inputs()


def seed(number: int = 0) -> None:
    """Seeds every generator a forward may draw from."""
    torch.manual_seed(number)
    random.seed(number)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(number)


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


NASTY: dict[str, Case] = {}


def nasty(
    inputs: Callable[[], Given] = lambda: given(torch.randn(2, 4)), **options: Any
) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Puts a module class on the list; its static ``expect(seen)`` holds the answers."""

    def register(cls: type[nn.Module]) -> type[nn.Module]:
        assert cls.__doc__, cls
        name = f"nasty/{snake(cls.__name__)}"
        assert name not in NASTY, name
        model = options.pop("model", cls)
        NASTY[name] = Case(
            name=name,
            family=cls.__module__.rpartition(".")[2],
            model=model,
            inputs=inputs,
            expect=getattr(cls, "expect", None),
            short=True,
            **options,
        )
        return cls

    return register
