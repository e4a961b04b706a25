"""``resnet-viz experiment …``: what it writes, what it keeps, and how it ends."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resnet_viz.cli.experiments import degradation
from resnet_viz.core.errors import UserError
from resnet_viz.core.experiments.degradation import Degradation, Training
from resnet_viz.core.experiments.depth import DepthStudy
from resnet_viz.core.experiments.identity import IdentityMapping
from resnet_viz.core.schema import from_json
from resnet_viz.experiments.degradation import run as degradation_run
from resnet_viz.experiments.degradation.run import HE_2015
from resnet_viz.experiments.depth import run as depth_run
from tests.cli.conftest import Ran

ROOT = Path(__file__).resolve().parents[2]
Viz = Callable[..., Ran]
TINY = ("degradation", "--depths", "8,14", "--seeds", "0", "--epochs", "1", "--no-lesions")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of every format from one tiny experiment, by the command a person types."""
    folder = tmp_path_factory.mktemp("tiny")
    outputs = [word for s in ("html", "svg", "png", "csv", "json") for word in ("-o", f"d.{s}")]
    run = [sys.executable, "-m", "resnet_viz", "experiment", *TINY, *outputs]
    done = subprocess.run(
        run, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("Wrote d.") == 5
    return folder / "d.html"


def test_each_format_is_written_and_nothing_else_stays(page: Path) -> None:
    assert sorted(p.name for p in page.parent.iterdir()) == [
        f"d.{suffix}" for suffix in ("csv", "html", "json", "png", "svg")
    ]
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert page.with_suffix(".svg").read_text("utf-8").startswith("<svg")
    assert "<script src" not in page.read_text("utf-8")


def test_raw_data_have_a_row_for_each_net_and_epoch(page: Path) -> None:
    with page.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    result = from_json(page.with_suffix(".json").read_text("utf-8"))
    assert isinstance(result, Degradation)
    assert result.labels == ("plain-8", "residual-8", "plain-14", "residual-14")
    assert result.provenance.command.endswith("-o d.json")


def test_json_alone_is_printed(viz: Viz) -> None:
    ran = viz("experiment", "identity", "--quick", "--deep", "resnet32", "--json", "-q")
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert json.loads(ran.out)["value"]["type"] == IdentityMapping.__name__


def test_depth_passes_on_what_was_asked_and_nothing_else(
    viz: Viz, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def remember(**given: Any) -> DepthStudy:
        asked.append({name: value for name, value in given.items() if name != "progress"})
        return DepthStudy(depths=(), widths=(), batch_size=2, data="", runs=())

    monkeypatch.setattr(depth_run, "run_depth", remember)
    words = "--depths 8,20 --activations relu,tanh --inits he --norms batch --seed 3 --quick --json"
    ran = viz("experiment", "depth", *words.split(), "-q")
    assert json.loads(ran.out)["value"]["type"] == DepthStudy.__name__
    assert viz("experiment", "depth", "--json", "-q").code == 0
    usual = {"seeds": (0,), "quick": False, "workers": 2}
    given = {"activations": ("relu", "tanh"), "inits": ("he",), "norms": ("batch",)}
    assert asked == [usual | given | {"depths": (8, 20), "seeds": (3,), "quick": True}, usual]


def test_without_o_a_page_of_that_name_is_written(viz: Viz, tmp_path: Path) -> None:
    ran = viz("experiment", "identity", "--quick", "--deep", "resnet32")
    assert ran.code == 0, ran.err
    assert "Wrote identity.html" in ran.err
    assert "resnet32" in (tmp_path / "identity.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("degradation", "--depths", "21"), "each is 6n + 2"),
        (("degradation", "--depths", "twenty"), "give numbers such as 20,56"),
        (("degradation", "-o", "d.dot"), "unknown suffix '.dot'"),
        (("degradation", "--format", "graphml"), "unknown format 'graphml'"),
        (("degradation", "-o", "no/such/folder.html"), "no/such"),
        (("degradation", "--data", "imagenet22k"), "imagenet22k"),
        (("degradation", "--data", "cifar10"), "--data-dir"),
        (("degradation", "--widths", "8,16"), "widths"),
        (("identity", "--deep", "plain56"), "plain56"),
        (("identity", "--deep", "resnet57"), "resnet57"),
        (("depth", "--activations", "sigmoyd"), "sigmoid"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(viz: Viz, words: tuple[str, ...], said: str) -> None:
    ran = viz("experiment", *words)
    assert ran.code == 2
    assert said in ran.error


@pytest.mark.parametrize(
    ("words", "training"),
    [
        ((), Training()),
        (("--epochs", "3"), Training(epochs=3)),
        (("--recipe", "he2015"), HE_2015),
        (
            ("--recipe", "he2015", "--widths", "8,16,32", "--lr", "0.05", "--seeds", "7"),
            replace(HE_2015, widths=(8, 16, 32), learning_rate=0.05, seeds=(7,)),
        ),
    ],
)
def test_options_change_the_recipe_that_was_asked_for(
    viz: Viz, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], training: Training
) -> None:
    asked: list[Training] = []

    def remember(**given: Any) -> Degradation:
        asked.append(given["training"])
        raise UserError("enough")

    monkeypatch.setattr(degradation_run, "run_degradation", remember)
    assert viz("experiment", "degradation", *words).error == "Error: enough"
    assert asked == [training]


def test_every_recipe_can_be_asked_for() -> None:
    (option,) = (p for p in degradation.params if p.name == "recipe")
    assert tuple(option.type.choices) == tuple(degradation_run.RECIPES)  # type: ignore[attr-defined]


@pytest.mark.skipif(os.name == "nt", reason="signals to a process group are a Unix thing")
def test_ctrl_c_leaves_runs_that_the_same_command_goes_on_from(tmp_path: Path) -> None:
    words = "degradation --depths 8 --widths 2,2,4 --seeds 0 --epochs 12 --no-lesions -o d.csv"
    run = [sys.executable, "-m", "resnet_viz", "experiment", *words.split()]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    begun = subprocess.Popen(
        run, cwd=tmp_path, env=env, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    runs = tmp_path / "d.runs"
    limit = time.monotonic() + 120
    while not list(runs.glob("*.pt")) and time.monotonic() < limit:
        time.sleep(0.05)
    # As a terminal does it: every process of the group hears of it.
    os.killpg(begun.pid, signal.SIGINT)
    _, said = begun.communicate(timeout=60)
    assert begun.returncode == 130, said
    assert "Traceback" not in said
    assert "goes on from d.runs" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.runs"]
    assert not list(runs.glob("*.unfinished"))
    subprocess.run(run, cwd=tmp_path, env=env, check=True, capture_output=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.csv"]
    with (tmp_path / "d.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 24
