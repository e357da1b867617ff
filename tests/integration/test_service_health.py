"""How services are, over HTTP: rolled up from their instances, within the scope of the token."""

from typing import Any

from tests.conftest import RunningHub
from tests.integration.instances import beat, let_time_pass, register
from tests.integration.test_config_documents import assert_problem

SERVICES = "/api/v1/health/services"


async def health(hub: RunningHub, service: str, **query: Any) -> dict[str, Any]:
    answer = await hub.http.get(f"/api/v1/health/services/{service}", params=query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_a_service_is_told_with_its_reason_and_its_instances(hub: RunningHub, service_name: str) -> None:
    for name, state, weight in (("a", "healthy", 1), ("b", "unhealthy", 1), ("c", "draining", 1), ("d", "healthy", 0)):
        await beat(hub.http, await register(hub.http, service_name, name, weight=weight), state=state)
    told = await health(hub, service_name)
    assert told["service"] == service_name
    [found] = told["environments"]
    assert (found["environment"], found["state"], found["reason"]) == ("default", "degraded", "1 of 4 unhealthy")
    assert found["counts"] == {"starting": 0, "healthy": 2, "degraded": 0, "unhealthy": 1, "draining": 1, "expired": 0}
    assert found["callable"] == 1
    nothing = {"samples": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None}
    assert found["latency"] == {"1m": nothing, "5m": nothing, "60m": nothing}
    assert [(each["instance_id"], each["state"], each["reason"]) for each in told["instances"]] == [
        ("a", "healthy", None),
        ("b", "unhealthy", "it says so itself"),
        ("c", "draining", "it says so itself"),
        ("d", "healthy", "it is of weight 0, and is not called"),
    ]
    assert all(each["last_seen"].endswith("Z") for each in told["instances"])
    [entry] = [each for each in (await hub.http.get(SERVICES)).json()["services"] if each["service"] == service_name]
    assert entry == {"service": service_name, **found}


async def test_who_has_not_been_heard_of_is_told_with_its_lease(hub: RunningHub, service_name: str) -> None:
    await beat(hub.http, await register(hub.http, service_name, lease_seconds=60))
    await let_time_pass(hub, service_name, 120)
    told = await health(hub, service_name)
    assert told["environments"][0]["state"] == "expired"
    assert told["instances"][0]["reason"].startswith("not heard of: its lease of 60 s ran out at 20")


async def test_a_fleet_that_fell_silent_at_once_is_not_healthy(hub: RunningHub, service_name: str) -> None:
    for number in range(4):
        await beat(hub.http, await register(hub.http, service_name, f"i{number}"))
    await let_time_pass(hub, service_name, 120)
    told = await health(hub, service_name)
    found = told["environments"][0]
    assert (found["state"], found["reason"], found["callable"]) == ("degraded", "4 of 4 not heard of", 4)
    assert told["instances"][0]["reason"].startswith("it fell silent together with too many others")


async def test_environments_are_told_apart(hub: RunningHub, service_name: str) -> None:
    await beat(hub.http, await register(hub.http, service_name))
    await beat(hub.http, await register(hub.http, service_name, environment="staging"), state="degraded")
    told = await health(hub, service_name)
    assert [(each["environment"], each["state"]) for each in told["environments"]] == [
        ("default", "healthy"),
        ("staging", "degraded"),
    ]
    told = await health(hub, service_name, environment="staging")
    assert [each["environment"] for each in told["environments"] + told["instances"]] == ["staging", "staging"]
    listed = (await hub.http.get(SERVICES, params={"environment": "staging"})).json()["services"]
    assert {each["environment"] for each in listed} == {"staging"}
    assert_problem(await hub.http.get(SERVICES, params={"environment": "a b"}), 422, "invalid_name")
    assert_problem(await hub.http.get(SERVICES, params={"colour": "red"}), 422, "invalid_request")


async def test_a_service_that_nobody_knows_is_not_found(hub: RunningHub, service_name: str) -> None:
    assert_problem(await hub.http.get(f"{SERVICES}/{service_name}"), 404, "not_found")
    made = await register(hub.http, service_name)
    assert_problem(await hub.http.get(f"{SERVICES}/{service_name}?environment=staging"), 404, "not_found")
    assert (await hub.http.delete(f"/api/v1/discovery/{service_name}/{made.instance_id}")).status_code == 204
    assert_problem(await hub.http.get(f"{SERVICES}/{service_name}"), 404, "not_found")


async def test_a_token_sees_the_services_that_it_covers(hub: RunningHub, service_name: str) -> None:
    for service in (f"{service_name}-a", f"{service_name}-b"):
        for environment in ("default", "staging"):
            await register(hub.http, service, environment=environment)
    token = await hub.new_token(services=[f"{service_name}-a"], environments=["staging"])
    async with hub.client(token) as client:
        seen = (await client.get(SERVICES)).json()["services"]
        assert [(each["service"], each["environment"]) for each in seen] == [(f"{service_name}-a", "staging")]
        own = (await client.get(f"{SERVICES}/{service_name}-a")).json()
        assert [each["environment"] for each in own["environments"] + own["instances"]] == ["staging", "staging"]
        assert_problem(await client.get(f"{SERVICES}/{service_name}-b"), 403, "forbidden")
        refused = await client.get(f"{SERVICES}/{service_name}-a", params={"environment": "default"})
        assert_problem(refused, 403, "forbidden")


async def test_lists_come_in_pages(hub: RunningHub, service_name: str) -> None:
    names = [f"{service_name}-{number}" for number in range(3)]
    for service in names:
        for environment in ("default", "staging"):
            await register(hub.http, service, environment=environment)
    token = await hub.new_token(services=[f"{service_name}-*"])
    async with hub.client(token) as client:
        pages = await all_pages(client, SERVICES, "services", limit=4)
    assert [[(each["service"], each["environment"]) for each in page] for page in pages] == [
        [(names[0], "default"), (names[0], "staging"), (names[1], "default"), (names[1], "staging")],
        [(names[2], "default"), (names[2], "staging")],
    ]
    for number in range(3):
        await register(hub.http, names[0], f"i{number}")
    pages = await all_pages(hub.http, f"{SERVICES}/{names[0]}", "instances", limit=2)
    assert [[each["instance_id"] for each in page] for page in pages] == [["i0", "i1"], ["i2", "one"], ["one"]]


async def all_pages(client: Any, path: str, field: str, *, limit: int) -> list[list[dict[str, Any]]]:
    pages, after = [], None
    while True:
        query = {"limit": limit} | ({} if after is None else {"after": after})
        page = (await client.get(path, params=query)).json()
        pages.append(page[field])
        after = page["next"]
        if after is None:
            return pages


async def test_the_health_of_services_is_asked_under_the_prefix(hub: RunningHub, service_name: str) -> None:
    await register(hub.http, service_name)
    for path in (f"services/{service_name}", "services", "", "live", "ready"):
        old = await hub.http.get(f"/api/health/{path}".rstrip("/"))
        assert old.status_code == 200
        assert old.headers["deprecation"]
        assert old.json().keys() == (await hub.http.get(f"/api/v1/health/{path}".rstrip("/"))).json().keys()
    assert_problem(await hub.http.get("/health/services"), 404, "not_found")
