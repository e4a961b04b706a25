"""``--fold-repeats`` on the command line, and the line that says what was folded unasked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran

Viz = Callable[..., Ran]


def test_summary_folds_when_asked(viz: Viz) -> None:
    assert "BasicBlock × " not in viz("summary", "resnet20").out
    ran = viz("summary", "resnet20", "-d", "2", "--fold-repeats")
    assert "0 … 2 BasicBlock × 3" in ran.out
    assert "269,722" in ran.out
    assert "--no-fold-repeats" not in ran.err


def test_drawings_fold_when_asked(viz: Viz) -> None:
    assert viz("diagram", "resnet20", "-o", "all.svg").code == 0
    ran = viz("diagram", "resnet20", "--fold-repeats", "-o", "folded.svg", "-o", "folded.html")
    assert ran.code == 0
    assert "--no-fold-repeats" not in ran.err
    assert Path("folded.svg").read_text().count('<rect class="card') == 6
    assert 'class="card' not in Path("all.svg").read_text()


def test_a_large_graph_folds_unasked_and_says_how_to_see_all(
    viz: Viz, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_viz.reporting.folding.fold.MANY", 50)
    ran = viz("diagram", "resnet20", "-o", "net.svg")
    assert ran.err.count("--no-fold-repeats") == 1
    assert 'class="card' in Path("net.svg").read_text()
    ran = viz("diagram", "resnet20", "-o", "net.svg", "--no-fold-repeats")
    assert "--no-fold-repeats" not in ran.err
    assert 'class="card' not in Path("net.svg").read_text()
    assert "--no-fold-repeats" not in viz("diagram", "resnet20", "-o", "net.json").err
    assert "--no-fold-repeats" in viz("summary", "resnet20", "-d", "1").err
