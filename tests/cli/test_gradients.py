"""Options of everything that runs a backward, two models at once, and watched trainings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import resnet_viz as rv
from resnet_viz.core.comparison import Comparison
from resnet_viz.core.report import Report
from tests.cli.conftest import Ran

Viz = Callable[..., Ran]
SMALL = ("resnet20", "--batch-size", "2")


def measured(viz: Viz, *options: str) -> Report:
    """The report that ``gradflow … --json`` prints."""
    ran = viz("gradflow", *options, "--json")
    assert ran.code == 0, ran.err
    report = rv.from_json(ran.out)
    assert isinstance(report, Report)
    return report


def test_each_option_reaches_the_measurement(viz: Viz) -> None:
    flow = measured(
        *(viz, *SMALL, "--data", "digits", "--batches", "2", "--loss", "cross_entropy"),
        *("--optimizer", "sgd:lr=0.1,momentum=0.9", "--stats", "full", "--eval"),
    ).gradient_flow
    assert flow is not None
    assert (flow.batches, flow.batch_size, flow.stats, flow.mode) == (2, 2, "full", "eval")
    assert "digits" in flow.data
    assert "cross_entropy" in flow.loss.name
    assert "momentum=0.9" in flow.optimizer
    assert flow.loss.spread is not None
    assert all(p.update_ratio is not None for p in flow.parameters if p.weight_l2)
    assert all(c.stats.quantiles for c in flow.calls)


def test_autocast_is_asked_for_and_named(viz: Viz) -> None:
    flow = measured(viz, *SMALL, "--amp", "--stats", "norms").gradient_flow
    assert flow is not None
    assert (flow.autocast, flow.stats) == ("bfloat16", "norms")


def test_paths_and_propagation_are_sections_of_their_own(viz: Viz) -> None:
    report = measured(viz, *SMALL, "--paths", "--path-draws", "2", "--propagation")
    paths, signals = report.path_gradients, report.signal_propagation
    assert paths is not None
    assert signals is not None
    assert paths.lengths.total == 2**9
    assert len(paths.sampled) > 0
    assert sum(paths.shares) == pytest.approx(1, abs=1e-4)
    assert len(signals.blocks) == 9
    assert report.to_records("paths")
    assert report.to_records("propagation")


def test_a_threshold_makes_a_rule_speak(viz: Viz) -> None:
    assert not measured(viz, *SMALL).findings
    moved = ("--threshold", "depth_factor=1.0", "--threshold", "depth_range=1.0")
    assert measured(viz, *SMALL, *moved).findings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--threshold", "depht_factor=1"), "depth_factor"),
        (("--threshold", "depth_factor=high"), "takes a number"),
        (("--optimizer", "sdg"), "sgd"),
        (("--loss", "crossentropy"), "cross_entropy"),
        (("--data", "digit"), "digits"),
        (("--data", "torchvision:CIFAR10"), "--data-dir"),
        (("--batches", "0"), "--batches"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_is_known(
    viz: Viz, options: tuple[str, ...], words: str
) -> None:
    ran = viz("gradflow", *SMALL, *options)
    assert ran.code == 2
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert not list(Path().iterdir())


@pytest.mark.parametrize("suffix", ["html", "json", "txt", "csv"])
def test_compare_writes_each_format(viz: Viz, suffix: str) -> None:
    ran = viz("compare", "plain20", "resnet20", "--batch-size", "2", "-o", f"both.{suffix}")
    assert ran.code == 0, ran.err
    assert "identity skip" in Path(f"both.{suffix}").read_text()


def test_compare_says_with_its_exit_code_whether_they_are_equal(viz: Viz) -> None:
    quick = ("--batch-size", "2", "--stats", "norms", "-q", "--json")
    assert viz("compare", "plain20", "resnet20", *quick).code == 0
    assert viz("compare", "plain20", "resnet20", *quick, "--exit-code").code == 1
    ran = viz("compare", "resnet20", "resnet20", *quick, "--exit-code")
    assert ran.code == 0
    made = rv.from_json(ran.out)
    assert isinstance(made, Comparison)
    assert (made.a.graph.name, made.b.graph.name) == ("resnet20 (A)", "resnet20 (B)")
    assert json.loads(ran.out)["value"]["type"] == "Comparison"


def test_a_watched_training_is_read_as_a_model_is(viz: Viz) -> None:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rv.watch(model, optimizer, every=2, sink="run"):
        for _ in range(6):
            optimizer.zero_grad()
            model(torch.randn(3, 4)).square().mean().backward()
            optimizer.step()
    ran = viz("gradflow", "run", "-o", "history.html", "-o", "history.csv")
    assert ran.code == 0, ran.err
    assert "0.weight" in Path("history.html").read_text()
    assert Path("history.csv").read_text().count("\n") > 3
    refused = viz("gradflow", "run", "--batches", "2", "--paths")
    assert refused.code == 2
    assert "--batches, --paths" in refused.error
