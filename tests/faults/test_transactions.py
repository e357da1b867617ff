"""A transaction is all or nothing, wherever it is cut off, and whoever else writes."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest

from tests.faults import audit_log, checks
from tests.faults.harness import Fleet, Hub
from tests.faults.report import report
from tests.wire.waiting import until

TRANSACTION = "/api/v1/config/transaction"
SERVICES = [f"tied-{number}" for number in range(5)]
MOST_STEPS = 30


def setting(number: int, **fields: Any) -> dict[str, Any]:
    """Every document says the same number, and a schema for one of them allows no other."""
    updates: list[dict[str, Any]] = [{"service": service, "config": {"number": number}} for service in SERVICES]
    updates.append({"service": SERVICES[0], "schema": {"properties": {"number": {"const": number}}}})
    return {"updates": updates, "reason": f"number {number}", **fields}


async def numbers(hub: Hub) -> set[tuple[int, Any, str | None]]:
    """What the documents and the schema say, at which revision, and who looks after them: one where all is well."""
    page = (await hub.http.get("/api/v1/config/export", params={"service": SERVICES, "include": "config"})).json()
    assert len(page["entries"]) in (0, len(SERVICES) + 1)
    return {(entry["revision"], said(entry["kind"], entry["config"]), entry["managed_by"]) for entry in page["entries"]}


def said(kind: str, config: dict[str, Any]) -> Any:
    return config["number"] if kind == "document" else config["properties"]["number"]["const"]


@pytest.mark.timeout(240)
async def test_a_hub_that_dies_at_any_step_has_done_all_of_it_or_nothing(fleet: Fleet, seed: int) -> None:
    victim, witness = fleet.hubs
    first = await witness.http.post(TRANSACTION, json=setting(0, managed_by="files-0"))
    assert first.status_code == 200, first.text
    outcomes = []
    for step in range(1, MOST_STEPS):
        before = await numbers(witness)
        assert len(before) == 1
        await victim.kill()
        await victim.start(f"die_at_step:{step}")
        headers = {"Idempotency-Key": f"step-{step}"}
        body = setting(step, managed_by=f"files-{step}")
        if await outlived(victim, body, headers):
            break
        # Whatever was done is done once more with the same key, and once only.
        left = await numbers(witness)
        assert left == before
        again = await witness.http.post(TRANSACTION, json=body, headers=headers)
        assert again.status_code == 200, again.text
        assert again.json()["revision"] == first.json()["revision"] + step
        outcomes.append(step)
    # The lock, what there is, the rows, the marks, the remembered answer, the commit.
    assert len(outcomes) >= 6
    assert len(outcomes) < MOST_STEPS - 1
    await victim.kill()
    await victim.start()
    log = await audit_log.fetch(witness.http)
    assert checks.log_violations(log) == []
    report("transactions cut off", steps=len(outcomes), seed=seed)


async def test_a_hub_that_dies_before_telling_anybody_has_done_all_of_it(fleet: Fleet) -> None:
    victim, witness = fleet.hubs
    before = await witness.http.post(TRANSACTION, json=setting(100))
    await victim.kill()
    await victim.start("die_before_announcing")
    headers = {"Idempotency-Key": "before-announcing"}
    assert not await outlived(victim, setting(101), headers)
    again = await witness.http.post(TRANSACTION, json=setting(101), headers=headers)
    assert again.status_code == 200, again.text
    assert again.json()["revision"] == before.json()["revision"] + 1
    assert {number for _, number, _ in await numbers(witness)} == {101}
    await victim.kill()
    await victim.start()


async def outlived(victim: Hub, body: dict[str, Any], headers: dict[str, str]) -> bool:
    """Whether the hub answered; otherwise it has ended."""
    try:
        answer = await victim.http.post(TRANSACTION, json=body, headers=headers)
    except httpx2.HTTPError:
        assert await victim.ended() == 9
        return False
    assert answer.status_code == 200, answer.text
    return True


async def survive_kills(fleet: Fleet, rng: random.Random, seed: int, *, kills: int) -> None:
    """Writers set all documents to one number through any hub, while hubs and the database are killed."""
    stop = asyncio.Event()
    acknowledged: set[str] = set()

    async def write(writer: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            key = f"kill-{seed}-{writer}-{number}"
            body = setting(1000 + number * 10 + writer, managed_by=f"files-{writer}") | {"reason": key}
            if await settled(fleet.hubs, rng, body, key):
                acknowledged.add(key)
            await asyncio.sleep(rng.uniform(0, 0.05))

    async with asyncio.TaskGroup() as group:
        for writer in range(4):
            group.create_task(write(writer))
        for _ in range(kills):
            enough = len(acknowledged) + rng.randrange(2, 8)
            await until(lambda enough=enough: len(acknowledged) >= enough, within=60)
            victim = rng.choice([*fleet.hubs, fleet.postgres])
            await victim.kill()
            await asyncio.sleep(rng.choice([0, 0.05, 0.2]))
            await victim.start()
        stop.set()
    log = await audit_log.fetch(fleet.hubs[0].http)
    assert checks.log_violations(log) == []
    by_key: dict[str, set[int]] = {}
    by_revision: dict[int, set[tuple[str, bool]]] = {}
    for entry in (record.entry for record in log.records):
        if entry.reason is not None and entry.reason.startswith(f"kill-{seed}-"):
            by_key.setdefault(entry.reason, set()).add(entry.revision)
            by_revision.setdefault(entry.revision, set()).add((entry.service, entry.action == "schema"))
    assert acknowledged <= by_key.keys()
    assert all(len(revisions) == 1 for revisions in by_key.values()), "each was done once"
    whole = {(service, False) for service in SERVICES} | {(SERVICES[0], True)}
    assert all(changed == whole for changed in by_revision.values()), "nothing was half done"
    for hub in fleet.hubs:
        assert len(await numbers(hub)) == 1
    report("transactions under kills", kills=kills, acknowledged=len(acknowledged), seed=seed)


async def settled(hubs: Sequence[Hub], rng: random.Random, body: dict[str, Any], key: str) -> bool:
    """Ask until it is known what became of it; whether it was done."""
    while True:
        try:
            answer = await rng.choice(hubs).http.post(TRANSACTION, json=body, headers={"Idempotency-Key": key})
        except httpx2.HTTPError:
            await asyncio.sleep(0.1)
            continue
        if answer.status_code == 200:
            return True
        assert answer.status_code == 503, answer.text
        await asyncio.sleep(0.1)


@pytest.mark.timeout(180)
async def test_kills_leave_no_transaction_half_done(fleet: Fleet, rng: random.Random, seed: int) -> None:
    await survive_kills(fleet, rng, seed, kills=4)


@pytest.mark.soak
async def test_three_hundred_kills_leave_no_transaction_half_done(fleet: Fleet, rng: random.Random, seed: int) -> None:
    await survive_kills(fleet, rng, seed, kills=300)
