"""A real Chromium for the page tests: skipped where none is, required in CI."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@dataclass
class Opened:
    """A page in the browser, with everything that went wrong on it."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def until(page: Any, script: str, wanted: object = True, seconds: float = 5) -> None:
    """Waits for what a script answers (the page's policy forbids ``wait_for_function``)."""
    end = time.monotonic() + seconds
    while (found := page.evaluate(script)) != wanted:
        assert time.monotonic() < end, f"{script}: {found!r}, and not {wanted!r}"
        page.wait_for_timeout(20)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; skips without one, unless RESNET_VIZ_BROWSER=required."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    required = os.environ.get("RESNET_VIZ_BROWSER") == "required"
    if executable is None:
        (pytest.fail if required else pytest.skip)("no chromium on PATH")
    playwright = pytest.importorskip("playwright.sync_api") if not required else None
    if playwright is None:
        import playwright.sync_api as playwright
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Opens HTML bytes as a file: ``open_page(data, width=1280, scheme="dark")``."""
    contexts = []

    def open_bytes(
        data: bytes, *, width: int = 1280, height: int = 900, scheme: str = "light", **options: Any
    ) -> Opened:
        path = tmp_path / f"page{len(contexts)}.html"
        path.write_bytes(data)
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **options
        )
        contexts.append(context)
        page = context.new_page()
        opened = Opened(page)
        page.on("console", lambda m: opened.complaints.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on("request", lambda request: opened.requests.append(request.url))
        page.goto(path.as_uri())
        if options.get("java_script_enabled", True) and page.query_selector("#data"):
            page.wait_for_selector("html[data-ready]")
        return opened

    yield open_bytes
    for context in contexts:
        context.close()
