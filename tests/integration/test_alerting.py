"""Alerts of a running hub: found, stored, and handed to channels in the same transaction."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from central_hub.audit.rounds import AuditRounds
from central_hub.embedded import Endpoints
from tests.conftest import DatabaseUrls, RunningHub, create_database
from tests.integration.alert_rows import store
from tests.integration.instances import beat, eventually, register

SOON = 30
"""Seconds: the fleet is looked through every five, and a resolved alert is held for five."""


async def rows(database: DatabaseUrls, query: str, *arguments: Any) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database.owner)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


async def test_a_refused_configuration_is_told_and_its_end_too(
    hub: RunningHub, database: DatabaseUrls, service_name: str
) -> None:
    stored = await hub.http.post(f"/api/v1/config/{service_name}", json={"config": {"n": 1}, "mode": "merge"})
    position = {"epoch": stored.json()["epoch"], "revision": stored.json()["revision"]}
    made = await register(hub.http, service_name)
    await beat(hub.http, made, rejected={**position, "reason": "n is too small"})

    async def is_in(state: str) -> bool:
        found = await rows(database, "SELECT state FROM alerts WHERE subject = $1", service_name)
        return [row["state"] for row in found] == [state]

    await eventually(lambda: is_in("firing"), within=SOON)
    await beat(hub.http, made, applied=position)
    await eventually(lambda: is_in("resolved"), within=SOON)
    sent = await rows(database, "SELECT * FROM notifications ORDER BY created_at")
    told = [json.loads(row["payload"]) for row in sent]
    assert [(each["event"], each["alerts"][0]["rule"], each["alerts"][0]["subject"]) for each in told] == [
        ("firing", "config-rejected", service_name),
        ("resolved", "config-rejected", service_name),
    ]
    assert "n is too small" in told[0]["alerts"][0]["summary"]
    assert [row["id"] for row in sent] == [each["id"] for each in told]


async def test_what_only_a_replica_could_tell_ends_when_that_is_gone(hub: RunningHub, database: DatabaseUrls) -> None:
    left = await store(hub, rule="replica-lagging", kind="replica_lagging", subject="gone", replica="gone")

    async def is_over() -> bool:
        found = await rows(database, "SELECT state FROM alerts WHERE id = $1", left.id)
        return [row["state"] for row in found] == ["resolved"]

    await eventually(is_over, within=SOON)


async def test_an_audit_log_that_was_edited_is_found_out_round_after_round(
    start_hub: Callable[..., Awaitable[RunningHub]], servers: Endpoints, service_name: str
) -> None:
    database = await create_database(servers)
    hub = await start_hub(database)
    for number in range(3):
        await hub.http.post(f"/api/v1/config/{service_name}", json={"config": {"n": number}, "mode": "merge"})
    found = AuditRounds(hub.service.audit, hub.service.coordination.clock, is_on_duty=lambda: True)
    assert not found.is_known
    assert await found.step()
    assert (found.is_known, found.flaws) == (True, ())
    await rows(database, "UPDATE config_audit_log SET changed_by = 'nobody' WHERE revision = 2")
    assert await found.step()
    assert found.flaws == ("revision 2 was edited: its facts do not give its recorded hash",)
    began = found.broken_since
    assert began is not None
    await found.step()
    assert found.broken_since == began
    await rows(database, "UPDATE config_audit_log SET changed_by = 'admin' WHERE revision = 2")
    await found.step()
    assert (found.flaws, found.broken_since) == ((), None)


async def test_the_looks_and_what_they_found_are_measured(hub: RunningHub) -> None:
    text = (await hub.http.get("/api/v1/metrics")).text
    assert 'central_hub_alerts{severity="critical",state="firing"} ' in text
    assert re.search(r"central_hub_alert_evaluation_seconds_count [1-9]", text)
    assert 'central_hub_alert_transitions_total{state="resolved"} ' in text
