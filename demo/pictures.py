"""Pictures of every page, for the documents: ``make screenshots`` writes them to docs/images.

They are of a real master with a past of two days (``past.py``), on which job requests are made.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Browser
from playwright.sync_api import Page
from playwright.sync_api import sync_playwright

from demo import chromium
from demo.buildmaster import Buildmaster
from demo.client import Client
from demo.client import wait
from demo.past import TOLD
from demo.past import Past

IMAGES = Path(__file__).parent.parent / "docs" / "images"
CONFIG = Path(__file__).with_name("pictures.cfg")
#: Builders whose builds are over at once (pictures.cfg).
QUICK = ("lint", "docs", "linux-debug")
WIDE, NARROW = (1280, 900), (400, 800)
#: Pixels; a longer page is cut.
TALLEST = 1500
#: Colours of a picture: pages have few, and a file with a palette is a third of the size.
COLOURS = 224


def main() -> int:
    """Make all pictures; return 0."""
    parser = argparse.ArgumentParser(prog="python -m demo.pictures", description=__doc__)
    parser.add_argument("--to", type=Path, default=IMAGES, help="where to (default: docs/images)")
    folder = parser.parse_args().to
    folder.mkdir(parents=True, exist_ok=True)
    with _master() as (client, revisions), _browser() as browser:
        places = _furnish(client, revisions)
        for width, size in (("wide", WIDE), ("narrow", NARROW)):
            _take(browser, client.url, places, folder, width, size, "light")
        _take(
            browser,
            client.url,
            _some(places, "pushes", "revision", "fleet"),
            folder,
            "wide",
            WIDE,
            "dark",
        )
    print(f"{sum(one.stat().st_size for one in folder.glob('*.png')) / 1e6:.2f} MB in {folder}")
    return 0


@contextmanager
def _master() -> Iterator[tuple[Client, list[str]]]:
    with tempfile.TemporaryDirectory() as folder:
        master = Buildmaster(Path(folder), Path(folder), CONFIG, polls=False)
        revisions = Past(Path(folder) / "state.sqlite").write()
        master.start()
        try:
            yield Client(master.url), revisions
        finally:
            master.stop()


@contextmanager
def _browser() -> Iterator[Browser]:
    path = chromium.find()
    if path is None:
        sys.exit("Chromium is not installed")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield running
        running.close()


def _furnish(client: Client, revisions: list[str]) -> dict[str, str]:
    """Ask for builds, cancel some; return the paths of what there is to see, by name."""
    newest, failed = revisions[-1], revisions[-2]
    client.job("POST", f"/main/rev/{newest}")
    again = next(
        row
        for revision in reversed(revisions[: -len(TOLD) - 1])
        for row in client.get(f"/main/rev/{revision}", show=False)
        if row.get("build_id") and row["status"] == 2
    )
    receipt = client.job("POST", "/main/build", build_id=again["build_id"], count=2)
    pending = receipt["requests"][-1]["request_id"]
    client.job("PUT", f"/main/request/{pending}", priority=5)
    nightly = client.job("POST", f"/main/rev/{newest}/nightly")
    client.job("DELETE", f"/main/request/{nightly['requests'][0]['request_id']}")
    wait("what is quick is done", lambda: _quick_are_done(client, newest))
    broken = next(
        row
        for row in client.get(f"/main/rev/{failed}", show=False)
        if row["buildername"] == "linux-asan"
    )
    return {
        "pushes": "/main/pushes",
        "revision": f"/main/rev/{failed}",
        "running": f"/main/rev/{newest}",
        "fleet": "/engine/pushes",
        "root": "",
        "branches": "/branches",
        "branch": "/main",
        "builders": "/main/builders",
        "queue": "/main/pending",
        "is_done": f"/main/rev/{failed}/is_done",
        "new": f"/main/new?revision={newest}",
        "build": f"/main/build/{broken['build_id']}",
        "request": f"/main/request/{pending}",
        "permissions": "/main/permissions",
        "user": f"/user/{quote('annie@example.org')}/pushes",
        "journal": "/jobs",
        "job": f"/jobs/{nightly['job_id']}",
        "error": "/man",
        "buildbot-builders": "/#/builders",
    }


def _quick_are_done(client: Client, revision: str) -> bool:
    rows = client.get(f"/main/rev/{revision}", show=False)
    return not [row for row in rows if row["buildername"] in QUICK and "status" not in row] and all(
        row.get("status") is not None for row in rows if row["buildername"] in QUICK
    )


def _some(places: dict[str, str], *names: str) -> dict[str, str]:
    return {name: places[name] for name in names}


def _take(
    browser: Browser,
    url: str,
    places: dict[str, str],
    folder: Path,
    width: str,
    size: tuple[int, int],
    scheme: Any,
) -> None:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    _log_in(page, url)
    for name, path in places.items():
        theirs = path.startswith("/#")
        if theirs and width == "narrow":
            continue
        page.goto(url + path if theirs else f"{url}/self-serve{path}")
        if theirs:
            page.wait_for_timeout(2000)
        _save(page, folder / f"{name}-{width}{'' if scheme == 'light' else '-' + scheme}.png")
    context.close()


def _log_in(page: Page, url: str) -> None:
    page.goto(f"{url}/self-serve")
    with_password = page.request.get(
        f"{url}/auth/login", headers={"Authorization": "Basic ZGVtbzpkZW1v"}
    )
    assert with_password.ok


def _save(page: Page, path: Path) -> None:
    page.wait_for_timeout(300)
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    cut = taken.convert("RGB").crop((0, 0, taken.width, min(taken.height, TALLEST)))
    cut.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
