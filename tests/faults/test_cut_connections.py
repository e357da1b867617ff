"""G2: a connection is cut after any byte of a write's exchange, and the write asked for again: there is one event."""

import asyncio
import itertools
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
import pytest
from pydantic import SecretStr

from central_hub.audit.chain import Record
from central_hub_client.wire import Position
from tests.conftest import DatabaseUrls, RunningHub
from tests.faults import audit_log, checks
from tests.faults.audit_log import content_of
from tests.faults.cutting_wire import Cut, Direction, Proxy, proxy_to
from tests.faults.harness import over_tcp, unix_socket
from tests.faults.report import report

START = Callable[..., Awaitable[RunningHub]]
ANSWER_SECONDS = 20
SERVICE = "cut"

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    """A whole response as it came."""

    status: int
    head: bytes
    body: bytes

    @property
    def position(self) -> Position:
        """Of the commit that the write made."""
        told = orjson.loads(self.body)
        return Position(told["epoch"], told["revision"])

    @property
    def length(self) -> int:
        return len(self.head) + len(self.body)


class Caller:
    """Makes one connection for every write."""

    def __init__(self, hub: RunningHub) -> None:
        self._address = urlsplit(hub.url)
        self._token = hub.token

    def request(self, key: str) -> tuple[bytes, bytes]:
        """Head and body of a write. Every key gives the same lengths, so that a cut is at the same place in all."""
        body = orjson.dumps({"config": {"key": key}, "mode": "merge", "reason": key})
        head = (
            f"POST /api/v1/config/{SERVICE} HTTP/1.1\r\nHost: {self._address.netloc}\r\n"
            f"Authorization: Bearer {self._token}\r\nIdempotency-Key: {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode(), body

    async def write(self, key: str) -> Answer:
        """Write, and take the whole answer."""
        reader, writer = await self._connect()
        writer.write(b"".join(self.request(key)))
        async with asyncio.timeout(ANSWER_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)", head)
            assert length is not None, head
            body = await reader.readexactly(int(length[1]))
        writer.transport.abort()
        return Answer(int(head.split()[1]), head, body)

    async def write_and_be_cut_off(self, key: str, cut: Cut) -> None:
        """Send and read up to the cut, and no more."""
        reader, writer = await self._connect()
        request = b"".join(self.request(key))
        if cut.direction is Direction.UP:
            writer.write(request[: cut.after])
        else:
            writer.write(request)
            async with asyncio.timeout(ANSWER_SECONDS):
                await reader.readexactly(cut.after)
        await writer.drain()
        if cut.resets:
            writer.transport.abort()
        else:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._address.hostname, self._address.port)


def new_key() -> str:
    return f"cut-{next(_numbers):06}"


def places(direction: Direction, head: int, whole: int, rng: random.Random, samples: int | None) -> list[Cut]:
    """Everywhere; or at the ends, around the end of the head, and at a sample of other places."""
    everywhere = range(whole + 1)
    if samples is None:
        chosen = list(everywhere)
    else:
        boundaries = {0, 1, head - 1, head, head + 1, whole - 1, whole}
        chosen = sorted(boundaries | set(rng.sample(everywhere, samples - len(boundaries))))
    return [Cut(direction, after, resets=rng.random() < 0.5) for after in chosen]


async def cut_and_ask_again(hub: RunningHub, rng: random.Random, seed: int, *, samples: int | None) -> None:
    """Every write is cut off once and then asked for until it is answered, at once or after a while."""
    caller = Caller(hub)
    await caller.write(new_key())
    key = new_key()
    head, body = caller.request(key)
    answer = await caller.write(key)
    cuts = [
        *places(Direction.UP, len(head), len(head) + len(body), rng, samples),
        *places(Direction.DOWN, len(answer.head), answer.length, rng, samples),
    ]
    asked_again: dict[str, Answer] = {}
    made_by_the_first = 0
    for cut in cuts:
        key = new_key()
        await caller.write_and_be_cut_off(key, cut)
        # Now before the hub is done with the first, now after.
        await asyncio.sleep(rng.choice([0, 0, 0.005, 0.02]))
        before = hub.service.tail.snapshot.position
        again = await caller.write(key)
        assert again.status == 200, again.body
        made_by_the_first += again.position <= before
        asked_again[key] = again

    log = await audit_log.fetch(hub.http)
    report(
        "clients cut off",
        cuts=len(cuts),
        of_bytes=len(head) + len(body) + answer.length,
        resets=sum(cut.resets for cut in cuts),
        done_before_asked_again=made_by_the_first,
        seed=seed,
    )
    assert violations(log, asked_again) == []
    assert checks.log_violations(log) == []
    # Some cuts came too early for the write, and some too late to stop it.
    assert 0 < made_by_the_first < len(cuts)


