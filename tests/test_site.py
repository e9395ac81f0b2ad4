"""The site of the documents: complete, without warnings, and nothing in it from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import examples

MKDOCS = Path(sys.executable).with_name("mkdocs")
#: What a browser loads by itself.
_LOADED = re.compile(
    r"<(?:script|img|iframe|source)[^>]* src=\"([^\"]+)\""
    r"|<link[^>]* href=\"([^\"]+)\""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [str(MKDOCS), "build", "--quiet", "--strict", "--site-dir", str(folder)],
        cwd=examples.ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_document_is_a_page_that_one_can_get_to(site: Path) -> None:
    home = (site / "index.html").read_text()
    for document in examples.documents():
        name = {"README": "index", "CONTRIBUTING": "contributing"}.get(document.stem, document.stem)
        assert (site / f"{name}.html").exists(), name
        assert name == "index" or f'href="{name}.html"' in home, f"{name} is not in the navigation"


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        loaded = [first or second for first, second in _LOADED.findall(page.read_text())]
        assert loaded, page
        assert [url for url in loaded if re.match("(https?:)?//", url)] == [], page.name


@pytest.mark.parametrize(
    ("link", "source", "expected"),
    [
        ("docs/api.md", "README.md", "api.md"),
        ("../CONTRIBUTING.md", "docs/how-it-works.md", "contributing.md"),
        ("../benchmarks/README.md", "docs/how-it-works.md", "benchmarks.md"),
        ("../../docs/performance.md", "benchmarks/results/tables.md", "performance.md"),
        ("api.md", "docs/operators.md", "api.md"),
        ("docs/images/root-wide.png", "README.md", "images/root-wide.png"),
        ("../README.md", "docs/operators.md", "index.md"),
    ],
)
def test_links_of_the_checkout_lead_to_the_same_in_the_site(
    link: str, source: str, expected: str
) -> None:
    pytest.importorskip("mkdocs")
    from docs.site_hooks import in_site

    assert in_site(link, source) == expected
