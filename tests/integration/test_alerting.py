"""Alerts of a running hub: found, stored, and handed to channels in the same transaction."""

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from central_hub.audit.rounds import AuditRounds
from central_hub.embedded import Endpoints
from tests.conftest import DatabaseUrls, RunningHub, create_database
from tests.integration.alert_rows import store
from tests.integration.instances import beat, eventually, register
from tests.integration.watched_targets import connect, listening, state, truth

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
    await store(hub, kind="audit_broken", rule="audit-broken", subject="central-hub")  # of which nobody knows yet

    async def is_measured() -> bool:
        text = (await hub.http.get("/api/v1/metrics")).text
        counted = 'central_hub_alerts{severity="critical",state="firing"} 1.0' in text
        return counted and re.search(r"central_hub_alert_evaluation_seconds_count [1-9]", text) is not None

    await eventually(is_measured, within=SOON)


async def test_a_component_with_twelve_services_behind_it_is_one_alert(
    start_hub: Callable[..., Awaitable[RunningHub]], servers: Endpoints, tmp_path: Path, service_name: str
) -> None:
    file = tmp_path / "infrastructure.yaml"
    names = [f"{service_name}-{number:02}" for number in range(12)]
    async with listening() as port:
        file.write_text(
            f"""
version: 1
endpoints:
  db: {{type: tcp, host: 127.0.0.1, port: {port}, probe: {{interval_seconds: 1, timeout_seconds: 0.5}}}}
services:
{"".join(f"  {name}: {{db: required}}{chr(10)}" for name in names)}
alerts:
  rules:
    infrastructure-down: {{summary: "{{subject}} is down and takes {{affected}} with it"}}
    service-degraded: {{for_seconds: 12}}
"""
        )
        database = await create_database(servers)
        hub = await start_hub(database, infrastructure_file=file)
        hub.service.monitoring.prober.ask = connect
        made = [await register(hub.http, name, lease_seconds=3600) for name in names]
        for incarnation in made:
            await beat(hub.http, incarnation)
        await eventually(lambda: truth(state(hub, "db") == "healthy"))

    async def fire(count: int) -> bool:
        return len((await hub.http.get("/api/v1/alerts", params={"state": "firing"})).json()["alerts"]) == count

    await eventually(lambda: fire(13), within=90)
    [told] = [json.loads(row["payload"]) for row in await rows(database, "SELECT payload FROM notifications")]
    [alert] = told["alerts"]
    # A service that does not show it yet is named without the environment.
    assert (alert["subject"], [each.partition(" in ")[0] for each in alert["affected"]]) == ("db", names)
    assert alert["summary"] == f"db is down and takes {', '.join(alert['affected'])} with it"
    found = (await hub.http.get("/api/v1/alerts", params={"rule": "service-degraded"})).json()["alerts"]
    assert {(each["is_told"], *each["caused_by"]) for each in found} == {(False, "db")}
    # It comes back, and so do they.
    async with listening(port):
        await eventually(lambda: fire(0), within=90)
    sent = [json.loads(row["payload"]) for row in await rows(database, "SELECT payload FROM notifications")]
    assert sorted((each["event"], [one["subject"] for one in each["alerts"]]) for each in sent) == [
        ("firing", ["db"]),
        ("resolved", ["db"]),
    ]
