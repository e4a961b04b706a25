"""One of two processes that train models together: ``python -m … RANK FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import resnet_viz as rv

KINDS = ("ddp", "views", "fsdp2")
"""DDP, DDP whose gradients are views of its buckets, and ``fully_shard``."""


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 4)).double()


def inputs(step: int, rank: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(10 * step + rank)
    return torch.randn(8, 6, generator=generator, dtype=torch.float64)


def loss_of(model: nn.Module, step: int, rank: int) -> torch.Tensor:
    found: torch.Tensor = model(inputs(step, rank)).square().sum(1).mean()
    return found


def wrapped(kind: str) -> nn.Module:
    model = net()
    if kind != "fsdp2":
        return DistributedDataParallel(model, gradient_as_bucket_view=kind == "views")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2,))
    fully_shard(model[0], mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def train(kind: str, rank: int, folder: Path) -> None:
    model = wrapped(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with rv.watch(model, optimizer, every=1, sink=folder / kind, cosine=True) as watch:
        for step in range(3):
            loss = loss_of(model, step, rank)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
            watch.log(loss=loss)
    seen = [[s.l2, s.clipped_l2, *(p.l2 for p in s.parameters)] for s in watch.history.steps]
    (folder / f"{kind}-{rank}.json").write_text(json.dumps(seen))


def main(rank: int, folder: Path) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    for kind in KINDS:
        train(kind, rank, folder)
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
