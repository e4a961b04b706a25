"""docs/attributions.md: its table is the code's, its Python runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from resnet_viz.measuring.attributions.listing import method_entries

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs/attributions.md").read_text(encoding="utf-8")


def methods_table() -> str:
    """The table of methods as the document has it."""
    rows = ["| `--method` | what its values say | needs | holds on |", "|---|---|---|---|"]
    rows += [
        f"| `{m.name}` | {m.says} ({m.source}) | {m.needs or 'nothing'} | {m.valid_on} |"
        for m in method_entries()
    ]
    return "\n".join(rows)


def test_the_table_is_that_of_the_code() -> None:
    (table,) = re.findall(r"<!-- methods -->\n(.*?)\n<!-- /methods -->", TEXT, re.DOTALL)
    assert table == methods_table()


def test_the_python_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")
