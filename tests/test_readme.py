"""What the README tells a reader to type works as it stands there."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    """The code blocks of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


COMMANDS = [
    line
    for block in fenced("bash")
    for line in block.splitlines()
    if line.startswith("resnet-viz ")
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with nothing but the examples in it, as in a checkout."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_has_commands_and_python() -> None:
    assert len(COMMANDS) >= 8
    assert len(fenced("python")) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs_and_writes_what_it_names(command: str, folder: Path) -> None:
    words = shlex.split(command)[1:]
    run(["-m", "resnet_viz", *words], folder)
    for flag, name in itertools.pairwise(words):
        if flag == "-o":
            assert (folder / name).stat().st_size > 1000


@pytest.mark.parametrize("code", fenced("python"))
def test_the_python_runs(code: str, folder: Path) -> None:
    run(["-c", code], folder)
    assert (folder / "resnet20.html").is_file()


def test_it_counts_the_variants_right() -> None:
    from resnet_viz.sources.variants import VARIANTS

    assert f"lists the {len(VARIANTS)} nets it builds" in README


def test_the_two_set_up_commands_stand_alone_for_ci() -> None:
    lines = README.splitlines()
    assert "pip install . && resnet-viz report resnet50" in lines
    assert 'pip install -e ".[dev]" && pytest' in lines


def test_the_picture_is_what_the_tool_draws(folder: Path) -> None:
    """The README's picture is made by ``resnet-viz diagram resnet50 -o docs/resnet50.svg``."""
    run(["-m", "resnet_viz", "diagram", "resnet50", "-o", "drawn.svg"], folder)
    assert (folder / "drawn.svg").read_bytes() == (ROOT / "docs" / "resnet50.svg").read_bytes()
