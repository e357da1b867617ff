"""Who changed what, when and why: of one value, and across all documents."""

import asyncio
import secrets
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import RunningHub
from tests.integration.test_cli import Run, cli
from tests.integration.test_config_documents import path, put

__all__ = ["cli"]


async def merge(hub: RunningHub, token: str, service: str, config: dict[str, Any], **fields: Any) -> int:
    body = {"service": service, "config": config, "mode": "merge"} | fields
    async with hub.client(token) as http:
        answer = await http.post("/api/v1/config/update", json=body)
    assert answer.status_code == 200, answer.text
    revision: int = answer.json()["revision"]
    return revision


@pytest.fixture
async def people(hub: RunningHub) -> dict[str, str]:
    """Tokens by the names of their holders, which are new in every test."""
    scope = {"verbs": ["read", "write"], "services": ["*", "_global"]}
    names = {each: f"{each}-{secrets.token_hex(4)}" for each in ("alice", "bob")}
    return {names[each]: await hub.new_token(name=names[each], **scope) for each in names}


async def search(hub: RunningHub, token: str | None = None, **query: Any) -> list[dict[str, Any]]:
    async with hub.client(token or hub.token) as http:
        answer = await http.get("/api/v1/config/history", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["history"]
    return found


async def test_every_value_names_who_set_it_last_and_why(
    hub: RunningHub, service_name: str, people: dict[str, str], cli: Run
) -> None:
    (alice, alices), (bob, bobs) = people.items()
    first = await merge(hub, alices, service_name, {"a": 1, "b": {"c": 1, "d": 1}}, reason="a beginning")
    second = await merge(hub, bobs, service_name, {"b": {"c": 2}}, reason="more of it")
    await merge(hub, alices, service_name, {"e": 1}, environment="staging")
    answer = await hub.http.get(path(service_name), params={"blame": "true"})
    set_by = {pointer: source["set_by"] for pointer, source in answer.json()["provenance"].items()}
    assert {pointer: (by["changed_by"], by["revision"], by["reason"]) for pointer, by in set_by.items()} == {
        "/a": (alice, first, "a beginning"),
        "/b/c": (bob, second, "more of it"),
        "/b/d": (alice, first, "a beginning"),
    }
    then = await hub.http.get(path(service_name), params={"blame": "true", "at": first})
    assert {by["set_by"]["revision"] for by in then.json()["provenance"].values()} == {first}
    staging = await hub.http.get(path(service_name), params={"blame": "true", "environment": "staging"})
    assert staging.json()["provenance"]["/b/c"]["set_by"]["changed_by"] == bob
    shown = await cli("explain", service_name, "b.c")
    assert bob in shown.out
    assert "more of it" in shown.out


async def test_a_rollback_is_the_author_of_what_it_brought_back(hub: RunningHub, service_name: str) -> None:
    first = await put(hub, service_name, {"a": 1, "b": 1})
    await hub.http.post("/api/v1/config/update", json={"service": service_name, "config": {"a": 2}, "mode": "merge"})
    body = {"revision": first.json()["revision"], "reason": "it was better"}
    rolled_back = (await hub.http.post(f"/api/v1/config/rollback/{service_name}", json=body)).json()["revision"]
    provenance = (await hub.http.get(path(service_name), params={"blame": "true"})).json()["provenance"]
    assert provenance["/a"]["set_by"]["revision"] == rolled_back
    assert provenance["/a"]["set_by"]["reason"] == "it was better"
    assert provenance["/b"]["set_by"]["revision"] == first.json()["revision"]


async def test_changes_are_found_across_services(
    hub: RunningHub, service_name: str, people: dict[str, str], cli: Run
) -> None:
    (alice, alices), (bob, bobs) = people.items()
    other = f"{service_name}-b"
    before = datetime.now(UTC).isoformat()
    revisions = [
        await merge(hub, alices, service_name, {"a": 1, "b": {"c": 1}}, reason="Ticket OPS-7"),
        await merge(hub, bobs, other, {"b": {"c": 1}}, reason="ticket ops-8"),
        await merge(hub, alices, other, {"b": {"d": 1}}, environment="staging"),
    ]
    await asyncio.sleep(0.002)
    after = datetime.now(UTC).isoformat()

    async def found(**query: Any) -> list[int]:
        return [entry["revision"] for entry in await search(hub, since=before, until=after, **query)][::-1]

    assert await found() == revisions
    assert await found(by=alice) == [revisions[0], revisions[2]]
    assert await found(by=bob, service=other) == [revisions[1]]
    assert await found(service=other) == revisions[1:]
    assert await found(environment="staging") == [revisions[2]]
    assert await found(path="/b/c") == revisions[:2]
    assert await found(path="/b") == revisions
    assert await found(path="/a") == [revisions[0]]
    assert await found(text="ticket OPS-") == revisions[:2]
    assert await found(by="nobody") == []
    assert await search(hub, until=before, service=other) == []
    shown = await cli("log", "--by", alice, "--key", "b.d")
    assert shown.code == 0, shown.err
    assert (other in shown.out, service_name in shown.out.replace(other, "")) == (True, False)
    assert len((await cli("--json", "log", "--since", before, "--until", after, "--limit", "2")).json) == 2


async def test_pages_follow_each_other_and_cut_no_commit(hub: RunningHub, service_name: str) -> None:
    revisions = [await merge(hub, hub.token, service_name, {"n": number}) for number in range(7)]
    found: list[int] = []
    query: dict[str, Any] = {"service": service_name, "limit": 3}
    while True:
        answer = (await hub.http.get("/api/v1/config/history", params=query)).json()
        found += [entry["revision"] for entry in answer["history"]]
        if answer["next"] is None:
            break
        query["before"] = answer["next"]
    assert found == revisions[::-1]


async def test_only_what_the_token_covers_is_found(hub: RunningHub, service_name: str) -> None:
    await merge(hub, hub.token, service_name, {"n": 1})
    await merge(hub, hub.token, service_name, {"n": 2}, environment="staging")
    blind = await hub.new_token(services=["elsewhere"])
    assert await search(hub, blind) == []
    half = await hub.new_token(services=[service_name], environments=["staging"])
    assert [entry["environment"] for entry in await search(hub, half)] == ["staging"]
    async with hub.client(blind) as http:
        assert (await http.get("/api/v1/config/history", params={"service": service_name})).status_code == 403


@pytest.mark.parametrize(
    "query", [{"since": "yesterday"}, {"until": "2026-11-23T14:00:00"}, {"limit": 0}, {"by": ""}, {"serivce": "x"}]
)
async def test_a_question_that_cannot_be_meant_is_refused(hub: RunningHub, query: dict[str, Any]) -> None:
    answer = await hub.http.get("/api/v1/config/history", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
