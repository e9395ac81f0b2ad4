"""Why a build failed: its steps, the end of the log that tells, and whole logs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.db.logs import LogsConnectorComponent
from buildbot.db.model import Model
from buildbot.plugins import schedulers
from buildbot.plugins import steps
from buildbot.plugins import util
from buildbot.process.buildstep import BuildStep
from buildbot.process.results import CANCELLED
from buildbot.process.results import EXCEPTION
from buildbot.process.results import FAILURE
from buildbot.process.results import SUCCESS
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.endpoints import connectProtocol

from buildbot_selfserve import plugin
from buildbot_selfserve.history import History
from buildbot_selfserve.history import logs
from buildbot_selfserve.history.index import Index
from buildbot_selfserve.history.steps import failed_step_names
from buildbot_selfserve.history.steps import failed_steps
from buildbot_selfserve.model import Log
from buildbot_selfserve.model import LogText
from buildbot_selfserve.model import Site
from tests.harness import USER
from tests.harness import Config
from tests.harness import Received
from tests.harness import config

EVERY_DATABASE = "heavy"

#: What a step of a test writes: the name of a log, its type, and texts with their streams.
Written = tuple[str, str, list[tuple[str, str]]]
HERE = "/self-serve/main/build"
WIDE = "y" * 700
SGR = "\x1b[31mred\x1b[0m"


class Writes(BuildStep):
    """A step that writes logs and ends."""

    def __init__(self, logs: list[Written], end: int = SUCCESS, **more: Any) -> None:
        super().__init__(haltOnFailure=False, **{"flunkOnFailure": True, **more})
        self.written = logs
        self.end = end

    async def run(self) -> int:
        for name, kind, texts in self.written:
            log = await self.addLog(name, type=kind)
            for stream, text in texts:
                if kind == "s":
                    add = {"o": log.addStdout, "e": log.addStderr, "h": log.addHeader}[stream]
                    await add(text)
                else:
                    await log.addContent(text)
            await log.finish()
        return self.end


class Raises(BuildStep):
    """A step that writes to a log and raises."""

    async def run(self) -> int:
        log = await self.addLog("stdio")
        await log.addStderr("before\n")
        await self.addURL("report", "https://example.org/report")
        await self.addURL("evil", "javascript:alert(1)")
        raise ValueError("it <b>broke</b>")


class Waits(BuildStep):
    """A step that writes a line, and ends when it is interrupted."""

    async def run(self) -> int:
        self.ended: defer.Deferred[None] = defer.Deferred()
        log = await self.addLog("stdio")
        await log.addStdout("begun\nnot a whole line")
        await self.ended
        await log.finish()
        return CANCELLED

    async def interrupt(self, reason: Any) -> None:
        self.ended.callback(None)


def lines(count: int, text: str = "line") -> str:
    return "".join(f"{text} {number}\n" for number in range(count))


BUILDERS: dict[str, list[Any]] = {
    "passes": [Writes([("stdio", "s", [("o", "fine\n")])], name="compile")],
    "streams": [
        steps.ShellCommand(
            name="test",
            command=["sh", "-c", "echo out; sleep 0.1; echo err >&2; sleep 0.1; exit 3"],
        )
    ],
    "odd": [
        Writes(
            [
                ("first", "s", [("o", "nothing here\n")]),
                (
                    "a/b <c>",
                    "s",
                    [
                        ("o", lines(40)),
                        ("e", f"{SGR} nul\0 \u202e\U0001f4a9 <script>\n"),
                        ("o", WIDE + "\n\nlast without end"),
                        ("h", "program finished\n"),
                    ],
                ),
                ("page", "h", [("o", "<script>alert(1)</script>\n")]),
                ("empty", "t", []),
            ],
            FAILURE,
            name="odd step",
        )
    ],
    "several": [
        Writes([("stdio", "s", [("e", "first\n")])], FAILURE, name="one"),
        Writes([("stdio", "s", [("e", "second\n")])], FAILURE, name="two"),
        Writes([("stdio", "s", [("o", "cleaned\n")])], name="cleanup", alwaysRun=True),
        Writes([("x", "t", [("o", "hidden\n")])], FAILURE, name="probe", hideStepIf=True),
        Writes([("x", "t", [("o", "hidden\n")])], name="quiet", hideStepIf=True),
    ],
    "forgiven": [Writes([("stdio", "s", [("e", "x\n")])], FAILURE, flunkOnFailure=False)],
    "waits": [Waits(name="waiting")],
    "no logs": [Writes([], FAILURE, name="silent")],
    # the last one: Buildbot then gives the worker nothing to do for a while
    "raises": [Raises(name="broken")],
}


def master_config() -> Config:
    made = config()
    made["builders"] += [
        util.BuilderConfig(name=name, workernames=["worker"], factory=util.BuildFactory(some))
        for name, some in BUILDERS.items()
    ]
    made["schedulers"].append(schedulers.Triggerable(name="failing", builderNames=list(BUILDERS)))
    return made


on_it = pytest.mark.parametrize("master", [master_config], indirect=True)


@on_it
@pytest_twisted.ensureDeferred
async def test_why_a_build_failed(master: Any) -> None:
    built = {name: await master.finished_build(name) for name in BUILDERS if name != "waits"}
    ids = {name: build["buildid"] for name, build in built.items()}
    details = {}
    for name, build_id in ids.items():
        details[name] = (await master.get(f"{HERE}/{build_id}")).json
    assert details["passes"]["failed_step"] is None
    (_, step) = details["passes"]["steps"]
    log = step.pop("logs")[0]
    assert step.pop("started_at") <= step.pop("complete_at")
    assert step == {
        "number": 1,
        "name": "compile",
        "state_string": "finished",
        "results": SUCCESS,
        "urls": [],
    }
    assert log == {
        "name": "stdio",
        "slug": "stdio",
        "type": "s",
        "lines": 1,
        "url": f"{master.url}{HERE}/{ids['passes']}/log/1/stdio",
    }
    failed = details["streams"]["failed_step"]
    assert (failed["name"], failed["results"]) == ("test", FAILURE)
    assert failed["log"]["tail"] == [
        {"stream": "stdout", "text": "out"},
        {"stream": "stderr", "text": "err"},
    ]
    several = details["several"]
    assert [step["name"] for step in several["steps"]] == [
        "worker_preparation",
        "one",
        "two",
        "cleanup",
        "probe",
    ]
    assert several["failed_step"]["name"] == "two"
    assert several["failed_step"]["log"]["tail"] == [{"stream": "stderr", "text": "second"}]
    broken = details["raises"]["failed_step"]
    assert (broken["results"], broken["log"]["name"]) == (EXCEPTION, "err.text")
    assert "ValueError: it <b>broke</b>" in broken["log"]["tail"][-1]["text"]
    assert [one["name"] for one in details["raises"]["steps"][1]["urls"]] == ["report", "evil"]
    assert details["no logs"]["failed_step"]["log"] is None
    # which a step may do, and the build succeeds
    assert details["forgiven"]["failed_step"] is None
    assert [step["results"] for step in details["forgiven"]["steps"]] == [SUCCESS, FAILURE]
    odd = details["odd"]["failed_step"]["log"]
    assert (odd["name"], odd["lines"]) == ("a/b <c>", 45)
    texts = [line["text"] for line in odd["tail"]]
    assert len(texts) == 30
    assert texts[-5:] == [
        "line 39",
        "red nul\0 \u202e\U0001f4a9 <script>",
        WIDE[:500],
        "",
        "last without end",
    ]
    assert {line["text"]: line["stream"] for line in odd["tail"]}[texts[-4]] == "stderr"
    # as a page that shows several builds asks
    statements: list[str] = []
    with history_of(master) as history:
        connection = history.connection
        sa.event.listen(
            connection, "before_cursor_execute", lambda *told: statements.append(told[2])
        )
        found = failed_steps(history, [*ids.values(), 4711])
        asked = len(statements)
        names = failed_step_names(connection, [*ids.values(), 4711])
    assert {build_id: one.step.name for build_id, one in found.items()} == {
        ids[name]: step
        for name, step in (
            ("streams", "test"),
            ("odd", "odd step"),
            ("several", "two"),
            ("forgiven", "generic"),
            ("no logs", "silent"),
            ("raises", "broken"),
        )
    }
    assert names == {build_id: one.step.name for build_id, one in found.items()}
    # all of their logs at once; steps and logs are found with one each
    assert asked <= logs.MOST_LOOKS
    await check_texts(master, ids)
    await check_pages(master, ids)
    assert master.errors == [one for one in master.errors if "ValueError" in one]


async def check_texts(master: Any, ids: dict[str, int]) -> None:
    odd = f"{HERE}/{ids['odd']}/log"
    whole = await master.get(f"{odd}/1/a_b__c_", json=False)
    assert (whole.status, whole.header("content-type")) == (200, "text/plain; charset=utf-8")
    assert whole.header("x-content-type-options") == "nosniff"
    assert whole.header("content-disposition") is None
    expected = (
        lines(40)
        + f"{SGR} nul\0 \u202e\U0001f4a9 <script>\n"
        + f"{WIDE}\n\nprogram finished\nlast without end\n"
    )
    assert whole.text == expected
    # browsers show no colours, and would show what makes them
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    shown = await master.get(f"{odd}/1/a_b__c_", json=False, headers=browser)
    assert shown.text == expected.replace(SGR, "red")
    assert shown.header("content-type") == whole.header("content-type")
    assert shown.header("etag") != whole.header("etag")
    assert "Accept" in shown.header("vary").split(", ")
    again = {**browser, "If-None-Match": shown.header("etag")}
    assert (await master.get(f"{odd}/1/a_b__c_", json=False, headers=again)).status == 304
    as_json = await master.get(f"{odd}/1/a_b__c_")
    assert as_json.text == expected
    for name in ("1/a%2Fb%20%3Cc%3E", "odd%20step/a_b__c_"):
        assert (await master.get(f"{odd}/{name}")).text == expected
    tail = await master.get(f"{odd}/1/a_b__c_?tail=2")
    assert tail.text == "program finished\nlast without end\n"
    rest = await master.get(f"{odd}/1/a_b__c_?offset=43")
    assert rest.text == "program finished\nlast without end\n"
    assert (await master.get(f"{odd}/1/a_b__c_?offset=4300")).text == ""
    assert (await master.get(f"{odd}/1/empty")).text == ""
    assert (await master.request("HEAD", f"{odd}/1/a_b__c_")).body == b""
    page = await master.get(f"{odd}/1/page", json=False)
    assert page.header("content-type") == "application/octet-stream"
    assert page.header("content-disposition") == "attachment; filename*=UTF-8''page.html"
    assert page.text == "<script>alert(1)</script>\n"
    for path, msg in (
        ("7/stdio", f"Step 7 not found in build {ids['odd']}"),
        ("nope/stdio", f"Step nope not found in build {ids['odd']}"),
        ("1/nope", f"Log nope not found in step odd step of build {ids['odd']}"),
    ):
        missing = await master.get(f"{odd}/{path}")
        assert (missing.status, missing.json["msg"]) == (404, msg)
    assert (await master.get(f"{HERE}/4711/log/0/stdio")).status == 404
    for query in ("tail=0", "tail=x", "tail=10001", "offset=-1", "format=html", "format=text"):
        bad = await master.get(f"{odd}/1/page?{query}")
        assert bad.status == 400
        assert f"Bad {query.partition('=')[0]}" in bad.text


def engine_of(master: Any) -> sa.Engine:
    """Return an engine on the database of *master*."""
    url = sa.engine.make_url(master.master.config.db.db_url)
    if url.get_backend_name() == "sqlite":
        url = url.set(database=f"{master.master.basedir}/state.sqlite")
    return sa.create_engine(url)


@contextmanager
def history_of(master: Any) -> Iterator[History]:
    with engine_of(master).connect() as connection:
        yield History(connection, Index(), Site("self-serve", "http://localhost/"))


async def check_pages(master: Any, ids: dict[str, int]) -> None:
    page = (await master.get(f"{HERE}/{ids['odd']}", json=False)).text
    assert '<span class="in-red">red</span> nul\N{REPLACEMENT CHARACTER} ' in page
    assert "&lt;script&gt;\n</span>" in page
    assert "alert(1)" not in page
    assert (
        f'href="{HERE}/{ids["odd"]}/log/1/a_b__c_">Whole log a/b &lt;c&gt; (45 lines)</a>' in page
    )
    for name, build_id in ids.items():
        page = (await master.get(f"{HERE}/{build_id}", json=False)).text
        assert ("Why it failed" in page) == (name not in ("passes", "forgiven"))
        assert 'href="javascript:' not in page


# -- how they are stored

#: The compressions that are installed, with that of none.
METHODS = [one.name for one in LogsConnectorComponent.COMPRESSION_BYID.values() if one.available]


def test_the_numbers_of_the_compressions_are_those_of_buildbot() -> None:
    theirs = dict(LogsConnectorComponent.COMPRESSION_BYID)
    del theirs[LogsConnectorComponent.NO_COMPRESSION_ID]
    assert {number: method for number, (method, _) in logs.COMPRESSIONS.items()} == theirs


class Step:
    """A step of a build that has ended, to which a test adds logs."""

    def __init__(self, master: Any, build_id: int, step_id: int) -> None:
        self.logs = master.master.db.logs
        self.path = f"{HERE}/{build_id}/log/1"
        self.step_id = step_id
        self.names = (f"log{number}" for number in itertools.count())

    @classmethod
    async def of(cls, master: Any, builder: str = "no logs") -> Step:
        build = await master.finished_build(builder)
        (_, step) = await master.data("builds", build["buildid"], "steps")
        return cls(master, build["buildid"], step["stepid"])

    async def add(self, texts: list[str], kind: str = "s") -> Log:
        """Add a log with these *texts*, each written at once; return it."""
        name = next(self.names)
        log_id = await self.logs.addLog(self.step_id, name, name, kind)
        for text in texts:
            await self.logs.appendLog(log_id, text)
        model = await self.logs.getLog(log_id)
        return Log(log_id, name, name, kind, model.num_lines)


def numbered(first: int, count: int, stream: str = "o") -> str:
    return "".join(f"{stream}line {first + number} äöü {'x' * 30}\n" for number in range(count))


def without_streams(text: str) -> str:
    return "".join(line[1:] for line in text.splitlines(keepends=True))


def tail_of(master: Any, log: Log) -> logs.Tail:
    with engine_of(master).connect() as connection:
        return logs.tails(connection, [log])[log.log_id]


@on_it
@pytest_twisted.ensureDeferred
async def test_every_compression_is_read_and_what_is_joined_too(master: Any) -> None:
    step = await Step.of(master)
    texts = [numbered(at * 400, 400) for at in range(5)] + [numbered(2000, 1)] * 7
    expected = without_streams("".join(texts))
    for method in METHODS:
        master.master.config.logCompressionMethod = method
        log = await step.add(texts)
        for joined in (False, True):
            if joined:
                await step.logs.compressLog(log.log_id, force=True)
            whole = await master.get(f"{step.path}/{log.slug}")
            assert (whole.status, whole.text) == (200, expected), (method, joined)
            tail = (await master.get(f"{step.path}/{log.slug}?tail=100")).text
            assert tail == "".join(expected.splitlines(keepends=True)[-100:])
            shown = [line.text for line in tail_of(master, log).lines]
            assert shown == expected.splitlines()[-30:]
    assert {"raw", "gz", "bz2"} <= set(METHODS)


@on_it
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_read_makes_no_answer_old(master: Any) -> None:
    step = await Step.of(master)
    log = await step.add([numbered(0, 100), numbered(100, 100)])
    master.pause()
    request = await master.add_request()
    chunks, requests = Model.logchunks, Model.buildrequests
    broken = chunks.update().where(chunks.c.logid == log.log_id).values(compressed=9)
    with engine_of(master).begin() as connection:
        connection.execute(broken)
        assert len(connection.execute(sa.select(chunks)).all()) > 1
    for priority in (3, 4):
        assert (await master.get(f"{step.path}/{log.slug}")).status == 400
        with engine_of(master).begin() as connection:
            connection.execute(requests.update().values(priority=priority))
        answer = await master.get(f"/self-serve/main/request/{request}")
        assert answer.json["priority"] == priority


@on_it
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_read_is_said(master: Any, monkeypatch: Any) -> None:
    step = await Step.of(master)
    log = await step.add([numbered(0, 100)])
    for values, why in (
        ({"content": None}, "its text was deleted"),
        ({"content": b"text", "compressed": 9}, "it has an unknown compression, number 9"),
        ({"compressed": 2}, "it is not what bz2"),
    ):
        chunks = Model.logchunks
        with engine_of(master).connect() as connection:
            connection.execute(chunks.update().where(chunks.c.logid == log.log_id).values(**values))
            connection.commit()
        refused = await master.get(f"{step.path}/{log.slug}")
        assert (refused.status, refused.json["msg"]) == (400, "Log log0 cannot be read")
        assert refused.json["detail"].startswith(why)
        build = (await master.get(step.path.partition("/log/")[0])).json
        assert build["failed_step"]["log"]["tail"] == []
        assert build["failed_step"]["log"]["note"].startswith(f"Log log0 cannot be read: {why}")
    monkeypatch.setattr(logs.COMPRESSIONS[2][0], "available", False)
    assert tail_of(master, log).note == (
        "Log log0 cannot be read: it is compressed with bz2, and the Python package bz2 is not"
        " installed on the master"
    )
    with engine_of(master).connect() as connection:
        connection.execute(Model.logs.update().values(type="d"))
        connection.execute(Model.logchunks.delete())
        connection.commit()
    gone = await master.get(f"{step.path}/{log.slug}")
    assert (gone.status, gone.json["detail"]) == (404, "its text was deleted")
    page = (await master.get(step.path.partition("/log/")[0], json=False)).text
    assert "The text of log log0 was deleted." in page
    assert "log0 (deleted)" in page


@on_it
@pytest_twisted.ensureDeferred
async def test_only_the_end_of_a_long_log_is_read(master: Any, monkeypatch: Any) -> None:
    step = await Step.of(master)
    texts = [numbered(at * 20_000, 20_000) for at in range(8)]
    log = await step.add(texts)
    read: list[int] = []
    real = logs.unpacked

    def counting(log: Log, compressed: int, content: bytes) -> bytes:
        text = real(log, compressed, content)
        read.append(len(text))
        return text

    monkeypatch.setattr(logs, "unpacked", counting)
    for _ in range(2):
        shown = tail_of(master, log).lines
        assert [line.text for line in shown] == without_streams(texts[-1]).splitlines()[-30:]
        assert len(read) <= 2
        await step.logs.compressLog(log.log_id)
        read.clear()
    # headers at its end, more than are looked at first
    headers = await step.add([numbered(0, 500), numbered(0, 150, "h")])
    assert [line.text for line in tail_of(master, headers).lines] == without_streams(
        numbered(470, 30)
    ).splitlines()
    # each line in a chunk of its own, as a step that prints them one by one writes them
    read.clear()
    slow = await step.add([numbered(at, 1) for at in range(200)])
    assert len(tail_of(master, slow).lines) == 30
    assert len(read) <= logs.LAST
    # the whole of it comes in parts
    read.clear()
    whole = await master.get(f"{step.path}/{log.slug}")
    assert whole.header("content-length") is None
    assert whole.text == without_streams("".join(texts))
    head = await master.request("HEAD", f"{step.path}/{log.slug}")
    assert (head.status, head.body) == (200, b"")
    with history_of(master) as history:
        left: LogText | None = logs.text(history, log, 0, None)
        sizes = []
        while left is not None:
            part, left = logs.part(history, left)
            sizes.append(len(part))
    assert sum(sizes) == len(whole.body)
    assert len(sizes) > 3
    assert max(sizes) < len(whole.body) / 3


@on_it
@pytest_twisted.ensureDeferred
async def test_what_was_written_at_once_is_sent_in_parts_too(master: Any, monkeypatch: Any) -> None:
    step = await Step.of(master)
    text = numbered(0, 5000)
    monkeypatch.setattr(logs, "LONGEST_PART", 10_000)
    for kind, expected in (("s", without_streams(text)), ("t", text)):
        log = await step.add([text, numbered(5000, 1)], kind)
        with history_of(master) as history:
            left: LogText | None = logs.text(history, log, 7, None)
            parts = []
            while left is not None:
                part, left = logs.part(history, left)
                parts.append(part)
        whole = b"".join(parts).decode()
        assert whole.splitlines()[:-1] == expected.splitlines()[7:]
        assert max(map(len, parts)) < 11_000
        assert all(part.endswith(b"\n") for part in parts)


@on_it
@pytest_twisted.ensureDeferred
async def test_escape_sequences_are_removed_from_each_part(master: Any, monkeypatch: Any) -> None:
    step = await Step.of(master)
    monkeypatch.setattr(logs, "LONGEST_PART", 1000)
    # one is cut off at the end of each line, so also at the end of each part
    printed = "\x1b[1;31mFAIL\x1b[0m \x9b32mä\x1b]0;title\x07 \x1b[3"
    log = await step.add(["".join(f"{printed}\n" for _ in range(500))], "t")
    with history_of(master) as history:
        wanted: LogText | None = logs.text(history, log, 0, None)._replace(plain=True)
        parts = []
        while wanted is not None:
            part, wanted = logs.part(history, wanted)
            parts.append(part)
    assert len(parts) > 5
    assert b"".join(parts).decode() == "FAIL ä \n" * 500


@on_it
@pytest_twisted.ensureDeferred
async def test_what_grows_while_it_is_sent_ends_where_it_ended(master: Any) -> None:
    step = await Step.of(master)
    log = await step.add([numbered(0, 10)])
    with history_of(master) as history:
        wanted = logs.text(history, log, 4, None)
        await step.logs.appendLog(log.log_id, numbered(10, 10))
        text, left = logs.part(history, wanted)
        assert (text.decode(), left) == (without_streams(numbered(4, 6)), None)
        # what was joined meanwhile still has the same lines
        await step.logs.compressLog(log.log_id, force=True)
        text, left = logs.part(history, logs.text(history, log, 4, 12))
        assert (text.decode(), left) == (without_streams(numbered(8, 12)), None)


class Slow(Received):
    """Takes the beginning of an answer, and the rest when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: defer.Deferred[None] = defer.Deferred()

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if not self.begun.called:
            self.transport.pauseProducing()
            self.begun.callback(None)


