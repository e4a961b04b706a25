"""One of several processes; ``test_distributed`` starts them and reads what they write."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import resnet_viz as rv
from resnet_viz.analysis import annotate
from resnet_viz.cli import main as rv_main
from resnet_viz.core.attribution import Attributions
from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import UserError
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.schema import to_json
from resnet_viz.measuring import attributions_of
from resnet_viz.measuring.context import MeasureContext
from resnet_viz.measuring.processes.distributed import gather_flow, process_group

WORLD, STEPS = 2, 2

NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))
"""


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.conv(x)))


class Net(nn.Module):
    """Two residual blocks, a layer nobody uses, and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.Sequential(Block(4), Block(4))
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(4, 5)
        self.head.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def make_net() -> Net:
    torch.manual_seed(3)
    return Net()


def make_data() -> TensorDataset:
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(4 * WORLD * STEPS, 3, 6, 6, generator=generator)
    return TensorDataset(images, torch.arange(len(images)) % 5)


def make_loader(rank: int) -> list[tuple[Tensor, Tensor]]:
    """The batches of one process."""
    return list(DataLoader(make_data(), batch_size=4))[rank::WORLD]


def own_flow(rank: int) -> GradientFlow:
    """What one process measures alone."""
    return measured(make_net(), make_loader(rank))


def measured(model: nn.Module, data: Any, **options: Any) -> GradientFlow:
    return rv.gradient_flow(
        model, data, F.cross_entropy, mode="train", batches=STEPS, stats="full", **options
    )


def attributed(rank: int) -> Attributions:
    """The attributions of a process's batches, relevance over all of them."""
    net, batches = make_net(), [Batch(args=(x,)) for x, _ in make_loader(rank)]
    graph = rv.trace(net, input_data=batches[0].args[0])
    return attributions_of(
        MeasureContext(
            model=net,
            graph=graph,
            structure=annotate(graph),
            batches=lambda: iter(batches),
            samples=batches[0],
            data_given=True,
            attribution=AttributionOptions(
                n_steps=8, methods=("saliency",), trust="off", stages=False
            ),
        )
    )


def sharded() -> nn.Module:
    net = make_net()
    for block in net.blocks:
        fully_shard(block)
    return fully_shard(net)


def refused(call: Callable[[], object]) -> str:
    try:
        call()
    except UserError as error:
        return str(error)
    return ""


def broken(_outputs: Tensor, _targets: Tensor) -> Tensor:
    raise ValueError("no loss today")


def stepped(net: nn.Module, rank: int) -> list[float]:
    """Gradient norms of a training step."""
    x, y = make_loader(rank)[0]
    net.train()
    F.cross_entropy(net(x), y).backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    return [float(getattr(g, "full_tensor", lambda g=g: g)().norm()) for g in grads]


def in_our_group(rank: int, write: Callable[[str, str], None]) -> None:
    """A plain model, its loader cut by us."""
    with process_group():
        write("plain", to_json(measured(make_net(), DataLoader(make_data(), batch_size=4))))
        torch.manual_seed(rank)
        other = measured_alone(Net(), rank)
        write("other weights", refused(lambda: gather_flow(other)))
        write("attributions", to_json(attributed(rank)))
        bad = broken if rank else F.cross_entropy
        write(
            "one raises",
            refused(lambda: rv.gradient_flow(make_net(), make_loader(0), bad, mode="train")),
        )


def measured_alone(net: nn.Module, rank: int) -> GradientFlow:
    from resnet_viz.measuring.gradients.measure import measure_gradients

    x, y = make_loader(rank)[0]
    batch = Batch(args=(x,), targets=y)
    return measure_gradients(net, [batch], graph=rv.trace(net, input_data=x))


def in_their_group(rank: int, folder: Path, write: Callable[[str, str], None]) -> None:
    """DDP and FSDP2 in a group that the training script made."""
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=WORLD)
    try:
        # Alone in a group of somebody else's: whoever asks is answered, and nobody waits.
        if rank == 0:
            write("alone", to_json(measured(make_net(), make_loader(0))))
        ddp = DistributedDataParallel(make_net())
        sgd = torch.optim.SGD(ddp.parameters(), lr=0.1)
        write("ddp", to_json(measured(ddp, make_loader(rank), optimizer=sgd)))
        uneven = make_loader(rank)[: 1 + rank]
        write("uneven", str(measured(ddp, uneven).batches))
        net = sharded()
        kept = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
        for name, parameter in net.named_parameters():
            parameter.grad = kept[name]
        before = look(net)
        sgd = torch.optim.SGD(net.parameters(), lr=0.1)
        write("fsdp", to_json(measured(net, make_loader(rank), optimizer=sgd)))
        told = refused(lambda: rv.gradient_flow(net, make_loader(rank), broken))
        write("fsdp raises", told)
        same = look(net) == before and all(
            p.grad is kept[name] for name, p in net.named_parameters()
        )
        write("fsdp left as it came", str(same))
        net.zero_grad()
        write("fsdp trains", json.dumps([stepped(net, rank), stepped(sharded(), rank)]))
        report = rv.report(net, data=make_loader(rank))
        write("fsdp report", json.dumps([m.reason for m in report.missing]))
    finally:
        dist.destroy_process_group()


def at_the_command_line(folder: Path, write: Callable[[str, str], None]) -> None:
    """As ``torchrun -m resnet_viz`` runs it, on a port of its own."""
    (folder / "net.py").write_text(NET, encoding="utf-8")
    os.environ["MASTER_PORT"] = os.environ["SECOND_PORT"]
    command = ["gradflow", f"{folder / 'net.py'}:Net", "--input", "1,1,8,8", "--data", "digits"]
    sys.argv = ["resnet-viz", *command, "--batches", "2", "-o", str(folder / "out.json")]
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        try:
            rv_main()
        except SystemExit as ended:
            write("exit", str(ended.code))
    write("said", out.getvalue())


def look(net: nn.Module) -> list[Any]:
    """What must be as it was: parameters, and hooks by their number and identity."""
    tables = [
        sorted((key, id(hook)) for key, hook in table.items())
        for module in net.modules()
        for table in (module._forward_pre_hooks, module._forward_hooks)
    ]
    return [[(name, id(p), type(p)) for name, p in net.named_parameters()], tables]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])

    def write(name: str, text: str) -> None:
        (folder / f"{name}.{rank}").write_text(text, encoding="utf-8")

    in_our_group(rank, write)
    in_their_group(rank, folder, write)
    at_the_command_line(folder, write)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
