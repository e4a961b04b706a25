"""Several processes, each of which measures its part: who they are, and what they found together.

Everything rests on ``torch.distributed``: ``torchrun`` starts the processes and ends all of
them when one ends badly.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from resnet_viz.core import errors
from resnet_viz.core.errors import ResnetVizError, UserError, one_line

if TYPE_CHECKING:
    from resnet_viz.core.gradient_flow import GradientFlow

T = TypeVar("T")

_ours = False
"""Whether the present process group is one that this tool joined."""


def is_launched() -> bool:
    """Whether ``torchrun`` started this process as one of several."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") not in ("", "1")


def launched_rank() -> int:
    """The rank ``torchrun`` gave this process; 0 where there is one process only."""
    return int(os.environ["RANK"]) if is_launched() else 0


@contextmanager
def process_group() -> Iterator[None]:
    """Within it the processes that ``torchrun`` started can speak to each other.

    Tensors on the CPU travel by gloo, those on CUDA by NCCL, and each process has the
    device of its ``LOCAL_RANK``. Does nothing where there is one process only, or a group
    already.

    Raises:
        UserError: If the others cannot be reached.
    """
    global _ours
    if not is_launched():
        yield
        return
    import torch
    from torch import distributed as dist

    if dist.is_initialized():
        yield
        return
    on_cuda = torch.cuda.is_available() and dist.is_nccl_available()
    if on_cuda:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        torch.cuda.set_device(local % torch.cuda.device_count())
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo")
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the processes that torchrun started cannot reach each other: {one_line(error, 160)}"
        ) from error
    _ours = True
    try:
        yield
    finally:
        _ours = False
        dist.destroy_process_group()


def rank() -> int:
    """The number of this process in the group; 0 without one."""
    from torch import distributed as dist

    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many processes the group has; 1 without one."""
    from torch import distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def our_part() -> tuple[int, int]:
    """Which part of the data is ours, of how many: ``rank, world_size``.

    All of it in a group that somebody else made: their data are cut already.
    """
    return (rank(), world_size()) if _ours else (0, 1)


def measures_together(*, replicated: bool, sharded: bool) -> bool:
    """Whether the processes measure one thing, so that each must take part.

    They do where this tool joined them, and where the model is one of many processes. In a
    group of somebody else's a plain model is measured by whoever asks.

    Args:
        replicated: Whether the model came in DDP.
        sharded: Whether its parameters are spread by FSDP2.
    """
    return world_size() > 1 and (_ours or replicated or sharded)


def gather_flow(flow: GradientFlow, *, same_parameters: bool = False) -> GradientFlow:
    """The flows of all processes as one, on every process; without a group the flow itself.

    Args:
        flow: What this process measured.
        same_parameters: Whether the gradients of parameters are those of all processes
            already (DDP, FSDP2); they are not merged then.

    Raises:
        UserError: If the processes measured different models, or one is gone.
    """
    if world_size() == 1:
        return flow
    return _merged(_gathered(flow), flow if same_parameters else None)


def measure_together(
    measure: Callable[[], GradientFlow], *, same_parameters: bool = False
) -> GradientFlow:
    """Measures on every process and gathers; what one process raises, every one raises.

    Args:
        measure: Measures on this process.
        same_parameters: See ``gather_flow``. The processes exchange gradients meanwhile
            then, so that one which raises cannot wait for the others.

    Raises:
        ResnetVizError: As ``measure`` does, on any process.
    """
    if same_parameters:
        return gather_flow(measure(), same_parameters=True)
    return _merged(measured_by_all(measure), None)


def measured_by_all(measure: Callable[[], T]) -> list[T]:
    """What every process measured, in order of rank; what one raises, every one raises.

    Args:
        measure: Measures on this process, without a word to the others.

    Raises:
        ResnetVizError: As ``measure`` does, on any process.
    """
    value: T | tuple[str, str]
    own: ResnetVizError | None = None
    try:
        value = measure()
    except ResnetVizError as error:
        own, value = error, (type(error).__name__, str(error))
    found = _gathered(value)
    if own is not None:
        raise own
    for index, one in enumerate(found):
        if isinstance(one, tuple):
            kind = getattr(errors, one[0], UserError)
            raise kind(f"process {index} of {len(found)}: {one[1]}")
    return found


def _gathered(value: Any) -> list[Any]:
    """The value of every process, in order of rank."""
    from torch import distributed as dist

    from resnet_viz.measuring.processes.exchange import speaking

    found: list[Any] = [None] * world_size()
    with speaking():
        dist.all_gather_object(found, value)
    return found


def _merged(flows: list[GradientFlow], same: GradientFlow | None) -> GradientFlow:
    # Here and not above: the command line asks every process who it is, also for --help.
    from resnet_viz.core.merging import merge_flows

    try:
        merged = merge_flows(flows)
    except ValueError as error:
        raise UserError(
            f"the processes did not measure the same: {error}; give every process the same model "
            "with the same seed"
        ) from error
    parameters = merged.parameters if same is None else same.parameters
    return replace(merged, ranks=len(flows), parameters=parameters)
