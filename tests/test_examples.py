"""Every example runs as its README says, in an empty folder."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def run(*command: str, folder: Path) -> str:
    """Standard output of a Python command that must succeed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_example_runs_on_its_own(script: Path, tmp_path: Path) -> None:
    run(str(script), folder=tmp_path)


def test_the_diagram_example_finds_the_skips_of_resnet34(tmp_path: Path) -> None:
    out = run(str(EXAMPLES / "diagram.py"), folder=tmp_path)
    assert out.count("identity") == 13
    assert out.count("projection") == 3
    assert (tmp_path / "resnet34.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "resnet34.svg").read_bytes()


def test_plain56_explodes_and_resnet56_does_not(tmp_path: Path) -> None:
    plain, residual = run(str(EXAMPLES / "gradient_flow.py"), folder=tmp_path).split("resnet56:")
    assert "exploding" in plain
    assert "exploding" not in residual


def test_a_renderer_of_ones_own_is_found_by_file_and_name(tmp_path: Path) -> None:
    run(
        "-m", "resnet_viz", "diagram", "resnet18", "-o", "skips.csv",
        "--format", f"{EXAMPLES / 'renderer.py'}:skips_as_csv",
        folder=tmp_path,
    )  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "skips.csv").read_text().splitlines()))
    assert [row["kind"] for row in rows].count("projection") == 3
    assert len(rows) == 8


def test_the_custom_model_is_understood_from_its_structure(tmp_path: Path) -> None:
    target = f"{EXAMPLES / 'custom_model.py'}:Detective"
    run(
        "-m", "resnet_viz", "diagram", target, "--arg", "width=24", "-o", "net.dot", folder=tmp_path
    )
    dot = (tmp_path / "net.dot").read_text()
    assert len(re.findall(r"\bblock_kind=bottleneck\b", dot)) == 4
    assert len(re.findall(r"\bskip_kind=identity\b", dot)) == 3
    assert len(re.findall(r"\bskip_kind=projection\b", dot)) == 1
