"""G6: whoever follows is told everything in order and once, however often he is cut off and wherever he goes on."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx2
import orjson
import pytest

from central_hub.api import watch
from central_hub.embedded import Endpoints
from central_hub_client.wire import Position
from tests.conftest import DatabaseUrls, RunningHub, create_database
from tests.faults import audit_log, checks
from tests.faults.report import report
from tests.faults.watchers import Watcher, events, following, opened
from tests.faults.writers import Writers
from tests.wire.waiting import until

START = Callable[..., Awaitable[RunningHub]]


@dataclass
class LongPoller:
    """Asks for what is newer than the last it was given, on any replica, and gives up waiting now and then."""

    replicas: Sequence[httpx2.AsyncClient]
    rng: random.Random
    service: str
    seen: list[dict[str, Any]] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    hung_up: int = 0

    async def follow(self) -> None:
        """Ask until cancelled."""
        while True:
            last = Position(self.seen[-1]["epoch"], self.seen[-1]["revision"]) if self.seen else Position(1, 0)
            try:
                async with asyncio.timeout(self.rng.uniform(0, 0.5)):
                    answer = await self.rng.choice(self.replicas).get(
                        f"/api/v1/config/{self.service}", params={"after": str(last), "wait": 10}
                    )
            except TimeoutError:
                self.hung_up += 1
                continue
            if answer.status_code == 200:
                self.seen.append(orjson.loads(answer.content))
            elif answer.status_code == 404:
                await asyncio.sleep(0.01)
            else:
                self.unexpected.append(f"{answer.status_code} {answer.text}")

    def has(self, revision: int | None) -> bool:
        return bool(self.seen) and self.seen[-1]["revision"] == revision

    def violations(self, history: checks.History) -> list[str]:
        """Every answer is newer than the one before it, and what the log says of its revision."""
        found = list(self.unexpected)
        revisions = [told["revision"] for told in self.seen]
        if revisions != sorted(set(revisions)):
            found.append(f"{self.service} was answered twice or out of order: {revisions}")
        found += [
            f"{self.service} was not so at {told['revision']}"
            for told in self.seen
            if told["config"] != history.effective(self.service, "default", told["revision"])
        ]
        return found


async def delete_now_and_then(replicas: Sequence[httpx2.AsyncClient], rng: random.Random, services: list[str]) -> None:
    """End documents, which the writers begin again, until cancelled."""
    while True:
        path, http = f"/api/v1/config/{rng.choice(services)}", rng.choice(replicas)
        own = await http.get(path, params={"own": "true"})
        if own.status_code == 200:
            await http.delete(path, headers={"If-Match": own.headers["etag"]})
        await asyncio.sleep(rng.uniform(0, 0.1))


@dataclass(frozen=True)
class Observed:
    """What watchers and pollers saw while they were cut off again and again; and the log in the end."""

    log: audit_log.AuditLog
    watchers: list[Watcher]
    pollers: list[LongPoller]

    def violations(self) -> list[str]:
        found = [
            violation
            for watcher in self.watchers
            for violation in checks.watch_violations(self.log, watcher.recording)
            + [f"a stream was refused: {refusal}" for refusal in watcher.recording.refusals]
        ]
        history = checks.History(self.log)
        return found + [violation for poller in self.pollers for violation in poller.violations(history)]


async def observe(replicas: Sequence[RunningHub], rng: random.Random, *, writes: int, name: str) -> Observed:
    clients = [replica.http for replica in replicas]
    writers = Writers(clients, rng, name=name, count=6, services=4)
    services = writers.services
    watched = [(services, "default"), (services, "staging"), (services[:1], "default"), (services[2:], "production")]
    watchers = [
        Watcher(clients, rng, some, environment=environment, reconnect_after=0.15) for some, environment in watched
    ]
    pollers = [LongPoller(clients, rng, service) for service in services[:2]]
    async with following(*watchers, *pollers):
        deleting = asyncio.create_task(delete_now_and_then(clients, rng, services))
        await writers.write(writes)
        deleting.cancel()
        await asyncio.wait({deleting})
        for service in services:
            await clients[0].post(f"/api/v1/config/{service}", json={"config": {"last": True}, "mode": "merge"})
        log = await audit_log.fetch(clients[0])
        history = checks.History(log)
        for watcher in watchers:
            await watcher.reaches(log.head, within=30)
        for poller in pollers:
            last = history.last_change(poller.service, "default", log.head.revision)
            await until(lambda poller=poller, last=last: poller.has(last), within=30)  # type: ignore[misc]
    return Observed(log, watchers, pollers)


async def cut_off_again_and_again(
    start_hub: START, database: DatabaseUrls, rng: random.Random, seed: int, *, writes: int
) -> None:
    replicas = [await start_hub(on=database) for _ in range(2)]
    observed = await observe(replicas, rng, writes=writes, name="cut")
    report(
        "watchers cut off at random, two replicas",
        connections=sum(watcher.recording.connections for watcher in observed.watchers),
        long_polls_given_up=sum(poller.hung_up for poller in observed.pollers),
        events=sum(len(watcher.recording.events) for watcher in observed.watchers),
        polled=sum(len(poller.seen) for poller in observed.pollers),
        commits=observed.log.head.revision,
        seed=seed,
    )
    assert all(watcher.recording.connections > 5 for watcher in observed.watchers)
    assert observed.violations() == []


@pytest.mark.timeout(90)
async def test_watchers_that_are_cut_off_miss_nothing_and_are_told_nothing_twice(
    start_hub: START, database: DatabaseUrls, rng: random.Random, seed: int
) -> None:
    await cut_off_again_and_again(start_hub, database, rng, seed, writes=200)


@pytest.mark.soak
async def test_watchers_that_are_cut_off_for_long_miss_nothing(
    start_hub: START, database: DatabaseUrls, rng: random.Random, seed: int
) -> None:
    await cut_off_again_and_again(start_hub, database, rng, seed, writes=20_000)


@pytest.mark.timeout(90)
async def test_a_stream_that_resumes_at_the_present_is_found(
    start_hub: START, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await start_hub()
    begin = watch.WatchStream.__init__

    def begin_at_the_present(
        stream: watch.WatchStream, hub: Any, grant: Any, services: Any, place: str, after: Any
    ) -> None:
        begin(stream, hub, grant, services, place, None if after is None else hub.tail.snapshot.position)

    monkeypatch.setattr(watch.WatchStream, "__init__", begin_at_the_present)
    observed = await observe([replica], rng, writes=60, name="present")
    assert any("the watcher was sent" in violation for violation in observed.violations())


async def test_a_replica_that_is_behind_resumes_when_it_has_caught_up_and_repeats_nothing(
    start_hub: START, database: DatabaseUrls, service_name: str
) -> None:
    ahead, behind = [await start_hub(on=database) for _ in range(2)]
    await ahead.http.post(f"/api/v1/config/{service_name}", json={"config": {"n": 1}})
    async with behind.service.tail._applying:
        told = (await ahead.http.post(f"/api/v1/config/{service_name}", json={"config": {"n": 2}})).json()
        refused = await behind.http.get(
            "/api/v1/config/watch", params={"service": service_name}, headers={"Last-Event-ID": f"1.{told['revision']}"}
        )
        assert (refused.status_code, refused.json()["code"]) == (503, "replica_behind")
        assert int(refused.headers["retry-after"]) > 0
    async with opened(behind.http, {"service": service_name, "after": f"1.{told['revision']}"}, {}) as answer:
        stream = events(answer)
        first = await anext(stream)
        assert (first.kind, first.position) == ("bookmark", Position(1, told["revision"]))
        later = (await ahead.http.post(f"/api/v1/config/{service_name}", json={"config": {"n": 3}})).json()
        second = await anext(stream)
        while second.kind == "bookmark":
            second = await anext(stream)
        assert second.id == Position(1, later["revision"])
        assert second.data["previous_revision"] == told["revision"]


async def go_back_to(database: DatabaseUrls, revision: int) -> None:
    """What a restore leaves: the history ends at `revision`, and a new epoch begins. What came later made new
    documents only."""
    owner = await asyncpg.connect(database.owner)
    async with owner.transaction():
        head = await owner.fetchval(
            "SELECT entry_hash FROM config_audit_log WHERE revision = $1 ORDER BY ordinal DESC LIMIT 1", revision
        )
        await owner.execute("DELETE FROM service_configs WHERE revision > $1", revision)
        await owner.execute("DELETE FROM config_contents WHERE revision > $1", revision)
        await owner.execute("DELETE FROM config_audit_log WHERE revision > $1", revision)
        await owner.execute("UPDATE hub_state SET epoch = epoch + 1, revision = $1, audit_head = $2", revision, head)
    await owner.close()


async def test_a_lost_history_ends_the_stream_and_its_resumption_is_a_410(
    servers: Endpoints, start_hub: START, service_name: str
) -> None:
    database = await create_database(servers)
    hub = await start_hub(on=database)
    kept, lost = f"{service_name}-kept", f"{service_name}-lost"
    until_here = (await hub.http.post(f"/api/v1/config/{kept}", json={"config": {"n": 1}})).json()["revision"]
    params = {"service": [kept, lost]}
    async with asyncio.timeout(30), opened(hub.http, params, {}) as answer:
        stream = events(answer)
        assert (await anext(stream)).data["service"] == kept
        await hub.http.post(f"/api/v1/config/{lost}", json={"config": {"n": 1}})
        told = await anext(stream)
        while told.kind == "bookmark":
            told = await anext(stream)
        assert told.data["service"] == lost
        await go_back_to(database, until_here)
        async for event in stream:
            assert event.position.epoch == 1
    for place, headers in (({}, {"Last-Event-ID": str(told.id)}), ({"after": str(told.id)}, {})):
        refused = await hub.http.get("/api/v1/config/watch", params={**params, **place}, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (410, "epoch_changed")
