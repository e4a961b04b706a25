"""What a person sees at a real terminal: bars while they wait, and then one clean line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pty = pytest.importorskip("pty", reason="pseudo-terminals are a Unix thing")
ROOT = Path(__file__).resolve().parents[2]


def at_a_terminal(folder: Path, *arguments: str) -> list[str]:
    """The lines a terminal was sent, without colours and cursor movements."""
    ours, theirs = pty.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "resnet_viz", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    sent = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux: the other end has closed.
            break
        if not piece:
            break
        sent += piece
    os.close(ours)
    assert command.wait(timeout=60) == 0, sent.decode()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent.decode())
    return re.split(r"[\r\n]+", plain)


def test_what_was_written_stands_on_a_line_of_its_own_after_the_bars(tmp_path: Path) -> None:
    lines = at_a_terminal(tmp_path, "diagram", "resnet20", "-o", "net.dot")
    assert any("tracing" in line for line in lines)
    assert [line for line in lines if line][-1].startswith("Wrote net.dot (")


def test_what_is_printed_does_not_mix_with_the_bars(tmp_path: Path) -> None:
    lines = at_a_terminal(tmp_path, "diagram", "resnet20", "-o", "-", "--format", "dot")
    assert "digraph resnet_viz {" in lines
    last_bar = max(i for i, line in enumerate(lines) if "drawing on standard output" in line)
    assert last_bar < lines.index("digraph resnet_viz {")
