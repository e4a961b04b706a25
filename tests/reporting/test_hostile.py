"""A module may be named anything and an exception may say anything; it is only text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from torch import nn

import resnet_viz as rv
from resnet_viz.core.errors import TraceError
from resnet_viz.core.report import Report

NAMES = (
    "</script><img src=x onerror=alert(1)>",
    "\x00\x1b[2Jnull and escape",
    "\udcff lone surrogate",
    "‮right to left",
    '"quotes" \\N \\l <lambda>',
    "🔥" * 50,
    "x" * 10_000,
)
FORMATS = ("html", "svg", "png", "dot", "mmd", "json", "graphml", "txt")


@pytest.fixture(scope="module", params=NAMES, ids=range(len(NAMES)))
def report(request: pytest.FixtureRequest) -> Report:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(request.param, nn.Linear(4, 4))

        def forward(self, x):  # type: ignore[no-untyped-def]
            return x + next(self.children())(x)

    return rv.report(Net(), input_size=(1, 4), name=request.param, n_steps=2)


@pytest.fixture(scope="module", params=NAMES, ids=range(len(NAMES)))
def failed(request: pytest.FixtureRequest) -> Report:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(request.param, nn.Linear(4, 4))

        def forward(self, x):  # type: ignore[no-untyped-def]
            x = next(self.children())(x)
            raise type(f"{request.param[:40]}Error", (Exception,), {})(request.param)

    with pytest.raises(TraceError) as caught:
        rv.report(Net(), input_size=(1, 4), name="Net")
    assert str(caught.value).isprintable()
    assert caught.value.report is not None
    return caught.value.report


@pytest.mark.parametrize("format", FORMATS)
def test_it_is_only_text(report: Report, format: str) -> None:
    check(rv.render(report, format), format)


@pytest.mark.parametrize("format", FORMATS)
def test_what_an_exception_says_is_only_text(failed: Report, format: str) -> None:
    data = rv.render(failed, format)
    check(data, format)
    if format not in ("png", "json", "graphml"):
        assert b"raised here" in data
    if format == "dot":
        assert data.count(b'op="raised#0"') + data.count(b'op="raised#0"') >= 1
    if format == "json":
        assert rv.from_json(data.decode()) == failed


def check(data: bytes, format: str) -> None:
    if format in ("svg", "graphml"):
        root = ElementTree.fromstring(data)
        assert not [e for e in root.iter() if e.tag.endswith(("script", "img"))]
    if format == "html":
        assert b"<img src=x" not in data
        assert data.count(b"</script>") == data.count(b"<script")
    if format == "txt":
        assert b"\x1b" not in data
        assert b"\x00" not in data
