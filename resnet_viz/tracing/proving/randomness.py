"""The states of random generators: torch's own can be recorded, all others cannot."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RandomState:
    """State of torch's default generators, on the CPU and on every CUDA device."""

    cpu: Tensor
    cuda: tuple[Tensor, ...] = ()

    def restore(self) -> None:
        """The generators go on from here."""
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)


def random_state_now() -> RandomState:
    """The present state."""
    cuda: tuple[Tensor, ...] = ()
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        cuda = tuple(torch.cuda.get_rng_state_all())
    return RandomState(torch.get_rng_state(), cuda)


def is_default(generator: torch.Generator) -> bool:
    """Whether it is one of torch's own, whose state is recorded."""
    own = [torch.default_generator, *getattr(torch.cuda, "default_generators", ())]
    return any(generator is one for one in own)


def other_states() -> tuple[Any, Any]:
    """The states of Python's and NumPy's generators, comparable with ``==``."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return random.getstate(), None
    name, keys, *rest = numpy.random.get_state()
    return random.getstate(), (name, keys.tolist(), *rest)
