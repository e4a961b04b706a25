"""The same measurements on an accelerator: equal to the CPU's, in one transfer."""

from __future__ import annotations

import pytest
import torch

import resnet_viz as rv

pytestmark = pytest.mark.gpu


def test_gradient_flow_on_the_accelerator_equals_the_cpus() -> None:
    torch.manual_seed(0)
    model = rv.build("resnet20").double()
    data = (torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 1, 2, 3]))
    here = rv.gradient_flow(model, data, device="cpu")
    there = rv.gradient_flow(model, data, device="auto")
    assert there.device != "cpu"
    assert next(model.parameters()).device.type == "cpu"
    for ours, theirs in zip(here.parameters, there.parameters, strict=True):
        assert ours.stats is not None
        assert theirs.stats is not None
        assert theirs.stats.l2 == pytest.approx(ours.stats.l2, rel=1e-6)
    shares = {(s.src, s.dst): s.share for s in there.shares}
    for share in here.shares:
        assert shares[share.src, share.dst] == pytest.approx(share.share, abs=1e-6)


def test_one_transfer_per_batch() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Transfers(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            leaves = args and isinstance(args[0], torch.Tensor) and args[0].device.type != "cpu"
            if func is torch.ops.aten._local_scalar_dense.default and leaves:
                self.count += 1
            if isinstance(out, torch.Tensor) and out.device.type == "cpu" and leaves:
                self.count += 1
            return out

    device = torch.accelerator.current_accelerator()
    assert device is not None
    model = rv.build("resnet20").to(device)
    with Transfers() as seen:
        rv.gradient_flow(model, batch_size=2)
    assert seen.count == 1


def test_op_times_on_the_accelerator_wait_for_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[object] = []
    wait = torch.accelerator.synchronize

    def counted(device: object = None) -> None:
        waits.append(device)
        wait(device)

    monkeypatch.setattr(torch.accelerator, "synchronize", counted)
    report = rv.report("resnet20", sections=(), times=True, device="auto")
    times = report.op_times
    assert times is not None
    assert times.device != "cpu"
    assert [row.op for row in times.ops] == [op.id for op in report.graph.ops]
    assert all(0 < row.seconds < 1 for row in times.ops)
    assert 0 < times.forward < 5
    assert len(waits) == 1
