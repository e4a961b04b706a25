"""DDP and FSDP2 under watch, in two processes: the numbers of the whole, written once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from resnet_viz.watching.reading import read_run
from tests.watching.two_processes import KINDS, loss_of, net

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left, which trained each kind of model."""
    place = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-m", "tests.watching.two_processes"]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(place)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    for process in running:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    return place


@pytest.mark.parametrize("kind", KINDS)
def test_both_see_the_averaged_gradient_and_one_writes(kind: str, folder: Path) -> None:
    history = read_run(folder / kind)
    assert history.complete
    seen = [json.loads((folder / f"{kind}-{rank}.json").read_text()) for rank in range(2)]
    assert seen[0] == seen[1]
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    assert len(history.steps) == 3
    for i, step in enumerate(history.steps):
        losses = [loss_of(model, i, rank) for rank in range(2)]
        torch.stack(losses).mean().backward()
        assert step.backwards == 1
        assert step.loss == pytest.approx(losses[0].item(), rel=1e-9)
        old = [p.detach().clone() for p in model.parameters()]
        for p, (name, parameter) in zip(step.parameters, model.named_parameters(), strict=True):
            assert p.name == name
            assert p.l2 == pytest.approx(parameter.grad.norm().item(), rel=1e-9)
            assert p.high == pytest.approx(parameter.grad.abs().max().item(), rel=1e-9)
        whole = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        assert step.l2 == pytest.approx(whole.item(), rel=1e-9)
        assert step.clipped_l2 == pytest.approx(0.5, rel=1e-4)
        optimizer.step()
        optimizer.zero_grad()
        for p, was, now in zip(step.parameters, old, model.parameters(), strict=True):
            change = (now - was).norm() / was.norm()
            assert p.update_ratio == pytest.approx(change.item(), rel=1e-9)
