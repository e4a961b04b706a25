"""Names that attack: the report treats them as text, in every part, and stays in its window."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest

from resnet_viz.core.graph import OpId
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.page.to_html import render_html
from tests.browser.conftest import Opened, until
from tests.browser.test_page_files import saved, table
from tests.reporting.synthetic import Net

pytestmark = pytest.mark.browser

Open = Callable[..., Opened]

NAMES = {
    "script": "</script><script>document.title='gone'</script>",
    "image": "<img src=x onerror=alert(1)>",
    "quotes": "a\"b'c`d${alert(1)}",
    "override": "\u202egnp.exe\u202c\u2066\u200f",
    "emoji": "🧠👩\u200d🔬é\u0301\U000e0041",
    "proto": "__proto__",
    "constructor": "constructor",
    "section": "costs",
    "address": "a#b?c=d&e%20f%",
    "formula": "=HYPERLINK(1)",
    "slashes": "../../etc/passwd\\x",
    "root": "/lead",
    "control": "nul\x00bell\x07",
    "space": " \t ",
    "long": "w" * 10_000,
}
SELECTED = "document.querySelector('#graph .item.sel')?.dataset.op ?? null"


def hostile() -> tuple[Report, dict[str, OpId]]:
    """A block whose layers are called like this, and their ops."""
    net = Net(NAMES["script"], (1, 8, 8, 8))
    fork = net.x
    start, x, ops = len(net.ops), fork, {}
    for key, name in NAMES.items():
        path = f"{NAMES['image']}.{name}"
        x = ops[key] = net.conv(path, x, 8, 3)
        net.types[path] = name
    branch = net.since(start)
    x = net.op("add", NAMES["image"], fork, x)
    net.types[NAMES["image"]] = NAMES["quotes"]
    net.block("basic", NAMES["image"], start, net.close(fork, x, "identity", branch))
    return net.report(x), ops


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_names_change_nothing_but_text(open_page: Open, width: int, scheme: str) -> None:
    report, ops = hostile()
    data = render_html(report, RenderOptions(collapse="none"))
    opened = open_page(data, width=width, scheme=scheme, reduced_motion="reduce")
    page = opened.page

    def in_its_window() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth") <= width)

    assert in_its_window()
    elements = page.evaluate("document.querySelectorAll('script, img, a[href^=javascript]').length")
    for key, op in ops.items():
        page.evaluate("name => { location.hash = encodeURIComponent(name); }", op)
        until(page, SELECTED, op)
        told: Any = page.evaluate("document.querySelector('#inspector').textContent")
        assert NAMES[key].strip() in told, key
        assert in_its_window(), key
        # The address it writes leads back to it.
        page.wait_for_timeout(200)
        written = page.evaluate("location.hash")
        page.evaluate("hash => { location.hash = ''; location.hash = hash; }", written)
        until(page, SELECTED, op)
    for part in reversed(page.locator("#inspector .crumbs button").all()):
        part.click()
        assert in_its_window()
    for key, name in NAMES.items():
        if not name.strip():
            continue
        page.locator("#search").fill(name)
        assert page.locator("#matches").inner_text() != "0 matches", key
        page.keyboard.press("Enter")
        assert page.evaluate(SELECTED) is not None
        page.keyboard.press("Escape")
    page.locator(".shares tr").last.hover()
    file, text = saved(page, page.locator(".panel:has(#layers)"), "CSV")
    assert not set(file) & set('/\\<>"\u202e')
    assert all(not cell.startswith(("=", "@")) for row in table(text) for cell in row)
    file, text = saved(page, page.locator(".canvas"), "SVG")
    assert b"<script" not in text
    assert b"<img" not in text
    ET.fromstring(text)
    assert page.title() == f"{NAMES['script']} · resnet-viz"
    assert elements == page.evaluate(
        "document.querySelectorAll('script, img, a[href^=javascript]').length"
    )
    assert opened.complaints == []
    assert all(r.startswith(("file:", "data:", "blob:")) for r in opened.requests)


def test_an_address_that_attacks_does_nothing(open_page: Open) -> None:
    report, _ = hostile()
    opened = open_page(render_html(report, RenderOptions()))
    page = opened.page
    before = page.evaluate("document.querySelectorAll('*').length")
    for hostile_hash in (
        "<img src=x onerror=alert(1)>x", "javascript:alert(1)", "%3Cscript%3E", "%", "%FF", "/",
        "//x", "__proto__.x", "toString", "hasOwnProperty", "'\"]", "x" * 100_000, "\u202e",
        "graph", "data",
    ):  # fmt: skip
        page.evaluate("hash => { location.hash = hash; }", hostile_hash)
        page.wait_for_timeout(10)
    assert page.evaluate("document.querySelectorAll('*').length") == before
    assert opened.complaints == []
