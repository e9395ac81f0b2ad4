"""What people do with the pages, done in a browser."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser
from playwright.sync_api import expect


def test_the_root_opens_without_a_complaint(browser: Browser, process_master: Any) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.goto(f"{process_master.url}/self-serve")
    expect(page.get_by_role("heading", name="Self-serve", level=1)).to_be_visible()
    assert complaints == []
    page.close()
