"""G8: no lost update. Editors read a counter, add one, and replace it with If-Match, on two replicas in turn."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import cycle, islice

import httpx2
import pytest

from central_hub_client.wire import HUB_MIN_REVISION, HUB_REVISION
from tests.conftest import DatabaseUrls, RunningHub
from tests.faults import audit_log, checks
from tests.faults.audit_log import content_of
from tests.faults.report import report

START = Callable[..., Awaitable[RunningHub]]
EDITORS = 32


async def increment(replicas: list[httpx2.AsyncClient], path: str, rng: random.Random) -> int:
    """Add one, on one replica after another, until it is accepted; returns how often somebody else was faster."""
    for refused, http in enumerate(cycle(replicas)):
        read = await http.get(path, params={"own": "true"})
        assert read.status_code == 200, read.text
        count = read.json()["config"]["count"]
        answer = await http.put(path, json={"count": count + 1}, headers={"If-Match": read.headers["etag"]})
        if answer.status_code == 200:
            return refused
        assert (answer.status_code, answer.json()["code"]) == (412, "revision_conflict"), answer.text
        # Who asks again at once, with thirty others who do, is mostly refused again.
        await asyncio.sleep(rng.uniform(0, min(0.3 * 2**refused, 2)))
    raise AssertionError("unreachable")


async def increment_together(
    start_hub: START, database: DatabaseUrls, service: str, rng: random.Random, seed: int, *, each: int
) -> None:
    """Every editor adds one `each` times; the counter must come to the product, by steps of one."""
    replicas = [(await start_hub(on=database)).http for _ in range(2)]
    path = f"/api/v1/config/{service}"
    created = await replicas[0].put(path, json={"count": 0})
    for http in replicas:
        there = await http.get(path, headers={HUB_MIN_REVISION: created.headers[HUB_REVISION]})
        assert there.json()["config"] == {"count": 0}
    refused: Counter[int] = Counter()

    async def edit(editor: int) -> None:
        in_turn = list(islice(cycle(replicas), editor % 2, editor % 2 + len(replicas)))
        for _ in range(each):
            refused[editor] += await increment(in_turn, path, rng)

    await asyncio.gather(*(edit(editor) for editor in range(EDITORS)))

    log = await audit_log.fetch(replicas[0])
    counts = [content_of(record) for record in log.records if record.entry.service == service]
    report(
        f"{EDITORS} editors of one counter",
        faults=0,
        increments=EDITORS * each,
        refused_and_repeated=refused.total(),
        seed=seed,
    )
    assert refused.total() > 0, "nobody was in anybody's way: this has shown nothing"
    assert counts == [{"count": count} for count in range(EDITORS * each + 1)]
    assert checks.log_violations(log) == []


async def test_editors_of_one_counter_lose_no_increment(
    start_hub: START, database: DatabaseUrls, service_name: str, rng: random.Random, seed: int
) -> None:
    await increment_together(start_hub, database, service_name, rng, seed, each=3)


@pytest.mark.soak
async def test_editors_of_one_counter_lose_none_of_many_increments(
    start_hub: START, database: DatabaseUrls, service_name: str, rng: random.Random, seed: int
) -> None:
    await increment_together(start_hub, database, service_name, rng, seed, each=1000)
