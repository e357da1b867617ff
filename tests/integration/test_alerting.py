"""Alerts of a running hub: found, stored, and handed to channels in the same transaction."""

import json
from typing import Any

import asyncpg

from tests.conftest import DatabaseUrls, RunningHub
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