async def until_answered(caller: Caller, key: str) -> Answer:
    """Write until the answer is that it is done."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while (answer := await caller.write(key)).status != 200:
            assert answer.status == 503, answer.body
            await asyncio.sleep(0.02)
    return answer


async def length_of_a_write(proxy: Proxy, caller: Caller) -> dict[Direction, int]:
    """How many bytes a write takes in either direction, on a connection that is there; at least, for others come in."""
    lengths = []
    for _ in range(10):
        before = proxy.passed.copy()
        await until_answered(caller, new_key())
        lengths.append({direction: proxy.passed[direction] - before[direction] for direction in Direction})
    return {direction: min(length[direction] for length in lengths) for direction in Direction}


async def cut_off_the_store(
    start_hub: START, database: DatabaseUrls, rng: random.Random, seed: int, *, samples: int | None
) -> None:
    """The hub is cut off from PostgreSQL once in every write, and the writes asked for until they are done."""
    async with proxy_to(unix_socket(database.running)) as proxy:
        hub = await start_hub(on=database, database_url=SecretStr(over_tcp(database.running, proxy.port)))
        caller = Caller(hub)
        lengths = await length_of_a_write(proxy, caller)
        cuts = [
            Cut(direction, after, resets=rng.random() < 0.5)
            for direction, length in lengths.items()
            for after in (range(length + 1) if samples is None else sorted(rng.sample(range(length + 1), samples)))
        ]
        answers: dict[str, Answer] = {}
        not_done = 0
        for cut in cuts:
            key = new_key()
            proxy.cut_after(cut)
            first = await caller.write(key)
            assert first.status in (200, 503), first.body
            proxy.mend()
            not_done += first.status == 503
            answers[key] = await until_answered(caller, key)
            if first.status == 200:
                assert first.position == answers[key].position
        await hub.stop()

    never_cut_off = await start_hub(on=database)
    log = await audit_log.fetch(never_cut_off.http)
    report(
        "hub cut off from PostgreSQL",
        cuts=proxy.cuts,
        of_bytes=sum(lengths.values()),
        answered_503=not_done,
        seed=seed,
    )
    assert violations(log, answers) == []
    assert checks.log_violations(log) == []
    assert proxy.cuts > 0.8 * len(cuts)
    # The rest was done again by itself, or cut when nothing depended on it any more.
    assert not_done > 0


def violations(log: audit_log.AuditLog, answers: dict[str, Answer]) -> list[str]:
    """Every key has made one event: the one that it was told of, whole."""
    events: dict[str | None, list[Record]] = {}
    for record in log.records:
        events.setdefault(record.entry.reason, []).append(record)
    found = []
    for key, answer in answers.items():
        made = events.get(key, [])
        if len(made) != 1:
            found.append(f"{key} made {len(made)} events")
        elif Position(made[0].entry.epoch, made[0].entry.revision) != answer.position:
            found.append(f"{key} was told of {answer.position}, and made {made[0].entry.revision}")
        elif content_of(made[0]) != {"key": key}:
            found.append(f"{key} stored {made[0].content}")
    return found


@pytest.mark.timeout(90)
async def test_a_client_that_is_cut_off_and_asks_again_makes_one_event(
    hub: RunningHub, rng: random.Random, seed: int
) -> None:
    await cut_and_ask_again(hub, rng, seed, samples=20)


@pytest.mark.timeout(90)
async def test_a_hub_that_is_cut_off_from_its_store_makes_one_event(
    start_hub: START, database: DatabaseUrls, rng: random.Random, seed: int
) -> None:
    await cut_off_the_store(start_hub, database, rng, seed, samples=15)


@pytest.mark.soak
async def test_a_hub_that_is_cut_off_from_its_store_at_every_byte_makes_one_event(
    start_hub: START, database: DatabaseUrls, rng: random.Random, seed: int
) -> None:
    await cut_off_the_store(start_hub, database, rng, seed, samples=None)


@pytest.mark.soak
async def test_a_client_that_is_cut_off_at_every_byte_makes_one_event(
    hub: RunningHub, rng: random.Random, seed: int
) -> None:
    await cut_and_ask_again(hub, rng, seed, samples=None)
