"""Two processes find what one finds that runs the same batches in turn and merges."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import resnet_viz as rv
from resnet_viz.analysis import annotate
from resnet_viz.analysis.skip_shares import skip_shares_of
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.merging import merge_flows
from resnet_viz.core.relevance_merging import merge_relevance
from resnet_viz.core.schema import from_json
from resnet_viz.measuring.processes import distributed
from tests.measuring.ranks import STEPS, WORLD, attributed, make_loader, make_net, own_flow

ROOT = Path(__file__).parents[2]


def together(*arguments: str, cwd: Path = ROOT) -> list[subprocess.CompletedProcess[str]]:
    """Both processes, as torchrun starts them, and when one ends badly it ends the other."""
    with socket.socket() as free, socket.socket() as second:
        for one in (free, second):
            one.bind(("127.0.0.1", 0))
        port, second_port = free.getsockname()[1], second.getsockname()[1]
    started = []
    for rank in range(WORLD):
        environment = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(WORLD),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "SECOND_PORT": str(second_port),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        started.append(
            subprocess.Popen(
                [sys.executable, *arguments],
                cwd=cwd,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    done = []
    try:
        for process in started:
            out, err = process.communicate(timeout=240)
            done.append(subprocess.CompletedProcess(arguments, process.returncode, out, err))
    finally:
        for process in started:
            process.kill()
    return done


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    for process in together("-m", "tests.measuring.ranks", str(folder)):
        assert process.returncode == 0, process.stderr
    return folder


@pytest.fixture(scope="module")
def reference() -> GradientFlow:
    """One process, both parts in turn."""
    merged = merge_flows([own_flow(rank) for rank in range(WORLD)])
    structure = annotate(rv.trace(make_net(), input_data=make_loader(0)[0][0]))
    return replace(merged, skip_shares=skip_shares_of(structure, merged))


def flow(folder: Path, name: str, rank: int = 0) -> GradientFlow:
    read = from_json((folder / f"{name}.{rank}").read_text(encoding="utf-8"))
    assert isinstance(read, GradientFlow)
    return read


def assert_same(found: object, wanted: object, path: str = "") -> None:
    """Equal, numbers to 1e-6."""
    if isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-7, nan_ok=True), path
    elif isinstance(wanted, tuple):
        assert isinstance(found, tuple), path
        assert len(found) == len(wanted), path
        for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_same(one, other, f"{path}[{index}]")
    elif hasattr(wanted, "__dataclass_fields__"):
        for name, field in wanted.__dataclass_fields__.items():
            if field.init:
                assert_same(getattr(found, name), getattr(wanted, name), f"{path}.{name}")
    else:
        assert found == wanted, path


def plain(flow: GradientFlow) -> GradientFlow:
    """Without what is said of how it was measured, and findings, which are of the whole."""
    return replace(flow, ranks=1, data="", optimizer="", findings=(), notes=())


def test_a_plain_model_on_two_processes_is_one_process_that_merges(
    written: Path, reference: GradientFlow
) -> None:
    found = flow(written, "plain")
    assert (found.ranks, found.batches) == (WORLD, WORLD * STEPS)
    assert "one part for each of 2 processes" in found.data
    assert_same(plain(found), plain(reference))


@pytest.mark.parametrize("name", ["plain", "ddp", "fsdp"])
def test_every_process_knows_the_whole(written: Path, name: str) -> None:
    assert flow(written, name, 0) == flow(written, name, 1)


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_of_ddp_and_fsdp_what_is_no_parameter_is_merged(
    written: Path, reference: GradientFlow, name: str
) -> None:
    found = flow(written, name)
    assert (found.ranks, found.batches) == (WORLD, WORLD * STEPS)
    assert_same(replace(plain(found), parameters=()), replace(plain(reference), parameters=()))


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_parameters_of_ddp_and_fsdp_have_the_gradient_of_the_mean_loss(
    written: Path, name: str
) -> None:
    steps = []
    for step in range(STEPS):
        net = make_net().train()
        losses = []
        for rank in range(WORLD):
            x, y = make_loader(rank)[step]
            losses.append(F.cross_entropy(net(x), y))
        torch.stack(losses).mean().backward()
        steps.append({n: p.grad for n, p in net.named_parameters()})
    found = {p.name: p for p in flow(written, name).parameters}
    assert list(found) == list(steps[0])
    for key, parameter in make_net().named_parameters():
        row, grads = found[key], [step[key] for step in steps if step[key] is not None]
        if not grads:
            assert row.stats is None
            assert row.reason == ("frozen" if key == "head.bias" else "never used in the forward")
            continue
        assert row.stats is not None
        norms = torch.stack([g.double().norm() for g in grads])
        noise = {"rel": 1e-6, "abs": 1e-7}
        assert row.stats.l2 == pytest.approx(float(norms.mean()), **noise)
        assert row.stats.spread == pytest.approx(float(norms.std()), **noise)
        assert row.stats.low == pytest.approx(min(float(g.min()) for g in grads), **noise)
        assert row.stats.high == pytest.approx(max(float(g.max()) for g in grads), **noise)
        assert row.stats.numel == parameter.numel()
        assert row.stats.batches == STEPS
        weight = float(parameter.detach().double().norm())
        assert row.weight_l2 == pytest.approx(weight, rel=1e-6)
        if weight:
            step = float(norms.mean()) * 0.1 / weight
            assert row.update_ratio == pytest.approx(step, rel=1e-4, abs=1e-7)
        if norms.min() > 1e-6:
            left, right = (g.double().flatten() for g in grads)
            assert row.cosine is not None
            assert row.cosine.mean == pytest.approx(
                float(F.cosine_similarity(left, right, dim=0)), abs=1e-6
            )
        if row.units is not None and norms.min() > 1e-6:
            sizes = parameter.detach().flatten(1).norm(dim=1).clamp(min=1e-3)
            worst = max(float((g.flatten(1).norm(dim=1) / sizes).max()) for g in grads)
            assert row.units.high == pytest.approx(worst, rel=1e-5)


def test_ddp_and_fsdp_agree_to_the_last_statistic(written: Path) -> None:
    assert_same(plain(flow(written, "fsdp")), plain(flow(written, "ddp")))


def test_relevance_on_two_processes_is_that_of_one_that_merges(written: Path) -> None:
    found = [from_json(text).relevance for text in said(written, "attributions")]
    wanted = merge_relevance([attributed(rank).relevance for rank in range(WORLD)])
    assert found[0] == found[1]
    assert (found[0].ranks, found[0].batches, found[0].samples) == (WORLD, WORLD * STEPS, 16)
    assert_same(replace(found[0], ranks=1), wanted)


def test_in_a_group_of_somebody_else_a_plain_model_is_measured_alone(written: Path) -> None:
    assert_same(plain(flow(written, "alone")), plain(own_flow(0)))


def said(folder: Path, name: str) -> list[str]:
    return [(folder / f"{name}.{rank}").read_text(encoding="utf-8") for rank in range(WORLD)]


def test_nobody_waits_for_a_batch_that_another_does_not_have(written: Path) -> None:
    assert said(written, "uneven") == ["2", "2"]


def test_what_one_process_raises_every_one_raises(written: Path) -> None:
    first, second = said(written, "one raises")
    assert second == "the loss raised: ValueError: no loss today"
    assert first == f"process 1 of 2: {second}"


def test_processes_with_different_weights_are_refused(written: Path) -> None:
    for words in said(written, "other weights"):
        assert "did not measure the same" in words
        assert "same seed" in words
        assert "\n" not in words


def test_a_sharded_model_is_left_as_it_came_and_trains_on(written: Path) -> None:
    assert said(written, "fsdp raises") == ["the loss raised: ValueError: no loss today"] * 2
    assert said(written, "fsdp left as it came") == ["True", "True"]
    for text in said(written, "fsdp trains"):
        measured, untouched = json.loads(text)
        assert measured == pytest.approx(untouched, rel=1e-6, abs=1e-7)


def test_what_cannot_be_measured_of_a_sharded_model_is_said(written: Path) -> None:
    for text in said(written, "fsdp report"):
        (reason,) = json.loads(text)
        assert "sharded by FSDP" in reason


def test_the_command_line_of_many_processes_writes_once(written: Path) -> None:
    assert said(written, "exit") == ["0", "0"]
    main, other = said(written, "said")
    assert "Wrote " in main
    assert other == ""
    report = from_json((written / "out.json").read_text(encoding="utf-8"))
    assert (report.gradient_flow.ranks, report.gradient_flow.batches) == (WORLD, 4)
    assert report.gradient_flow.data.startswith("digits: 32 of 1,437")


def test_an_error_of_one_process_ends_all_of_them_soon(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import os\n"
        "from torch import nn\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(4, 4)\n"
        "        if os.environ['RANK'] == '1': raise ValueError('no memory here')\n",
        encoding="utf-8",
    )
    began = time.monotonic()
    command = ["-m", "resnet_viz", "gradflow", "net.py:Net", "--input", "1,4", "-o", "out.json"]
    main, other = together(*command, cwd=tmp_path)
    assert time.monotonic() - began < 120
    assert (main.returncode, other.returncode) == (2, 2), main.stderr + other.stderr
    assert other.stderr.startswith("Error: process 1: ")
    assert "no memory here" in other.stderr
    assert "lost the others" in main.stderr
    assert not (tmp_path / "out.json").exists()


def test_one_process_alone_needs_no_group(reference: GradientFlow) -> None:
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.is_main()
    assert distributed.our_part() == (0, 1)
    assert distributed.gather_flow(reference) is reference
    with distributed.process_group():
        assert distributed.world_size() == 1
