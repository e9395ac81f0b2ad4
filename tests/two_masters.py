"""Two masters that share a database and a message router, as docs/multimaster.md says.

All that matters is built by the back; the front builds next to nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests import documented
from tests.process_master import ProcessMaster

#: What stands in the document, and is another in each run.
DB_URL = "postgresql+psycopg2://buildbot:PASSWORD@127.0.0.1/buildbot"
ROUTER = "ws://127.0.0.1:8080/ws"

BEFORE = "\nfrom buildbot.plugins import worker\n"
#: A scheduler of the same name is at the back, too: Buildbot lets one of the two be active.
FRONT = """
c["workers"] = [worker.LocalWorker("elsewhere")]
c["builders"] = [util.BuilderConfig(
    name="elsewhere", workernames=["elsewhere"], factory=util.BuildFactory())]
c["schedulers"] = [schedulers.AnyBranchScheduler(name="any", builderNames=["fast"])]
"""
#: While one build runs, everything else waits.
BACK = """
c["workers"] = [worker.LocalWorker("worker", max_builds=1)]
"""
#: Holds need a rule.
RULES = """
c["www"]["authz"] = util.Authz(
    allowRules=[util.SelfServeEndpointMatcher(role="admins", action="hold")],
    roleMatchers=[util.RolesFromUsername(roles=["admins"], usernames=["ada"])])
"""
#: So that tests need not wait for a minute.
HURRIED = """
from buildbot_selfserve import plugin
plugin.GONE_INTERVAL = 0.5
"""


def master(folder: Path, router: str, db_url: str, more: str) -> ProcessMaster:
    """Return a master that shares *router* and database with others."""
    documents = documented.block("multimaster.md", "master.cfg")
    shared = documented.changed(documents, {DB_URL: db_url, ROUTER: router})
    return ProcessMaster(folder, db_url, more=BEFORE + shared + HURRIED + RULES + more)


@contextlib.contextmanager
def running(
    folders: tuple[Path, Path], router: str, db_url: str, back: str = "", front: str = ""
) -> Iterator[tuple[ProcessMaster, ProcessMaster]]:
    """Run the front and the back; yield them when each hears what the other says.

    :param back: what stands at the end of the master.cfg of the back, too; *front* likewise
    """
    the_front = master(folders[0], router, db_url, FRONT + front)
    the_back = master(folders[1], router, db_url, BACK + back)
    with contextlib.ExitStack() as stack:
        for one in (the_back, the_front):
            stack.callback(one.stop)
            one.start()
        until_heard(the_front, the_back, "worker")
        until_heard(the_back, the_front, "elsewhere")
        yield the_front, the_back


def until_heard(speaker: ProcessMaster, hearer: ProcessMaster, worker: str) -> None:
    """Wait until events flow: *speaker* can pause a worker of *hearer*, and let it work again.

    Of what a master listens to, its workers come last.
    """

    def becomes(method: str, paused: bool) -> bool:
        (found,) = hearer.data(f"workers?name={worker}")["workers"]
        if found["paused"] != paused:
            # what nobody listens to yet is lost
            speaker.control(f"workers/{found['workerid']}", method)
        return bool(found["paused"] == paused)

    hearer.until(lambda: hearer.data(f"workers?name={worker}")["workers"], f"{worker} is there")
    hearer.until(lambda: becomes("pause", True), f"{worker} is paused")
    hearer.until(lambda: becomes("unpause", False), f"{worker} works again")
