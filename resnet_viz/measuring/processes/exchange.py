"""What processes that hold one model between them do while each measures its batch.

DDP has a copy of the model on every process and averages the gradients of its
parameters; FSDP2 (``fully_shard``) spreads the parameters themselves. What is
reported of a parameter is what the optimizer sees: the gradient of the mean loss of
all processes, whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from resnet_viz.core.errors import UserError, one_line
from resnet_viz.measuring.autograd_graph import NodeMap
from resnet_viz.measuring.device import model_device


class Exchange(ABC):
    """What the processes of one model exchange.

    Attributes:
        accumulates: Whether gradients can only be had from ``.grad``, after ``backward``.
    """

    accumulates = False

    def __init__(self, model: nn.Module) -> None:
        """Exchanges nothing yet.

        Args:
            model: The same one on every process.
        """
        self.model = model

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within it forwards and backwards may run."""
        yield

    def adopt(self, nodes: NodeMap) -> None:
        """Tells an observer under which identities the forward will meet the parameters."""
        return

    def settle(self, nodes: NodeMap, leaves: list[Tensor]) -> None:
        """After the forward: what it read, and the leaves, by the parameters' own identities."""
        return

    @abstractmethod
    def gradients(self, own: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """The gradients that the optimizer sees, of those that this process computed."""

    def anywhere(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        with speaking():
            found = torch.tensor(int(flag), device=self._device())
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found.item())

    def in_step(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches for as long as every process has one; nobody waits for another."""
        for batch in batches:
            if self.anywhere(False):
                return
            yield batch
        self.anywhere(True)

    def _device(self) -> torch.device:
        return model_device(self.model)


class Averaged(Exchange):
    """DDP: every process has the model, and the mean of the gradients is what counts."""

    def gradients(self, own: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Means over the processes; one that has no gradient counts as zero, as in DDP."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        found = dict(own)
        with speaking():
            there = torch.tensor([id(p) in own for p in parameters], dtype=torch.int32)
            there = there.to(self._device())
            dist.all_reduce(there)
            waiting = []
            for parameter, count in zip(parameters, there.tolist(), strict=True):
                if not count:
                    continue
                gradient = own.get(id(parameter))
                total = torch.zeros_like(parameter) if gradient is None else gradient.clone()
                total = total.to_dense() if total.is_sparse else total.contiguous()
                found[id(parameter)] = total
                waiting.append((total, dist.all_reduce(total, async_op=True)))
            for total, work in waiting:
                work.wait()
                total /= dist.get_world_size()
        return found


@contextmanager
def speaking() -> Iterator[None]:
    """Where processes speak to each other: one that is gone ends the others in one line.

    Raises:
        UserError: If another process ended or cannot be reached.
    """
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        raise UserError(
            f"process {dist.get_rank()} of {dist.get_world_size()} lost the others "
            f"({one_line(error, 120)}): the one that ended first says why"
        ) from error


def exchange_of(model: nn.Module, *, averaged: bool) -> Exchange | None:
    """What processes exchange to measure this model; ``None`` where it is one process's own.

    Args:
        model: With parameters that ``fully_shard`` spread, or whole ones.
        averaged: Whether parameter gradients are averaged over the process group.
    """
    from resnet_viz.measuring.processes.sharded import Sharded, is_sharded

    if is_sharded(model):
        return Sharded(model)
    return Averaged(model) if averaged else None