@on_it
@pytest_twisted.ensureDeferred
async def test_what_is_gone_before_it_is_sent_ends_the_connection(master: Any) -> None:
    step = await Step.of(master)
    log = await step.add([numbered(at * 1200, 1200) for at in range(50)])
    readers = plugin.application._service.databases.readers
    for fate in ("left", "sent", "deleted"):
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", master.loader.port)
        slow = await connectProtocol(endpoint, Slow())
        path = f"{step.path}/{log.slug}"
        slow.transport.write(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        await slow.begun
        if fate == "left":
            # nothing of it is held any more
            slow.transport.abortConnection()
            await slow.whole
            await master.until(
                lambda: not any(one._bodies for one in readers._readers), "it is over"
            )
            continue
        deleted = fate == "deleted"
        if deleted:
            with engine_of(master).connect() as connection:
                connection.execute(Model.logchunks.delete())
                connection.commit()
        slow.transport.resumeProducing()
        answer = await slow.whole
        # a client that knows chunks knows that it has not everything
        assert answer.endswith(b"\r\n0\r\n\r\n") is not deleted
        assert b"line 0 " in answer
        assert (b"line 59999 " in answer) is not deleted
    assert master.errors == []
    assert "a text was cut off: ('Log log0 cannot be read', 'its text was deleted')" in master.log


def in_threads() -> Config:
    made = master_config()
    made["www"]["plugins"]["selfserve"] = util.SelfServe(readers=0)
    return made


@pytest.mark.parametrize("master", [in_threads], indirect=True)
@pytest_twisted.ensureDeferred
async def test_threads_send_whole_logs_too(master: Any) -> None:
    step = await Step.of(master)
    texts = [numbered(at * 1200, 1200) for at in range(50)]
    log = await step.add(texts)
    whole = await master.get(f"{step.path}/{log.slug}")
    assert whole.text == without_streams("".join(texts))


@on_it
@pytest_twisted.ensureDeferred
async def test_a_build_that_runs_has_steps_and_what_is_written_by_now(master: Any) -> None:
    request_id = await master.add_request("waits")
    build = await master.running_build(request_id)
    here = f"{HERE}/{build['buildid']}"

    async def begun() -> Any:
        steps = (await master.get(here)).json["steps"]
        return steps[-1] if steps and steps[-1]["logs"] and steps[-1]["logs"][0]["lines"] else None

    step = await master.until(begun, "the step has begun its log")
    assert (step["results"], step["complete_at"]) == (None, None)
    page = (await master.get(here, json=False)).text
    assert '<span class="state running">running</span>' in page
    assert "so far</span>" in page
    # the master has the other line in memory only
    assert (await master.get(f"{here}/log/waiting/stdio")).text == "begun\n"
    assert (await master.request("DELETE", here, user=USER)).status == 202
    await master.completed(request_id)
    assert (await master.get(here)).json["failed_step"] is None
    ended = (await master.get(f"{here}/log/waiting/stdio")).text
    assert ended == "begun\nnot a whole line\n"
