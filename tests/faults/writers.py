"""Writers that behave as careful clients do, and remember what they were told.

Every write carries an Idempotency-Key, and the same text as its reason: so the log itself tells how often a key took
effect. A write whose outcome is unknown is asked for again, with the same key, on any replica; or, now and then, it is
given up, as a client does that dies itself.
"""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson

from tests.wire.waiting import until

RETRY_SECONDS = 0.1
GIVE_UP = 0.05
"""How often a writer does not come back for an unknown outcome."""


@dataclass(frozen=True)
class Acknowledged:
    """A write that was answered with 200."""

    key: str
    service: str
    environment: str
    revision: int
    epoch: int
    hash_prefix: str
    status: str
    announced: bool
    at: float
    seconds: float


@dataclass
class Recorder:
    """What the writers saw."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    unknown: int = 0
    """Answers that never came, or said that the outcome is not known."""
    refused: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)

    @property
    def last_revision(self) -> int:
        return max((write.revision for write in self.acknowledged), default=0)


class Writers:
    """Any number of writers on any number of replicas, until they are told to stop."""

    def __init__(
        self,
        replicas: Sequence[httpx2.AsyncClient],
        rng: random.Random,
        *,
        count: int = 16,
        services: int = 6,
        name: str = "w",
        gives_up: float = GIVE_UP,
        pause_seconds: float = 0.02,
    ) -> None:
        self.recorder = Recorder()
        self.services = [f"{name}-svc-{number}" for number in range(services)]
        self._replicas = replicas
        self._rng = rng
        self._name = name
        self._count = count
        self._gives_up = gives_up
        self._pause_seconds = pause_seconds
        self._stop = asyncio.Event()
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Write during the block; at its end every writer brings its last write to an end."""
        self._stop.clear()
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._write(number))
            yield
            self._stop.set()

    async def write(self, writes: int) -> None:
        """Write until so many more writes are acknowledged."""
        enough = len(self.recorder.acknowledged) + writes
        async with self.at_work():
            await until(lambda: len(self.recorder.acknowledged) >= enough, within=600)

    async def _write(self, writer: int) -> None:
        while not self._stop.is_set():
            number = next(self._numbers)
            await self.write_once(f"{self._name}-{writer}-{number}", writer, number)
            await asyncio.sleep(self._rng.uniform(0, 2 * self._pause_seconds))

    async def write_once(self, key: str, writer: int, number: int) -> None:
        """One write, until it is known what became of it."""
        service, body = self._choose(key, writer, number)
        began = time.monotonic()
        while True:
            answer = await self._ask(key, body, f"/api/v1/config/{service}")
            if answer is not None and answer.status_code == 200:
                self.recorder.acknowledged.append(_acknowledged(key, answer, began))
                return
            if answer is not None and answer.status_code != 503:
                code = str(orjson.loads(answer.content).get("code"))
                self.recorder.refused[code] += 1
                self.recorder.unexpected.append(f"{key}: {answer.status_code} {answer.text[:300]}")
                return
            if self._rng.random() < self._gives_up and not self._stop.is_set():
                self.recorder.given_up.append(key)
                return
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * RETRY_SECONDS)

    def _choose(self, key: str, writer: int, number: int) -> tuple[str, dict[str, Any]]:
        service = self._rng.choice(self.services)
        kind = self._rng.random()
        if kind < 0.05:
            service = "_global"
        environment = "staging" if kind > 0.85 else "default"
        config = {f"writer-{writer}": {"number": number, "text": "x" * self._rng.randrange(200)}}
        return service, {"config": config, "mode": "merge", "environment": environment, "reason": key}

    async def _ask(self, key: str, body: dict[str, Any], path: str) -> httpx2.Response | None:
        try:
            answer = await self._rng.choice(self._replicas).post(path, json=body, headers={"Idempotency-Key": key})
        except httpx2.HTTPError:
            self.recorder.unknown += 1
            return None
        if answer.status_code == 503:
            self.recorder.refused[str(orjson.loads(answer.content).get("code"))] += 1
            self.recorder.unknown += "unknown" in answer.text
        return answer


def _acknowledged(key: str, answer: httpx2.Response, began: float) -> Acknowledged:
    told = orjson.loads(answer.content)
    now = time.monotonic()
    return Acknowledged(
        key=key,
        service=told["service"],
        environment=told["environment"],
        revision=told["revision"],
        epoch=told["epoch"],
        hash_prefix=answer.headers["etag"].strip('"').rpartition(".")[2],
        status=told["status"],
        announced=told["announced"],
        at=now,
        seconds=now - began,
    )
