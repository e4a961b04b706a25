"""The browser of the page tests, for what a notebook shows."""

from tests.browser.conftest import chromium, open_page

__all__ = ["chromium", "open_page"]
