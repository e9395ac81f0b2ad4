"""A browser for the tests that need one: the Chromium of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import sync_playwright

#: Names under which distributions install it.
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
#: It runs in CI as root, where its sandbox does not; and it looks nothing up for itself.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Run a browser; each test makes contexts of its own, so that none finds another's login."""
    path = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if path is None:
        # in CI nothing may be left out
        assert not os.environ.get("CI"), "Chromium is not installed"
        pytest.skip("Chromium is not installed: the pages were not tried in a browser")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield running
        running.close()
