"""Many clients in a process of their own: ``python -m benchmarks.load``, told what in JSON.

Reads a ``Load`` as a line of JSON from standard input, begins, writes ``ready`` when it is warm,
measures, and writes what it measured as a line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

from benchmarks import wire

#: Seconds from the first request until it is measured.
WARM_UP = 1.0
#: Seconds that it goes on after the last measured answer, while others are still measured.
TAIL = 0.5


@dataclass(frozen=True)
class Load:
    """What a crowd does.

    :param paths: asked for in turn, encoded
    :param clients: how many there are; each asks again when it has its answer
    :param seconds: how long it is measured
    :param rate: questions a second of all clients together; 0 for as many as they can
    :param silent: further connections on which nothing is ever sent
    """

    port: int
    paths: Sequence[str]
    clients: int
    seconds: float
    rate: float = 0.0
    accept: str = wire.JSON
    silent: int = 0


class _Client(asyncio.Protocol):
    """One client on one connection."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, int]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        found = wire.whole(self._received)
        if found is None or self._answer is None or self._answer.done():
            return
        status, _, end = found
        del self._received[:end]
        self._answer.set_result((status, end))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(wire.Lost("hung up"))

    async def ask(self, sent: bytes) -> tuple[int, int]:
        """Return the status and how many bytes came."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(sent)
        return await self._answer


class _Crowd:
    """All clients, and what they have measured."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.sent = [wire.request(path, load.accept) for path in load.paths]
        self.latencies: list[float] = []
        self.failed = 0
        self.bytes = 0
        self._turn = 0
        self._begin = self._end = 0.0
        self._next = 0.0

    async def run(self) -> dict[str, Any]:
        connected = [await self._connect() for _ in range(self.load.clients + self.load.silent)]
        busy = connected[: self.load.clients]
        now = time.perf_counter()
        self._begin, self._next = now + WARM_UP, now
        self._end = self._begin + self.load.seconds
        working = [asyncio.create_task(self._work(client)) for client in busy]
        await asyncio.sleep(WARM_UP)
        print("ready", flush=True)
        await asyncio.sleep(self.load.seconds + TAIL)
        for one in working:
            one.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        for client in connected:
            client.transport.abort()
        return self._measured()

    async def _connect(self) -> _Client:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(_Client, "127.0.0.1", self.load.port)
        return client

    async def _work(self, client: _Client) -> None:
        while True:
            await self._pace()
            self._turn += 1
            sent = self.sent[self._turn % len(self.sent)]
            begun = time.perf_counter()
            try:
                status, size = await client.ask(sent)
            except wire.Lost:
                self.failed += 1
                client = await self._connect()
                continue
            ended = time.perf_counter()
            if status != 200:
                self.failed += 1
            elif self._begin <= ended < self._end:
                self.latencies.append(ended - begun)
                self.bytes += size

    async def _pace(self) -> None:
        if not self.load.rate:
            return
        self._next = max(self._next, time.perf_counter() - 1) + 1 / self.load.rate
        await asyncio.sleep(max(0.0, self._next - time.perf_counter()))

    def _measured(self) -> dict[str, Any]:
        ordered = sorted(self.latencies)
        return {
            "answers_s": round(len(ordered) / self.load.seconds, 1),
            "failed": self.failed,
            "megabytes_s": round(self.bytes / self.load.seconds / 1e6, 2),
            **{
                f"p{percent}": round(ordered[len(ordered) * percent // 100] * 1000, 3)
                for percent in (50, 99)
                if ordered
            },
        }


def main() -> None:
    """Do what standard input says."""
    load = Load(**json.loads(sys.stdin.readline()))
    with contextlib.suppress(KeyboardInterrupt):
        print(json.dumps(asyncio.run(_Crowd(load).run())), flush=True)


def as_line(load: Load) -> str:
    """Return *load* as standard input must have it."""
    return json.dumps(asdict(load)) + "\n"


if __name__ == "__main__":
    main()
