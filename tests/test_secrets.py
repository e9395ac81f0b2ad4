"""No secret of the master, and none that a client sends, is where somebody could find it."""

from __future__ import annotations

import base64
import re
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from buildbot_selfserve.journal.tables import jobs
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import Route
from tests import databases
from tests.harness import PASSWORD
from tests.harness import USER
from tests.hostile import EXISTING
from tests.hostile import Sent
from tests.hostile import basic
from tests.hostile import exchange
from tests.process_master import REVISION
from tests.process_master import ProcessMaster

DATABASE = "database-hunter2"
JOURNAL = "journal-hunter2"
TOKEN = "a-token-of-the-master-hunter2"
PROPERTY = "property-hunter2"
WRONG = {"basic": "wrong-basic-hunter2", "bearer": "wrong-bearer-hunter2"}
COOKIE = "cookie-hunter2"
KEY = "key-hunter2"


@pytest.fixture(scope="module")
def master(tmp_path_factory: Any, postgresql: sa.URL) -> Iterator[ProcessMaster]:
    """Run a master whose database and journal need passwords; the journal's is a secret."""
    folder = tmp_path_factory.mktemp("secrets")
    urls = []
    for password in (DATABASE, JOURNAL):
        url = sa.engine.make_url(databases.fresh_database(postgresql))
        # this server trusts whoever reaches its socket, with any password
        url = url.set(username="postgres", password=password)
        urls.append(url.render_as_string(hide_password=False))
    kept = folder / "kept"
    kept.mkdir(mode=0o700)
    for name, secret in (("journal", urls[1]), ("token", TOKEN)):
        (kept / name).write_text(secret)
        (kept / name).chmod(0o600)
    more = f"""
from buildbot.plugins import secrets
c["secretsProviders"] = [secrets.SecretInAFile({str(kept)!r})]
"""
    selfserve = """util.SelfServe(
        db_url=util.Secret("journal"),
        tokens=[util.SelfServeToken("robot", util.Secret("token"))],
        branches=[util.SelfServeBranch("main")])"""
    running = ProcessMaster(folder, urls[0], selfserve=selfserve, more=more, begin=subprocess.Popen)
    running.start()
    running.journal = urls[1]  # type: ignore[attr-defined]
    try:
        yield running
    finally:
        running.stop()


def head(sent: Sent, port: int) -> str:
    """Send a request; return all that comes back, headers and body."""
    answer = exchange(port, sent.encoded())
    assert answer.status, sent
    return f"{answer.status} {answer.headers} {answer.body.decode('utf-8', 'replace')}"


def paths() -> list[tuple[str, str]]:
    """Return every method and path, of what exists and of what does not."""
    missing = dict.fromkeys(EXISTING, "none")
    return [
        (route.method, filled(route, texts))
        for route in ROUTES
        for texts in (EXISTING, missing)
        if not route.path.endswith("/events")  # they never end
    ]


def filled(route: Route, texts: dict[str, str]) -> str:
    path = re.sub("<([a-z_]+)>", lambda match: texts[match[1]], route.path)
    return f"/self-serve{path}".rstrip("/")


def everything_answered(master: ProcessMaster, cookie: str) -> str:
    """Ask for everything, in both forms, with every kind of credentials; return all answers."""
    credentials = [
        (),
        (("Authorization", basic(USER, PASSWORD)),),
        (("Authorization", basic(USER, WRONG["basic"])),),
        (("Authorization", f"Bearer {TOKEN}"),),
        (("Authorization", f"Bearer {WRONG['bearer']}"),),
        (("Authorization", f"{WRONG['bearer']}"),),
        (("Cookie", f"TWISTED_SESSION={cookie}"),),
        (("Cookie", f"TWISTED_SESSION={COOKIE}"),),
    ]
    answers = []
    for method, path in [*paths(), ("GET", "/"), ("GET", "/config"), ("GET", "/api/v2/masters")]:
        for sent in credentials:
            for form in ("application/json", "text/html"):
                headers = (("Accept", form), ("Idempotency-Key", KEY), *sent)
                # what is asked for is refused, so that there is but one job
                body = b"priority=x&count=x" if method == "POST" else b""
                use = "PATCH" if method in ("PUT", "DELETE") else method
                answers.append(head(Sent(use, path, headers, body), master.port))
    return "\n".join(answers)


def log_in(master: ProcessMaster) -> str:
    """Return the value of a session cookie."""
    headers = (("Authorization", basic(USER, PASSWORD)),)
    answer = exchange(master.port, Sent("GET", "/auth/login", headers, b"").encoded())
    return answer.headers["set-cookie"].partition("=")[2].partition(";")[0]


def test_no_secret_is_in_any_answer_log_row_or_process(master: ProcessMaster) -> None:
    cookie = log_in(master)
    assert cookie.count(".") == 2
    fields = {"properties": f'{{"level": "{PROPERTY}"}}'}
    path = f"/self-serve/main/builders/fast/{REVISION}"
    assert master.send("POST", path, key=KEY, **fields)[0] == 202
    bearer = (("Authorization", f"Bearer {TOKEN}"), ("Accept", "application/json"))
    assert exchange(master.port, Sent("POST", path, bearer, b"").encoded()).status == 202
    answers = everything_answered(master, cookie)
    assert "token:robot" in answers
    assert "Wrong user name or password" in answers  # it came as far as that
    assert "new_build_for_builder" in answers

    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    wrong = base64.b64encode(f"{USER}:{WRONG['basic']}".encode()).decode()
    secrets = {
        DATABASE,
        JOURNAL,
        TOKEN,
        *WRONG.values(),
        PASSWORD,
        encoded,
        wrong,
        cookie,
        COOKIE,
        KEY,
    }
    places = {
        "the answers": answers,
        "the logs": "".join(path.read_text() for path in master.folder.glob("*.log*")),
        "the journal": rows(master.journal),  # type: ignore[attr-defined]
        "the processes": processes(master.pid),
    }
    found = {
        (secret, place) for secret in secrets for place, text in places.items() if secret in text
    }
    assert found == set()
    # properties are what a build is made of: whoever reads builds sees them, and no log does
    assert PROPERTY in places["the journal"]
    assert PROPERTY not in places["the logs"]


def rows(url: str) -> str:
    """Return the whole journal."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = str(connection.execute(sa.select(jobs)).fetchall())
    engine.dispose()
    assert "new_build_for_builder" in found
    return found


def processes(pid: int) -> str:
    """Return the command lines and environments of the master and of what it has started."""
    master = psutil.Process(pid)
    everybody = [master, *master.children(recursive=True)]
    assert len(everybody) > 1  # a reader, at least
    return "\n".join(
        Path(f"/proc/{one.pid}/{name}").read_bytes().decode("utf-8", "replace")
        for one in everybody
        for name in ("cmdline", "environ")
    )


def test_the_places_that_are_searched_would_show_one(master: ProcessMaster) -> None:
    """A search that finds nothing proves nothing, unless it can find something."""
    reader = psutil.Process(master.pid).children()[0]
    assert "buildbot_selfserve" in " ".join(reader.cmdline())
    assert "buildbot_selfserve" in processes(master.pid)
    marked = urllib.parse.quote("hunter2-in-a-path")
    master.send("DELETE", f"/self-serve/{marked}/build/1")
    logs = "".join(path.read_text() for path in master.folder.glob("*.log*"))
    assert "hunter2-in-a-path" in logs
