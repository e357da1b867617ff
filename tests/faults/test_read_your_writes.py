"""G7: whoever names the revision that he knows is never answered with older data, whichever replica he asks."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson
import pytest

from central_hub_client.wire import HUB_MIN_REVISION, HUB_REVISION, Position
from tests.conftest import DatabaseUrls, RunningHub
from tests.faults import audit_log
from tests.faults.checks import History
from tests.faults.harness import Fleet, Hub
from tests.faults.report import report

START = Callable[..., Awaitable[RunningHub]]

WAIT_SECONDS = 2.0
"""How long a replica waits to catch up before it says that it is behind."""
ROOM_SECONDS = 8.0
"""What a busy machine may add to that."""


@dataclass(frozen=True)
class Read:
    """A read with X-Hub-Min-Revision, and what came of it."""

    service: str
    environment: str
    own: bool
    minimum: Position
    status: int
    headers: httpx2.Headers
    told: dict[str, Any] | None
    began: float
    ended: float
    replica: str

    @property
    def revision(self) -> int:
        """Of the config that was answered, or said to be unchanged."""
        return int(self.headers["etag"].split(".")[1])


@dataclass
class Freezes:
    """When which replica was stopped."""

    times: list[tuple[str, float, float]] = field(default_factory=list)

    def touch(self, read: Read) -> bool:
        return any(
            name == read.replica and since < read.ended and until > read.began for name, since, until in self.times
        )


def read_violations(log: audit_log.AuditLog, reads: Sequence[Read], freezes: Freezes) -> list[str]:
    """No answer is older than what was asked for, nor than what it says it is; a refusal comes soon, and says when."""
    history = History(log)
    found = []
    for read in reads:
        name = f"{read.service}@{read.environment} from {read.replica} at least {read.minimum}"
        if read.status == 503:
            if read.told is None or read.told["code"] != "replica_behind" or int(read.headers["retry-after"]) < 1:
                found.append(f"{name}: refused as {read.told}")
            if read.ended - read.began > WAIT_SECONDS + ROOM_SECONDS and not freezes.touch(read):
                found.append(f"{name}: refused after {read.ended - read.began:.1f} s")
            continue
        if read.status not in (200, 304):
            found.append(f"{name}: {read.status} {read.told}")
            continue
        applied = Position.parse(read.headers[HUB_REVISION], current_epoch=0)
        if applied < read.minimum:
            found.append(f"{name}: the replica was at {applied}")
        changed = history.last_own_change if read.own else history.last_change
        needed = changed(read.service, read.environment, applied.revision)
        if needed is None or read.revision < needed:
            found.append(f"{name}: revision {read.revision} from a replica at {applied}, which had {needed}")
        content = history.document if read.own else history.effective
        if read.told is not None and read.told["config"] != content(read.service, read.environment, read.revision):
            found.append(f"{name}: not the config of revision {read.revision}")
    return found


class Sessions:
    """Callers who write on one replica and read on another, and tell each other how far they have got."""

    def __init__(self, hubs: Sequence[Hub], rng: random.Random) -> None:
        self.reads: list[Read] = []
        self.acknowledged = 0
        self.unknown = 0
        self._hubs = hubs
        self._rng = rng
        self._known = Position(1, 0)
        self._etags: dict[tuple[str, str, bool], str] = {}
        self._services = [f"mine-{number}" for number in range(4)]

    async def prepare(self) -> None:
        """Let every document be there."""
        for service in self._services:
            for environment in ("default", "staging"):
                body = {"service": service, "environment": environment, "config": {"n": 0}}
                answer = await self._hubs[0].http.post("/api/v1/config/update", json=body)
                self._known = Position.parse(answer.headers[HUB_REVISION], current_epoch=0)

    async def run(self, operations: int, *, at_once: int = 24) -> None:
        """So many reads and writes, some at the same time."""
        numbers = iter(range(operations))

        async def one_after_another() -> None:
            for number in numbers:
                if self._rng.random() < 0.3:
                    await self._write(number)
                else:
                    await self._read()

        await asyncio.gather(*(one_after_another() for _ in range(at_once)))

    async def _write(self, number: int) -> None:
        service = "_global" if self._rng.random() < 0.1 else self._rng.choice(self._services)
        body = {
            "service": service,
            "environment": self._rng.choice(["default", "staging"]),
            "config": {"n": number},
            "mode": "merge",
        }
        try:
            answer = await self._rng.choice(self._hubs).http.post("/api/v1/config/update", json=body)
        except httpx2.HTTPError:
            self.unknown += 1
            return
        assert answer.status_code == 200, answer.text
        self.acknowledged += 1
        self._known = max(self._known, Position.parse(answer.headers[HUB_REVISION], current_epoch=0))

    async def _read(self) -> None:
        hub, service = self._rng.choice(self._hubs), self._rng.choice(self._services)
        environment, own = self._rng.choice(["default", "staging"]), self._rng.random() < 0.3
        options = self._rng.choice([{}, {}, {"explain": "true"}, {"after": "0", "wait": "1"}])
        headers = {HUB_MIN_REVISION: str(self._known)}
        if not options and (tag := self._etags.get((service, environment, own))) and self._rng.random() < 0.7:
            headers["If-None-Match"] = tag
        minimum, began = self._known, time.monotonic()
        params = {"environment": environment, "own": str(own).lower(), **options}
        try:
            answer = await hub.http.get(f"/api/v1/config/{service}", params=params, headers=headers)
        except httpx2.HTTPError:
            self.unknown += 1
            return
        told = orjson.loads(answer.content) if answer.content else None
        ended = time.monotonic()
        self.reads.append(
            Read(service, environment, own, minimum, answer.status_code, answer.headers, told, began, ended, hub.name)
        )
        if answer.status_code == 200:
            self._etags[service, environment, own] = answer.headers["etag"]


async def freeze_at_random(hubs: Sequence[Hub], rng: random.Random, freezes: Freezes) -> None:
    """Stop one replica after another for a while, until cancelled."""
    while True:
        hub = rng.choice(hubs)
        since = time.monotonic()
        hub.freeze()
        try:
            await asyncio.sleep(rng.uniform(0.05, 0.5))
        finally:
            hub.thaw()
            freezes.times.append((hub.name, since, time.monotonic()))
        await asyncio.sleep(rng.uniform(0.1, 0.5))


async def read_what_was_written(fleet: Fleet, rng: random.Random, seed: int, *, operations: int) -> None:
    late = fleet.hubs[1]
    await late.kill()
    await late.start("lag_behind")
    sessions, freezes = Sessions(fleet.hubs, rng), Freezes()
    await sessions.prepare()
    freezing = asyncio.create_task(freeze_at_random(fleet.hubs, rng, freezes))
    try:
        await sessions.run(operations)
    finally:
        freezing.cancel()
        await asyncio.wait({freezing})
    log = await audit_log.fetch(fleet.hubs[0].http)
    report(
        "read your writes, one replica late, both paused at random",
        pauses=len(freezes.times),
        reads=len(sessions.reads),
        unchanged=sum(read.status == 304 for read in sessions.reads),
        refused_as_behind=sum(read.status == 503 for read in sessions.reads),
        acknowledged=sessions.acknowledged,
        unknown_outcomes=sessions.unknown,
        longest_read=max(read.ended - read.began for read in sessions.reads),
        seed=seed,
    )
    assert sum(read.status in (200, 304) for read in sessions.reads) > operations / 4
    assert read_violations(log, sessions.reads, freezes) == []


@pytest.mark.timeout(150)
async def test_no_read_is_older_than_what_the_reader_knows(fleet: Fleet, rng: random.Random, seed: int) -> None:
    await read_what_was_written(fleet, rng, seed, operations=300)


@pytest.mark.soak
async def test_no_read_of_a_hundred_thousand_is_older_than_what_the_reader_knows(
    fleet: Fleet, rng: random.Random, seed: int
) -> None:
    await read_what_was_written(fleet, rng, seed, operations=100_000)


READS = [
    "/api/v1/config/{0}",
    "/api/config/{0}",
    "/api/v1/config/{0}?own=true",
    "/api/v1/config/{0}?explain=true",
    "/api/v1/config/{0}?at=2100-01-01T00:00:00Z",
    "/api/v1/config/{0}?after=0&wait=30",
    "/api/v1/config/history/{0}",
    "/api/v1/config/diff/{0}",
]


async def test_a_replica_that_is_held_back_refuses_every_read_and_answers_when_it_is_let_go(
    start_hub: START, database: DatabaseUrls, service_name: str
) -> None:
    ahead, behind = [await start_hub(on=database) for _ in range(2)]
    await ahead.http.post(f"/api/v1/config/{service_name}", json={"config": {"n": 1}})

    async def ask(path: str) -> httpx2.Response:
        return await behind.http.get(path.format(service_name), headers={HUB_MIN_REVISION: str(written)})

    async with behind.service.tail._applying:
        answer = await ahead.http.post(f"/api/v1/config/{service_name}", json={"config": {"n": 2}})
        written = Position.parse(answer.headers[HUB_REVISION], current_epoch=0)
        began = time.monotonic()
        for refused in await asyncio.gather(*map(ask, READS)):
            assert (refused.status_code, refused.json()["code"]) == (503, "replica_behind"), refused.url
            assert int(refused.headers["retry-after"]) >= 1
        assert WAIT_SECONDS <= time.monotonic() - began < WAIT_SECONDS + ROOM_SECONDS
        waiting = asyncio.gather(*map(ask, READS))
        await asyncio.sleep(0.1)
        assert not waiting.done()
    for answered in await waiting:
        assert answered.status_code == 200, answered.text
        assert Position.parse(answered.headers[HUB_REVISION], current_epoch=0) >= written
        assert f'"revision":{written.revision}' in answered.text or f'"to":{written.revision}' in answered.text


async def test_an_answer_is_never_older_than_the_revision_it_carries(hub: RunningHub, service_name: str) -> None:
    large = {f"key-{number}": {"value": number} for number in range(12_000)}
    assert (await hub.http.post(f"/api/v1/config/{service_name}", json={"config": large})).status_code == 200
    for number in range(5):
        params = {"explain": "true"}
        explaining = asyncio.create_task(hub.http.get(f"/api/v1/config/{service_name}", params=params))
        await asyncio.sleep(0.01)
        # Every service has this layer under it.
        body = {"service": "_global", "config": {"number": number}, "mode": "merge"}
        written = (await hub.http.post("/api/v1/config/update", json=body)).json()["revision"]
        answer = await explaining
        applied = Position.parse(answer.headers[HUB_REVISION], current_epoch=0)
        assert answer.json()["revision"] >= written or applied.revision < written
