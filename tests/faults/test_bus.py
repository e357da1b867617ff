"""G5: whatever the bus does, replicas and watchers have the truth soon, and the stream has it again."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from urllib.parse import urlsplit

import nats
import orjson
import pytest
from nats.aio.msg import Msg
from pydantic import SecretStr

from central_hub.embedded import Endpoints
from central_hub_client.wire import STREAM, UPDATE_SUBJECTS, content_hash, update_subject
from tests.conftest import DatabaseUrls, RunningHub
from tests.faults import audit_log, checks
from tests.faults.liar import LIE, a_liar, until_true
from tests.faults.mangler import Mangler
from tests.faults.proxy import proxy_to
from tests.faults.reading import read_all
from tests.faults.report import report
from tests.faults.watchers import Watcher, following
from tests.faults.writers import Writers

START = Callable[..., Awaitable[RunningHub]]


def through(url: str, port: int) -> str:
    """The same NATS through a proxy."""
    return f"nats://{urlsplit(url).netloc.rpartition('@')[0]}@127.0.0.1:{port}"


async def quarrel(
    servers: Endpoints, near: RunningHub, far: RunningHub, rng: random.Random, *, writes: int, name: str
) -> tuple[list[str], Writers, list[float], int]:
    """Sixteen writers on one replica, a watcher on the other, a liar between. What is wrong in the end, and figures."""
    writers = Writers([near.http], rng, name=name)
    watcher = Watcher([far.http], rng, writers.services)
    async with a_liar(servers.nats_url, rng) as liar, following(watcher):
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(writers.write(writes))
            while not writing.done():
                await liar.lie((service, "default") for service in writers.services)
                await asyncio.sleep(0.02)
        log = await audit_log.fetch(near.http)
        configs = checks.History(log).services
        await watcher.reaches(log.head)
        answers = {hub.url: await read_all(hub.http, configs, log.head) for hub in (near, far)}
    violations = (
        checks.log_violations(log)
        + checks.write_violations(log, writers.recorder)
        + checks.watch_violations(log, watcher.recording)
        + checks.agreement_violations(log, answers)
    )
    return violations, writers, checks.lags(writers.recorder.acknowledged, watcher.recording), liar.told


@pytest.mark.timeout(90)
async def test_lies_and_losses_on_the_bus_cost_latency_and_nothing_else(
    servers: Endpoints, database: DatabaseUrls, start_hub: START, rng: random.Random, seed: int
) -> None:
    counts: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(
            proxy_to(urlsplit(servers.nats_url).netloc.rpartition("@")[2], lambda: Mangler(rng, counts))
        )
        near = await start_hub(on=database)
        far = await start_hub(on=database, nats_url=SecretStr(through(servers.nats_url, proxy.port)))
        violations, writers, lags, lies = await quarrel(servers, near, far, rng, writes=300, name="lies")
        configs = checks.History(await audit_log.fetch(near.http)).services
        healed = await until_true(servers.nats_url, near.http, configs, within=10)
        report(
            "a lossy and lying bus",
            **counts,
            lies=lies,
            acknowledged=len(writers.recorder.acknowledged),
            unknown_outcomes=writers.recorder.unknown,
            worst_lag=max(lags),
            stream_healed_after=healed,
            seed=seed,
        )
        await far.stop()
    assert violations == []
    assert max(lags) < 3.0
    assert len(lags) == len(writers.recorder.acknowledged)


async def test_a_forged_message_that_takes_the_id_of_the_next_revision_does_not_stay(
    servers: Endpoints, hub: RunningHub, service_name: str
) -> None:
    """The server drops a message whose id it has just seen, and acknowledges it all the same."""
    first = (await hub.http.post(f"/api/v1/config/{service_name}", json={"config": {"n": 0}})).json()
    client = await nats.connect(servers.nats_url)
    try:
        for number in range(1, 6):
            revision = first["revision"] + number
            forged = orjson.dumps(first | {"config": LIE, "hash": content_hash(LIE), "revision": revision})
            headers = {"Nats-Msg-Id": f"1.{revision}.{service_name}.default"}
            await client.jetstream().publish(update_subject(service_name, "default"), forged, headers=headers)
            written = await hub.http.post(f"/api/v1/config/{service_name}", json={"config": {"n": number}})
            assert written.json()["revision"] == revision
        await until_true(servers.nats_url, hub.http, [(service_name, "default")], within=5)
    finally:
        await client.close()


async def test_a_stream_that_was_deleted_or_emptied_is_filled_again(
    servers: Endpoints, hub: RunningHub, service_name: str
) -> None:
    config = (service_name, "default")
    await hub.http.post(f"/api/v1/config/{service_name}", json={"config": {"n": 0}})
    await until_true(servers.nats_url, hub.http, [config], within=5)
    client = await nats.connect(servers.nats_url)
    try:
        await client.jetstream().delete_stream(STREAM)
        await hub.http.post(f"/api/v1/config/{service_name}", json={"config": {"n": 1}})
        async with asyncio.timeout(10):
            while True:
                with suppress(nats.js.errors.Error):
                    await client.jetstream().stream_info(STREAM)
                    break
                await asyncio.sleep(0.1)
        await until_true(servers.nats_url, hub.http, [config], within=5)
    finally:
        await client.close()


async def test_a_change_is_announced_once_by_however_many_replicas(
    servers: Endpoints, database: DatabaseUrls, start_hub: START, hub: RunningHub, service_name: str
) -> None:
    await start_hub(on=database)
    heard: list[Msg] = []

    async def listen(message: Msg) -> None:
        heard.append(message)

    client = await nats.connect(servers.nats_url)
    try:
        await client.subscribe(UPDATE_SUBJECTS.replace(">", service_name), cb=listen)
        revisions = []
        for number in range(10):
            written = await hub.http.post(f"/api/v1/config/{service_name}", json={"config": {"n": number}})
            revisions.append(written.json()["revision"])
            await asyncio.sleep(0.05)
        await asyncio.sleep(2.5)
        assert [orjson.loads(message.data)["revision"] for message in heard] == revisions
    finally:
        await client.close()
