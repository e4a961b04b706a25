"""A small real training under watch, for tests that need a ``History`` as it comes.

``python -m tests.watching.sample_history FILE`` writes one as JSON.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import resnet_viz as rv
from resnet_viz.core.history import History
from resnet_viz.sources.datasets.load import load_digits


@cache
def sample_history(net: str = "resnet20", steps: int = 60, every: int = 2) -> History:
    """A net on the digits: SGD with momentum, warm-up, clipping; about 4 s for 60 steps."""
    images = load_digits()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = rv.build(net, widths=(8, 16, 32), in_channels=1, num_classes=10).train()
        order = torch.randperm(len(images.train))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.05, total_iters=20)
    with rv.watch(model, optimizer, every=every, name=net, cosine=True) as watch:
        for step in range(steps):
            batch = order[torch.arange(32 * step, 32 * (step + 1)) % len(order)]
            outputs = model(images.ready(images.train.pixels[batch]))
            loss = functional.cross_entropy(outputs, images.train.labels[batch])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            watch.log(loss=loss)
    return watch.history


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(sample_history().to_json(), "utf-8")
