"""Data in a page: it reads back, cannot leave its element, and is the same every time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting import render
from resnet_viz.reporting.page.data import packed_json, read_page, script_json
from tests.reporting import synthetic

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8)
FORMATS = ("html", "svg", "json", "dot", "mmd")


def page_with(text: str) -> bytes:
    return f'<script type="application/json" id="data">{text}</script>'.encode()


@given(JSON)
def test_script_json_reads_back_and_cannot_leave_its_element(value: Any) -> None:
    text = script_json(value)
    assert json.loads(text) == value
    assert not re.search(r"[<>&\u2028\u2029]", text)


def test_script_json_refuses_what_json_lacks() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(float("nan"))


@given(JSON, st.sampled_from([1, 3000]))
def test_what_is_packed_reads_back(value: Any, times: int) -> None:
    item = {"value": [value, "</script>"] * times}
    text = packed_json(item)
    assert read_page(page_with(text)) == item
    assert "<" not in text


def test_only_what_is_long_is_packed() -> None:
    assert json.loads(packed_json({"a": 1})) == {"a": 1}
    rows = [{"number": i} for i in range(5_000)]
    text = packed_json(rows)
    assert isinstance(json.loads(text), str)
    assert len(text) < len(script_json(rows)) / 3


def test_a_page_without_data_says_so() -> None:
    with pytest.raises(ValueError, match="no data in this page"):
        read_page(b"<html></html>")


def test_the_same_report_gives_the_same_bytes_in_any_process() -> None:
    code = "import hashlib\nfrom tests.reporting.test_page_data import digests\nprint(*digests())"
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "77")
    }
    assert said == {f"{' '.join(digests())}\n"}


def digests() -> list[str]:
    report = synthetic.resnet18()
    options = RenderOptions()
    pages = [render(report, name, options) for name in FORMATS]
    return [hashlib.sha256(page).hexdigest() for page in pages]
