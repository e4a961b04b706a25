"""Pages in headless Chromium: when they paint, when they are ready, how they move."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WINDOW = {"width": 1280, "height": 900}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]

_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
# The length of every frame from now on.
_RECORD = """() => {
  window.__frames = [];
  let before = null;
  const step = now => {
    if (before !== null) window.__frames.push(now - before);
    before = now;
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}"""
_MOVES = 90


@dataclass(frozen=True)
class Seen:
    """One visit; all in milliseconds since the page was asked for."""

    paint: float
    ready: float
    frames: list[float]


def look(
    pages: Mapping[str, Path], rounds: int, ready: str, drawn: str, *, limit: float = 60
) -> dict[str, list[Seen]]:
    """Visits of pages in turn, each in a new window.

    Args:
        pages: Files by name.
        rounds: How often each is opened.
        ready: Selector of what is there once the page is at work.
        drawn: Selector of what is dragged; empty for a picture that cannot be.
        limit: Seconds for a page to become ready; such a visit has infinite ``ready``.
    """
    from playwright.sync_api import sync_playwright

    found: dict[str, list[Seen]] = {name: [] for name in pages}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for _ in range(rounds):
            for name, file in pages.items():
                page = browser.new_page(viewport=WINDOW)
                page.goto(file.as_uri(), wait_until="commit")
                found[name].append(_visit(page, ready, drawn, limit))
                page.close()
        browser.close()
    return found


def _visit(page: Any, ready: str, drawn: str, limit: float) -> Seen:
    from playwright.sync_api import Error

    try:
        page.wait_for_selector(ready, state="attached", timeout=1000 * limit)
        at = page.evaluate("performance.now()")
        frames = _dragged(page, drawn) if drawn else []
    except Error:
        return Seen(float("nan"), float("inf"), [])
    return Seen(page.evaluate(_PAINT), at, frames)


def _dragged(page: Any, drawn: str) -> list[float]:
    """Frames while the mouse drags the drawing to and fro, as a hand would."""
    target = page.locator(drawn).first
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    x, y = box["x"] + box["width"] / 2, min(box["y"] + box["height"] / 2, WINDOW["height"] - 150)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 10, y + 10)
    page.evaluate(_RECORD)
    for i in range(_MOVES):
        page.mouse.move(x + 120 * math.sin(i / 6), y + 80 * math.cos(i / 6))
    frames = page.evaluate("window.__frames")
    page.mouse.up()
    return list(frames)[2:]
