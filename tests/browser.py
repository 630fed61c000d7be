"""A headless Chromium for tests of pages, and what happened in it that should not have."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]


def launch():
    """A context manager with a browser; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; pip install playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium; run scripts/browser, or apt-get install chromium")
    return _launched(sync_api, path)


@contextmanager
def _launched(sync_api, path):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page and its faults: messages of the console, errors, and requests to a network."""

    page: object
    faults: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.page.on("console", lambda message: self.faults.append(f"console: {message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("request", self._request)

    def _request(self, request):
        if not request.url.startswith(("file:", "data:")):
            self.faults.append(f"request: {request.url}")


@contextmanager
def opened(browser, path, fragment="", **options):
    """Opens a file; what goes wrong in it is an error when the block ends."""
    context = browser.new_context(
        **({"viewport": {"width": 1400, "height": 1000}, "reduced_motion": "reduce"} | options)
    )
    watched = Watched(context.new_page())
    watched.page.goto(f"{path.as_uri()}{fragment}")
    watched.page.wait_for_selector("html[data-ready]", state="attached")
    yield watched.page
    context.close()
    assert watched.faults == []
