"""What holds of every route holds at either of two masters, whoever has built what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.web.client import Agent
from twisted.web.client import HTTPConnectionPool

from tests import databases
from tests import process_master
from tests import test_contract
from tests import two_masters
from tests.harness import Master
from tests.process_master import ProcessMaster

pytestmark = pytest.mark.heavy

CHECKS = [name for name in dir(test_contract) if name.startswith("test_")]
globals().update({name: getattr(test_contract, name) for name in CHECKS})


class Either(Master):
    """The client of one of the masters; what it makes is built by the back."""

    def __init__(self, asked: ProcessMaster, back: ProcessMaster) -> None:
        pool = HTTPConnectionPool(reactor, persistent=False)
        super().__init__(None, SimpleNamespace(port=asked.port), Agent(reactor, pool=pool))  # type: ignore[arg-type]
        self.back = back

    async def finished_build(self, builder_name: str = "fast", **more: Any) -> Any:
        request_id = self.back.force(builder_name)
        await self.completed(request_id)
        return self.back.data(f"buildrequests/{request_id}/builds")["builds"][0]

    async def data(self, *path: Any) -> Any:
        kind = path[0]
        return self.back.data("/".join(map(str, path)))[kind][0]

    async def requests(self) -> Any:
        return self.back.data("buildrequests")["buildrequests"]

    async def add_change(self, **change: Any) -> None:
        self.back.push(**change)

    def pause(self) -> None:
        self.back.pause("worker", True)

    def resume(self) -> None:
        self.back.pause("worker", False)


@pytest.fixture(scope="module")
def pair(
    router: str, postgresql: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProcessMaster, ProcessMaster]]:
    folders = (tmp_path_factory.mktemp("front"), tmp_path_factory.mktemp("back"))
    with two_masters.running(folders, router, databases.fresh_database(postgresql)) as both:
        yield both


@pytest.fixture(params=["front", "back"])
def master(request: Any, pair: Any, monkeypatch: pytest.MonkeyPatch) -> Either:
    for noun in ("revision", "any_revision"):
        monkeypatch.setitem(test_contract.EXISTING, noun, process_master.REVISION)
    front, back = pair
    return Either(front if request.param == "front" else back, back)
