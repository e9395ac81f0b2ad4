"""What the site of the documents has beside the pages in ``docs`` (see ``mkdocs.yml``).

README.md, CONTRIBUTING.md and others stay where people look for them in a checkout, and are pages
of the site all the same. Links between them and the pages in ``docs`` work in both places.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File
from mkdocs.structure.files import Files

ROOT = Path(__file__).parent.parent
DOCS = "docs/"
OPENAPI = "openapi.json"
#: Files outside of ``docs`` that are part of the site, and what they are called there.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security-policy.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/results/tables.md": "measurements.md",
    "newsfragments/README.md": "newsfragments.md",
    "master.cfg.example": "master.cfg.example",
    "LICENSE": "LICENSE.txt",
}
_LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[)#])")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages that the navigation does not name at its end: nothing is left out."""
    assert config.nav is not None, "mkdocs.yml has the navigation"
    named = json.dumps(config.nav)
    for page in sorted(Path(config.docs_dir).glob("*.md")):
        if f'"{page.name}"' not in named:
            title = page.read_text("utf-8").partition("\n")[0].lstrip("# ")
            config.nav.append({title: page.name})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what does not lie in ``docs``."""
    for source, name in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text("utf-8")))
    files.append(File.generated(config, OPENAPI, content=json.dumps(_openapi(), indent=1)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the text of a page with links as they are in the site."""
    names = {name: source for source, name in OUTSIDE.items()}
    source = names.get(page.file.src_uri, DOCS + page.file.src_uri)
    return _LINK.sub(lambda match: in_site(match[1], source), markdown)


def in_site(link: str, source: str) -> str:
    """Return where a relative *link* in the file *source* of the checkout leads in the site."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return OUTSIDE.get(target, target.removeprefix(DOCS))


def _openapi() -> dict[str, Any]:
    from buildbot_selfserve.model import Site
    from buildbot_selfserve.views import openapi
    from buildbot_selfserve.views.error_responses import STATUS

    return openapi.document(Site("self-serve", "http://localhost:8010/"), STATUS)
