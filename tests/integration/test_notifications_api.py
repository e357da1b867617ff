"""What could not be told, over HTTP and on the command line; and what the hub itself tells on its own channels."""

import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx2
import jsonschema_rs
import pytest
from nats.aio.client import Client

from central_hub.embedded import Endpoints
from central_hub.monitoring.notification import Event, ToldAlert, compose
from central_hub.monitoring.rules import Severity
from central_hub.storage import notifications
from central_hub.storage.notification_values import NewNotification
from tests.conftest import DatabaseUrls, RunningHub
from tests.integration.instances import eventually
from tests.integration.test_cli import Run, cli
from tests.integration.test_config_documents import assert_problem

__all__ = ["cli"]

PATH = "/api/v1/alerts/notifications"


def alert(subject: str = "postgresql", environment: str = "") -> ToldAlert:
    return ToldAlert(
        id="a1",
        rule="infrastructure-down",
        severity=Severity.CRITICAL,
        subject=subject,
        state="firing",
        summary=f"{subject} is unhealthy",
        reason="refused",
        since=datetime(2026, 11, 29, tzinfo=UTC),
        environment=environment,
    )


async def give_up(database: DatabaseUrls, *alerts: ToldAlert, channel: str = "log") -> str:
    """A notification that was given up."""
    told = compose(secrets.token_hex(16), Event.FIRING, alerts or [alert()], "hub-7")
    owner = await asyncpg.connect(database.owner)
    await owner.execute(
        "INSERT INTO notifications (id, channel, payload, state, created_at, due_at, attempts, error, ended_at)"
        " VALUES ($1, $2, $3, 'dead', now(), now(), 36, 'answered 500', now())",
        told.id,
        channel,
        told.payload,
    )
    await owner.close()
    return told.id


async def listed(hub: RunningHub, state: str, token: str | None = None) -> dict[str, dict[str, Any]]:
    async with hub.client(token or hub.token) as http:
        answer = await http.get(PATH, params={"state": state, "limit": 1000})
    assert answer.status_code == 200, answer.text
    return {one["id"]: one for one in answer.json()["notifications"]}


async def redeliver(hub: RunningHub, notification_id: str, token: str | None = None) -> httpx2.Response:
    async with hub.client(token or hub.token) as http:
        return await http.post(f"/api/v1/alerts/notifications/{notification_id}/redeliver")


async def test_what_was_given_up_is_listed_with_its_reason_and_sent_again(
    hub: RunningHub, database: DatabaseUrls
) -> None:
    told = await give_up(database)
    shown = (await listed(hub, "dead"))[told]
    assert (shown["channel"], shown["attempts"], shown["error"]) == ("log", 36, "answered 500")
    assert shown["alerts"] == [
        {
            "id": "a1",
            "rule": "infrastructure-down",
            "severity": "critical",
            "subject": "postgresql",
            "environment": None,
        }
    ]
    answer = await redeliver(hub, told)
    assert (answer.status_code, answer.json()["state"], answer.json()["attempts"]) == (202, "due", 0)

    async def is_sent() -> bool:
        return told in await listed(hub, "sent")

    await eventually(is_sent)
    assert told not in await listed(hub, "dead")
    assert_problem(await redeliver(hub, told), 404, "not_found")


async def test_answers_are_what_the_document_of_the_interface_says(hub: RunningHub, database: DatabaseUrls) -> None:
    told = await give_up(database)
    paths = (await hub.http.get("/openapi.json")).json()["paths"]
    answers = {
        ("get", PATH, "200"): await hub.http.get(PATH, params={"state": "dead"}),
        ("post", f"{PATH}/{{notification_id}}/redeliver", "202"): await redeliver(hub, told),
    }
    for (method, path, status), answer in answers.items():
        described = paths[path][method]["responses"][status]["content"]["application/json"]["schema"]
        assert jsonschema_rs.is_valid(described, answer.json()), answer.text
        assert described["required"]


async def test_one_that_cannot_be_read_is_listed_all_the_same_and_hides_no_other(
    hub: RunningHub, database: DatabaseUrls
) -> None:
    told, strange = await give_up(database), await give_up(database)
    owner = await asyncpg.connect(database.owner)
    await owner.execute(
        """UPDATE notifications SET payload = replace(payload, '"postgresql"', '"\\ud800"') WHERE id = $1""", strange
    )
    await owner.close()
    found = await listed(hub, "dead", await hub.new_token(services=["billing"]))
    assert found[strange]["alerts"] == []
    assert len(found[told]["alerts"]) == 1


