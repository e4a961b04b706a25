"""What ``rv.watch`` costs a training: CPU time of one thread. See README.md in this folder."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import sys
from collections.abc import Callable
from functools import partial

import torch
from harness import pairs, timed
from torch.nn import functional

import resnet_viz as rv

STEPS = 100
BARS = {1: 1.5, 10: 1.08, 100: 1.05}
"""Of ``every``."""


def training(every: int) -> Callable[[], None]:
    """Steps of a ResNet-20 on images as small as the digits; 0 watches nothing."""
    torch.manual_seed(0)
    model = rv.build("resnet20", in_channels=1, num_classes=10).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    inputs, labels = torch.randn(64, 1, 8, 8), torch.randint(10, (64,))

    def run() -> None:
        watch = rv.watch(model, optimizer, every=every) if every else None
        for _ in range(STEPS):
            loss = functional.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if watch is not None:
                watch.log(loss=loss)
        if watch is not None:
            watch.close()

    return run


def main() -> int:
    torch.set_num_threads(1)
    late = False
    for every, bar in BARS.items():
        ratio = pairs(
            f"every={every}",
            partial(timed, training(0)),
            partial(timed, training(every)),
            bar=bar,
            count=5,
        )
        print(ratio, flush=True)
        late |= ratio.median > bar
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
