"""G2: the connection is cut at any byte of a write, and the write is asked for again: there is exactly one event."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from itertools import count

import httpx2
import pytest
from pydantic import SecretStr

from tests.conftest import DatabaseUrls, RunningHub
from tests.faults import audit_log, checks
from tests.faults.harness import over_tcp, unix_socket
from tests.faults.proxy import Direction, Proxy, proxy_to
from tests.faults.report import report

START = Callable[..., Awaitable[RunningHub]]

_numbers = count()


def client(hub: RunningHub, port: int | None = None) -> httpx2.AsyncClient:
    """A client that makes a connection for every request, to the hub or to a proxy in front of it."""
    url = hub.url if port is None else f"http://127.0.0.1:{port}"
    headers = {"Authorization": f"Bearer {hub.token}"}
    return httpx2.AsyncClient(
        base_url=url, headers=headers, timeout=20, limits=httpx2.Limits(max_keepalive_connections=0)
    )


async def write(http: httpx2.AsyncClient, key: str) -> httpx2.Response | None:
    """A write; None where no whole answer came."""
    body = {"config": {"number": key, "text": "x" * 40}, "reason": key}
    try:
        return await http.post("/api/v1/config/cut", json=body, headers={"Idempotency-Key": key})
    except httpx2.HTTPError:
        return None


async def write_until_known(http: httpx2.AsyncClient, key: str) -> httpx2.Response:
    """The same write, until it is answered."""
    async with asyncio.timeout(30):
        while True:
            answer = await write(http, key)
            if answer is not None and answer.status_code != 503:
                assert answer.status_code == 200, answer.text
                return answer
            await asyncio.sleep(0.05)


async def length_of(proxy: Proxy, attempt: Callable[[], Awaitable[object]]) -> dict[Direction, int]:
    """How many bytes an attempt takes in either direction."""
    before = proxy.passed.copy()
    await attempt()
    return {direction: proxy.passed[direction] - before[direction] for direction in Direction}


def cuts(lengths: dict[Direction, int], rng: random.Random, samples: int | None) -> list[tuple[Direction, int, bool]]:
    """Where to cut, and how: everywhere, or at a sample of places."""
    places = [(direction, place) for direction, length in lengths.items() for place in range(length + 1)]
    chosen: Iterable[tuple[Direction, int]] = places if samples is None else rng.sample(places, samples)
    return [(direction, place, rng.random() < 0.3) for direction, place in chosen]


async def cut_and_retry(
    proxy: Proxy, through: httpx2.AsyncClient, http: httpx2.AsyncClient, where: list[tuple[Direction, int, bool]]
) -> tuple[set[str], int]:
    """One write for every cut, then the same again without a cut. Returns the keys, and how many outcomes were lost."""
    keys, lost = set(), 0
    for direction, place, resets in where:
        key = f"cut-{next(_numbers)}-{direction}-{place}"
        keys.add(key)
        proxy.cut_after(direction, place, resets=resets)
        first = await write(through, key)
        proxy.mend()
        assert first is None or first.status_code in (200, 503), first.text
        lost += first is None or first.status_code == 503
        again = await write_until_known(http, key)
        if first is not None and first.status_code == 200:
            assert (first.json()["revision"], first.headers["etag"]) == (
                again.json()["revision"],
                again.headers["etag"],
            )
    return keys, lost


async def assert_one_event_each(hub: RunningHub, keys: set[str]) -> None:
    log = await audit_log.fetch(hub.http)
    assert checks.log_violations(log) == []
    reasons = [record.entry.reason for record in log.records]
    assert keys <= set(reasons)
    assert len(reasons) == len(set(reasons))


async def cut_between_client_and_hub(hub: RunningHub, rng: random.Random, seed: int, samples: int | None) -> None:
    async with (
        proxy_to(hub.url.removeprefix("http://")) as proxy,
        client(hub, proxy.port) as through,
        client(hub) as http,
    ):
        lengths = await length_of(proxy, lambda: write(through, f"whole-{next(_numbers)}"))
        where = cuts(lengths, rng, samples)
        keys, lost = await cut_and_retry(proxy, through, http, where)
    await assert_one_event_each(hub, keys)
    report(
        "cuts between client and hub",
        cuts=len(where),
        of_bytes=sum(lengths.values()),
        acknowledged=len(keys),
        unknown_outcomes=lost,
        seed=seed,
    )
    assert lost > 0.9 * len(where)


async def cut_between_hub_and_postgres(
    start_hub: START, database: DatabaseUrls, rng: random.Random, seed: int, samples: int | None
) -> None:
    # The hub is left before the proxy: its pool would be cut once more.
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxy_to(unix_socket(database.running)))
        hub = await start_hub(on=database, database_url=SecretStr(over_tcp(database.running, proxy.port)))
        http = await stack.enter_async_context(client(hub))

        async def write_whole() -> None:
            await write(http, f"whole-{next(_numbers)}")

        async def write_on_a_new_connection() -> None:
            proxy.cut_now()
            await write_whole()

        pooled = min(
            [await length_of(proxy, write_whole) for _ in range(20)], key=lambda lengths: sum(lengths.values())
        )
        fresh = await length_of(proxy, write_on_a_new_connection)
        where = cuts(pooled, rng, samples)
        keys, lost = await cut_and_retry(proxy, http, http, where)
        # Logging in and preparing statements takes most of the bytes: a sample of them is enough.
        for cut in cuts(fresh, rng, len(where) // 5):
            proxy.cut_now()
            more_keys, more_lost = await cut_and_retry(proxy, http, http, [cut])
            where, keys, lost = [*where, cut], keys | more_keys, lost + more_lost
        await assert_one_event_each(hub, keys)
        await hub.stop()
    report(
        "cuts between hub and PostgreSQL",
        cuts=len(where),
        of_bytes=sum(pooled.values()),
        of_bytes_with_login=sum(fresh.values()),
        acknowledged=len(keys),
        unknown_outcomes=lost,
        seed=seed,
    )
    assert lost > 0.1 * len(where)


@pytest.mark.timeout(90)
async def test_a_client_that_is_cut_off_anywhere_makes_one_event(
    hub: RunningHub, rng: random.Random, seed: int
) -> None:
    await cut_between_client_and_hub(hub, rng, seed, samples=300)


@pytest.mark.timeout(90)
async def test_a_hub_that_is_cut_off_from_its_store_anywhere_makes_one_event(
    start_hub: START, database: DatabaseUrls, rng: random.Random, seed: int
) -> None:
    await cut_between_hub_and_postgres(start_hub, database, rng, seed, samples=100)


@pytest.mark.soak
async def test_a_client_that_is_cut_off_at_every_byte_makes_one_event(
    hub: RunningHub, rng: random.Random, seed: int
) -> None:
    await cut_between_client_and_hub(hub, rng, seed, samples=None)


@pytest.mark.soak
async def test_a_hub_that_is_cut_off_from_its_store_at_every_byte_makes_one_event(
    start_hub: START, database: DatabaseUrls, rng: random.Random, seed: int
) -> None:
    await cut_between_hub_and_postgres(start_hub, database, rng, seed, samples=None)
