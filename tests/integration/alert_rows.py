"""Alerts that are there because a test says so: nobody evaluates, and nobody sends."""

import secrets
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage import alerts, tables
from central_hub.storage.alert_values import Alert, AlertState
from tests.conftest import RunningHub


def stop_evaluating(hub: RunningHub) -> None:
    """Whoever looked would resolve within seconds what nothing is known of."""
    for task in hub.service._tasks:
        if task.get_name() in ("alerts", "notifier"):
            task.cancel()


async def forget_all(hub: RunningHub) -> None:
    """Leave no alert to the next test."""

    async def work(connection: AsyncConnection) -> None:
        for table in (tables.alerts, tables.silences, tables.notifications):
            await connection.execute(table.delete())

    await hub.service.connections.database.transaction(work)


async def store(hub: RunningHub, **fields: Any) -> Alert:
    """Make an alert: by default one about a component that fires and was told."""
    now = datetime.now(UTC)
    values = {
        "id": secrets.token_hex(8),
        "fingerprint": secrets.token_hex(16),
        "rule": "infrastructure-down",
        "kind": "infrastructure",
        "subject": "postgresql",
        "environment": "",
        "severity": "critical",
        "summary": "postgresql is down",
        "reason": "connection refused",
        "labels": {"team": "platform"},
        "notify": ("log",),
        "state": AlertState.FIRING,
        "since": now,
        "fired_at": now,
        "notified_at": now,
        "is_told": True,
    }
    alert = Alert(**(values | fields))
    await hub.service.connections.database.transaction(lambda connection: alerts.save(connection, [alert], ()))
    return alert


async def store_of(hub: RunningHub, service: str, environment: str = "default", **fields: Any) -> Alert:
    """One about a service."""
    about = {"rule": "service-unhealthy", "kind": "service", "subject": service, "environment": environment}
    return await store(hub, **about, summary=f"{service} is unhealthy", **fields)