@pytest.mark.parametrize("unknown", ["0" * 32, "a%00b", "x" * 500, "..%2f.."])
async def test_what_is_no_notification_cannot_be_sent_again(hub: RunningHub, unknown: str) -> None:
    assert_problem(await redeliver(hub, unknown), 404, "not_found")


async def test_nobody_hears_of_services_that_his_token_does_not_cover(hub: RunningHub, database: DatabaseUrls) -> None:
    mine, others = alert("billing", "default"), alert("payroll", "default")
    about_mine, about_both = await give_up(database, mine), await give_up(database, mine, others)
    about_infrastructure = await give_up(database)
    naming_others = await give_up(database, replace(alert(), affected=("payroll in default",)))
    token = await hub.new_token(verbs=["read", "write"], services=["billing"])
    shown = await listed(hub, "dead", token)
    told = {about_mine, about_both, about_infrastructure, naming_others}
    assert shown.keys() & told == {about_mine, about_infrastructure}
    # To send again is for whoever may act on the whole fleet, and what may not be seen is as if it were not there.
    assert_problem(await redeliver(hub, about_mine, token), 403, "forbidden")
    assert_problem(await redeliver(hub, about_both, token), 404, "not_found")
    assert_problem(await redeliver(hub, naming_others, token), 404, "not_found")
    reader = await hub.new_token(verbs=["read"])
    assert_problem(await redeliver(hub, about_mine, reader), 403, "forbidden")
    everywhere = await hub.new_token(verbs=["write"])
    assert (await redeliver(hub, about_both, everywhere)).status_code == 202


async def test_a_hub_sends_on_its_own_channels_and_counts(
    hub: RunningHub, database: DatabaseUrls, servers: Endpoints
) -> None:
    listener = Client()
    await listener.connect(servers.nats_url)
    subscription = await listener.subscribe("alerts.critical")
    await listener.flush()
    told = compose(secrets.token_hex(16), Event.FIRING, [alert()], "hub-7")
    new = NewNotification(told.id, "nats", told.payload)
    await hub.service.connections.database.transaction(lambda connection: notifications.add(connection, [new]))
    hub.service.notifier.wake()
    message = await subscription.next_msg(timeout=30)
    await listener.close()
    assert message.data.decode() == told.payload
    await give_up(database)

    async def is_counted() -> bool:
        metrics = (await hub.http.get("/metrics")).text
        return (
            'central_hub_notifications_total{channel_type="nats",outcome="sent"} 1.0' in metrics
            and "central_hub_notifications_pending 0.0" in metrics
            and "central_hub_notifications_dead 0.0" not in metrics
        )

    await eventually(is_counted)


async def test_the_command_line_lists_what_was_given_up_and_has_it_sent_again(
    cli: Run, hub: RunningHub, database: DatabaseUrls
) -> None:
    told = await give_up(database, alert(), alert("nats"))
    shown = await cli("alerts", "dead")
    assert shown.code == 0, shown.err
    [row] = [" ".join(line.split()) for line in shown.out.splitlines() if told in line]
    assert row.startswith(f"{told} log ")
    assert row.endswith("36 answered 500 infrastructure-down postgresql and 1 more")
    assert told in {one["id"] for one in (await cli("alerts", "dead", "--json")).json}
    again = await cli("alerts", "redeliver", told)
    assert (again.code, again.out.strip()) == (0, f"{told} is sent again on log")

    async def is_sent() -> bool:
        return told in await listed(hub, "sent")

    await eventually(is_sent)
    refused = await cli("alerts", "redeliver", told)
    assert (refused.code, "was given up" in refused.err) == (1, True)
    assert (await cli("alerts", "redeliver", "../tokens")).code == 2


async def test_that_all_was_told_is_said(cli: Run, hub: RunningHub, database: DatabaseUrls) -> None:
    for told in await listed(hub, "dead"):
        await redeliver(hub, told)

    async def is_empty() -> bool:
        return not await listed(hub, "dead")

    await eventually(is_empty)
    assert "everything was told" in (await cli("alerts", "dead")).err
