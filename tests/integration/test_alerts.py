"""`/alerts`: who sees which, and what may be done about them."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.monitoring.alert_desk import MAX_SILENCES
from central_hub.storage import tables
from central_hub.storage.alert_values import Affected, AlertState
from tests.conftest import RunningHub
from tests.integration.alert_rows import forget_all, stop_evaluating, store, store_of
from tests.integration.test_config_documents import assert_problem

EVERYTHING = {"services": ["*"], "environments": ["*"]}


@pytest.fixture(autouse=True)
async def nobody_looks(hub: RunningHub) -> AsyncIterator[None]:
    stop_evaluating(hub)
    yield
    await forget_all(hub)


async def listed(hub: RunningHub, token: str | None = None, **query: Any) -> list[dict[str, Any]]:
    async with hub.client(token or hub.token) as client:
        answer = await client.get("/api/v1/alerts", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["alerts"]
    return found


async def test_alerts_are_listed_by_what_is_asked_for(hub: RunningHub) -> None:
    now = datetime.now(UTC)
    down = await store(hub, since=now - timedelta(seconds=3))
    slow = await store_of(hub, "billing", "staging", severity="warning", state=AlertState.PENDING)
    over = await store(
        hub, subject="nats", state=AlertState.RESOLVED, resolved_at=now, since=now - timedelta(seconds=2)
    )
    for query, expected in [
        ({}, [slow, over, down]),
        ({"state": "open"}, [slow, down]),
        ({"state": "pending"}, [slow]),
        ({"state": "resolved"}, [over]),
        ({"severity": "warning"}, [slow]),
        ({"subject": "postgresql"}, [down]),
        ({"rule": "service-unhealthy"}, [slow]),
        ({"environment": "staging"}, [slow]),
        ({"state": "open", "subject": "nats"}, []),
    ]:
        assert [found["id"] for found in await listed(hub, **query)] == [alert.id for alert in expected], query
    for wrong in ({"state": "loud"}, {"severity": "high"}, {"after": "x"}, {"limit": 0}, {"colour": "red"}):
        assert (await hub.http.get("/api/v1/alerts", params=wrong)).status_code == 422


async def test_a_state_of_another_version_is_read_as_open(hub: RunningHub) -> None:
    strange, other = await store(hub), await store(hub)

    async def work(connection: AsyncConnection) -> None:
        rows = tables.alerts
        await connection.execute(rows.update().where(rows.c.id == strange.id).values(state="paused"))

    await hub.service.connections.database.transaction(work)
    assert {each["id"]: each["state"] for each in await listed(hub)} == {strange.id: "firing", other.id: "firing"}


async def test_pages_follow_each_other_without_gap_or_double(hub: RunningHub) -> None:
    same = datetime.now(UTC)
    made = [await store(hub, since=same) for _ in range(7)]
    seen: list[str] = []
    after: str | None = None
    while True:
        query = {"limit": 3} | ({} if after is None else {"after": after})
        page = (await hub.http.get("/api/v1/alerts", params=query)).json()
        seen += [alert["id"] for alert in page["alerts"]]
        after = page["next"]
        if after is None:
            break
    assert sorted(seen) == sorted(alert.id for alert in made)


async def test_an_alert_says_all_that_is_known_of_it(hub: RunningHub) -> None:
    hit = (Affected("service", "billing", "default"),)
    alert = await store(hub, affected=hit)
    found = (await hub.http.get(f"/api/v1/alerts/{alert.id}")).json()
    assert found["affected"] == [{"kind": "service", "subject": "billing", "environment": "default"}]
    assert (found["subject"], found["environment"], found["state"]) == ("postgresql", None, "firing")
    assert (found["labels"], found["is_told"], found["acknowledged"]) == ({"team": "platform"}, True, None)
    for nobody in ("0123456789abcdef", "x", "%00"):
        assert_problem(await hub.http.get(f"/api/v1/alerts/{nobody}"), 404, "not_found")


async def test_who_may_not_read_a_service_hears_nothing_of_its_alerts(hub: RunningHub) -> None:
    hit = (Affected("service", "orders", "default"), Affected("service", "billing", "default"))
    down = await store(hub, affected=hit, summary="postgresql is down: it takes billing in default, orders in default")
    of_orders = await store_of(hub, "orders", caused_by=("postgresql",))
    token = await hub.new_token(services=["billing"])
    [seen] = await listed(hub, token)
    assert seen["id"] == down.id
    assert [each["subject"] for each in seen["affected"]] == ["billing"]
    assert "orders" not in json.dumps(seen)
    writer = await hub.new_token(verbs=["read", "write"], services=["billing"])
    async with hub.client(writer) as client:
        hidden, nobody = f"/api/v1/alerts/{of_orders.id}", "/api/v1/alerts/0123456789abcdef"
        assert_problem(await client.get(hidden), 404, "not_found")
        for verb, body in (("acknowledge", {}), ("silence", {"for_seconds": 60})):
            answers = [await client.post(f"{path}/{verb}", json=body) for path in (hidden, nobody)]
            assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "not_found")}


async def test_a_name_within_another_is_hidden_whole(hub: RunningHub) -> None:
    names = ("pay", "pay-eu", "my-pay", "billing")
    hit = tuple(Affected("service", name, environment) for name in names for environment in ("prod", "prod-2"))
    await store(hub, affected=hit, summary="postgresql and prepaid are down: " + ", ".join(map(str, hit)))
    [seen] = await listed(hub, await hub.new_token(services=["billing"]))
    shown = "postgresql and prepaid are down: …, …, …, …, …, …, billing in prod, billing in prod-2"
    assert seen["summary"] == shown


async def test_no_page_tells_that_there_is_an_alert_of_somebody_else(hub: RunningHub) -> None:
    for _ in range(3):
        await store_of(hub, "orders")
    mine = [await store_of(hub, "billing", "staging"), await store_of(hub, "billing-2"), await store(hub)]
    await store_of(hub, "billing-22")
    token = await hub.new_token(services=["bill*ing", "billing-2"], environments=["default", "st*"])
    async with hub.client(token) as client:
        for query in ({"subject": "orders"}, {"subject": "orders", "severity": "critical", "environment": "default"}):
            answer = await client.get("/api/v1/alerts", params=query | {"limit": "1"})
            assert answer.json() == {"alerts": [], "next": None}, query
        answer = await client.get("/api/v1/alerts", params={"limit": 4})
    assert [alert["id"] for alert in answer.json()["alerts"]] == [alert.id for alert in reversed(mine)]
    assert answer.json()["next"] is None


async def test_what_concerns_the_whole_fleet_takes_a_token_for_all_of_it(hub: RunningHub) -> None:
    down, of_billing = await store(hub), await store_of(hub, "billing")
    some = await hub.new_token(verbs=["read", "write"], services=["billing"])
    reader = await hub.new_token(verbs=["read"], **EVERYTHING)
    all_of_it = await hub.new_token(verbs=["write"], **EVERYTHING)
    for verb, body in (("acknowledge", {}), ("silence", {"for_seconds": 60})):
        for token, alert, status in (
            (reader, down, 403),
            (reader, of_billing, 403),
            (some, down, 403),
            (some, of_billing, 200),
            (all_of_it, down, 200),
            (all_of_it, of_billing, 200),
        ):
            async with hub.client(token) as client:
                answer = await client.post(f"/api/v1/alerts/{alert.id}/{verb}", json=body)
            assert answer.status_code == status, (verb, answer.text)
    async with hub.client(some) as client:
        assert_problem(await client.post("/api/v1/alerts/test", json={"channel": "log"}), 403, "forbidden")


async def test_an_acknowledgement_says_who_when_and_what(hub: RunningHub) -> None:
    alert = await store(hub)
    path = f"/api/v1/alerts/{alert.id}/acknowledge"
    answer = await hub.http.post(path, json={"comment": "I am on it"})
    assert answer.status_code == 200
    acknowledged = answer.json()["acknowledged"]
    assert acknowledged["comment"] == "I am on it"
    assert acknowledged["by"] == "admin"
    assert (await listed(hub))[0]["acknowledged"] == acknowledged
    over = await store(hub, subject="nats", state=AlertState.RESOLVED, resolved_at=datetime.now(UTC))
    assert_problem(await hub.http.post(f"/api/v1/alerts/{over.id}/acknowledge", json={}), 422, "invalid_request")
    assert (await hub.http.post(path, json={"who": "me"})).status_code == 422


async def test_an_alert_has_so_many_silences_and_no_more(hub: RunningHub) -> None:
    alert, other = await store_of(hub, "billing"), await store_of(hub, "orders")
    path = f"/api/v1/alerts/{alert.id}/silence"
    made = [await hub.http.post(path, json={"for_seconds": 60}) for _ in range(MAX_SILENCES)]
    assert {answer.status_code for answer in made} == {200}
    refused = await hub.http.post(path, json={"for_seconds": 60})
    assert_problem(refused, 422, "invalid_request")
    assert "end one of them" in refused.json()["detail"]
    assert (await hub.http.post(f"/api/v1/alerts/{other.id}/silence", json={"for_seconds": 60})).status_code == 200
    assert (await hub.http.delete(f"/api/v1/alerts/silences/{made[0].json()['id']}")).status_code == 204
    assert (await hub.http.post(path, json={"for_seconds": 60})).status_code == 200


async def test_a_silence_is_for_the_same_rule_and_subject_and_ends(hub: RunningHub) -> None:
    of_service, down = await store_of(hub, "billing"), await store(hub)
    path = f"/api/v1/alerts/{of_service.id}/silence"
    made = (await hub.http.post(path, json={"for_seconds": 60, "reason": "we know"})).json()
    assert (made["rule"], made["subject"], made["environment"]) == ("service-unhealthy", "billing", "default")
    until = datetime.now(UTC) + timedelta(hours=1)
    other = await hub.http.post(f"/api/v1/alerts/{down.id}/silence", json={"until": until.isoformat()})
    assert other.status_code == 200, other.text
    found = (await hub.http.get("/api/v1/alerts/silences")).json()["silences"]
    assert found == [made, other.json()]
    async with hub.client(await hub.new_token(services=["orders"])) as client:
        assert (await client.get("/api/v1/alerts/silences")).json()["silences"] == [other.json()]
    async with hub.client(await hub.new_token(verbs=["write"], services=["billing"])) as client:
        assert_problem(await client.delete(f"/api/v1/alerts/silences/{other.json()['id']}"), 403, "forbidden")
        assert (await client.delete(f"/api/v1/alerts/silences/{made['id']}")).status_code == 204
        assert_problem(await client.delete(f"/api/v1/alerts/silences/{made['id']}"), 404, "not_found")
    past = {"until": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
    for wrong in ({}, past, {"for_seconds": 0}, {"for_seconds": 5, "until": until.isoformat()}, {"for_seconds": "1h"}):
        assert_problem(await hub.http.post(path, json=wrong), 422, "invalid_request")


async def test_a_channel_is_tried_with_something_that_is_no_alert(hub: RunningHub) -> None:
    answer = await hub.http.post("/api/v1/alerts/test", json={"channel": "log"})
    assert answer.status_code == 200
    assert (answer.json()["delivered"], answer.json()["reason"]) == (True, None)
    assert_problem(await hub.http.post("/api/v1/alerts/test", json={"channel": "pigeon"}), 404, "not_found")


async def test_the_longest_names_can_be_looked_for(hub: RunningHub) -> None:
    longest = "a" * 100
    made = await store(hub, subject=longest, rule=longest)
    answer = await hub.http.get("/api/v1/alerts", params={"subject": longest, "rule": longest})
    assert [alert["id"] for alert in answer.json()["alerts"]] == [made.id]
    assert_problem(await hub.http.get("/api/v1/alerts", params={"subject": longest + "a"}), 422, "invalid_request")
