"""Pages in headless Chromium: when they paint, when they are ready, how they move."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WINDOW = {"width": 1280, "height": 900}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]

_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
# A pointer that drags to and fro while every frame's length is taken down.
_DRAG = """async selector => {
  const svg = document.querySelector(selector), box = svg.getBoundingClientRect();
  const x = box.x + box.width / 2, y = box.y + box.height / 2, frames = [];
  const send = (type, dx, dy) => svg.dispatchEvent(new PointerEvent(type, {
    bubbles: true, pointerId: 1, button: 0, buttons: 1, clientX: x + dx, clientY: y + dy}));
  send('pointerdown', 0, 0);
  await new Promise(done => {
    let before = null, n = 0;
    const step = now => {
      if (before !== null) frames.push(now - before);
      before = now;
      if (n++ === 60) return done();
      send('pointermove', 120 * Math.sin(n / 6), 80 * Math.cos(n / 6));
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  });
  send('pointerup', 0, 0);
  return frames.slice(2);
}"""


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
        drawn: Selector of what is dragged.
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
        page.locator(drawn).first.scroll_into_view_if_needed()
        frames = page.evaluate(_DRAG, drawn)
    except Error:
        return Seen(float("nan"), float("inf"), [])
    return Seen(page.evaluate(_PAINT), at, frames)
