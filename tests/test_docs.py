"""The documents say what the declared routes say."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import shutil
from pathlib import Path
from urllib.parse import parse_qs
from urllib.parse import urlsplit

import pytest

from buildbot_selfserve import state_words
from buildbot_selfserve.client import Client
from buildbot_selfserve.model import schemas
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import Route
from demo.__main__ import invitation
from docs import generate

SCRIPTS = (generate.ROOT / "docs" / "scripts.md").read_text()
JOB_REQUESTS = [route.name for route in ROUTES if route.method != "GET"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with copies of what is generated."""
    for name in (generate.API, generate.HOUSE):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(generate.ROOT / name, tmp_path / name)
    return tmp_path


def run(root: Path, *arguments: str) -> int:
    return generate.main(["--root", str(root), *arguments])


def test_the_documents_are_up_to_date() -> None:
    assert generate.stale_documents(generate.ROOT) == {}


def test_a_changed_document_is_found_and_written_again(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = copy / generate.API
    good = document.read_text()
    changed = good.replace("/self-serve/branches", "/self-serve/trunks")
    assert changed != good
    document.write_text(changed)
    assert run(copy, "--check") == 1
    assert capsys.readouterr().err.startswith(f"{generate.API} is out of date")
    assert document.read_text() == changed
    assert run(copy) == 0
    assert document.read_text() == good
    assert run(copy, "--check") == 0


def test_a_missing_document_is_found_and_written(copy: Path) -> None:
    (copy / generate.API).unlink()
    assert run(copy, "--check") == 1
    assert run(copy) == 0
    assert run(copy, "--check") == 0


@pytest.mark.parametrize("name", [route.name for route in ROUTES])
def test_every_route_is_documented(name: str) -> None:
    route = ROUTES[name]
    path = generate.path_of(route)
    api = (generate.ROOT / generate.API).read_text()
    assert api.count(f"| {route.method} | `{path}` |") == 1
    heading = f"### {route.method} {path}\n"
    assert api.count(heading) == 1
    section = api.partition(heading)[2].partition("\n## ")[0].partition("\n### ")[0]
    assert route.text in section
    for parameter in route.parameters():
        assert f"| `{parameter['name']}` | {parameter['in']} |" in section


def test_every_status_code_is_documented() -> None:
    # here, not above: it imports Buildbot, which installs the reactor
    from buildbot_selfserve.views.error_responses import STATUS

    api = (generate.ROOT / generate.API).read_text()
    assert [code for code in sorted(set(STATUS.values())) if f"| {code} |" not in api] == []


def test_every_header_that_scripts_may_send_or_see_is_documented() -> None:
    from buildbot_selfserve.web import security_headers

    api = (generate.ROOT / generate.API).read_text()
    section = api.partition("\n## Headers\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([A-Za-z-]+)` \|", section, re.MULTILINE))
    assert {*security_headers.ACCEPTED, *security_headers.EXPOSED} - named == set()


def outcomes_in(name: str, pattern: str) -> set[str]:
    """Return the outcomes in the table of a document."""
    text = (generate.ROOT / name).read_text()
    table = text.partition("| Outcome |")[2].partition("\n\n")[0]
    return set(re.findall(rf"^\| {pattern} \|", table, re.MULTILINE))


def test_every_outcome_is_documented() -> None:
    outcomes = set(schemas.schemas()["RequestOutcome"]["properties"]["outcome"]["enum"])
    assert outcomes_in(generate.API, "`([a-z_]+)`") == outcomes
    # of a plan, pages say it in headings
    shown = {state_words.outcome_word(one) for one in outcomes if not one.startswith("would_")}
    listed = (generate.ROOT / "docs" / "users.md").read_text().partition("The outcomes:\n")[2]
    named = re.findall(r"^- \*\*([a-z ]+)\*\*:", listed.partition("\n## ")[0], re.MULTILINE)
    assert set(named) == shown


def test_operators_are_told_how_many_reads_may_wait() -> None:
    from buildbot_selfserve.readers import MOST_WAITING

    small, large = MOST_WAITING[False], MOST_WAITING[True]
    told = f"- more than {small} small reads, or {large} large ones, wait for a reader\n"
    assert told in (generate.ROOT / "docs" / "operators.md").read_text()


@pytest.mark.parametrize("name", ["docs/security.md", "docs/testing.md"])
def test_the_tests_that_show_what_is_claimed_exist(name: str) -> None:
    claims = (generate.ROOT / name).read_text()
    named = re.findall(r"`((?:browser/)?test_[a-z_]+\.py)`", claims)
    assert len(set(named)) > 10
    assert [name for name in named if not (generate.ROOT / "tests" / name).exists()] == []


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/migrating.md",
        "docs/multimaster.md",
        "docs/operators.md",
        "docs/performance.md",
        "docs/security.md",
        "docs/testing.md",
    ],
)
def test_links_lead_somewhere(name: str) -> None:
    document = generate.ROOT / name
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert links
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_tutorial_shows_what_the_demo_prints() -> None:
    commands = Path("/home/ada/buildbot-selfserve/.venv/bin")
    printed = invitation("http://localhost:8010", commands)
    assert f"\n{printed}\n```" in (generate.ROOT / "docs" / "tutorial.md").read_text()


def curl_lines() -> list[tuple[Route, set[str]]]:
    """Return the route of each curl line of scripts.md, and the parameters that it sends."""
    return [_parsed(line) for line in re.findall(r"^\$ (curl .*)$", SCRIPTS, re.MULTILINE)]


def _parsed(line: str) -> tuple[Route, set[str]]:
    words = iter(shlex.split(line)[1:])
    method, fields, url = "GET", set(), ""
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-d":
            method = "POST" if method == "GET" else method
            fields.add(next(words).partition("=")[0])
        elif word in ("-H", "-u"):
            next(words)
        elif word == "-s":
            pass
        else:
            url = word
    parts = urlsplit(url)
    routes = [route for route in ROUTES if route.method == method and _fits(route, parts.path)]
    assert routes, f"no route for: {line}"
    # /jobs fits /<branch> too; the route with the fewest nouns is the one that is meant
    route = min(routes, key=lambda one: len(one.nouns))
    return route, fields | (set(parse_qs(parts.query)) - {"format"})


def _fits(route: Route, path: str) -> bool:
    pattern = generate.MOUNT + re.sub("<[a-z_]+>", "[^/]+", route.path.rstrip("/"))
    return re.fullmatch(pattern, path) is not None


def test_curl_lines_send_declared_parameters() -> None:
    for route, sent in curl_lines():
        assert sent <= {param.name for param in route.all_params}


@pytest.mark.parametrize("name", JOB_REQUESTS)
def test_every_job_request_has_a_curl_line(name: str) -> None:
    sent = [fields for route, fields in curl_lines() if route.name == name]
    required = {param.name for param in ROUTES[name].params if param.required}
    assert any(required <= fields for fields in sent)


def test_calls_of_the_client_in_a_text_fit_its_methods() -> None:
    calls = re.findall(r"`(client\.[a-z_]+\([^`]*\))`", SCRIPTS)
    assert len(calls) > 10
    for call in calls:
        parsed = ast.parse(call, mode="eval").body
        assert isinstance(parsed, ast.Call)
        assert isinstance(parsed.func, ast.Attribute)
        method = getattr(Client, parsed.func.attr)
        keywords = [one.arg for one in parsed.keywords if one.arg]
        inspect.signature(method).bind(None, *parsed.args, **dict.fromkeys(keywords))
