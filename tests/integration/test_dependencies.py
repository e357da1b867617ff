"""Who is hit and what is to blame, over HTTP, with components that are really stopped."""

from typing import Any

import httpx2

from central_hub.monitoring.infrastructure import Need
from tests.conftest import RunningHub
from tests.integration.instances import beat, register
from tests.integration.test_config_documents import assert_problem
from tests.integration.trading import trading

HEALTH = "/api/v1/dashboard/health"
SUMMARY = "/api/v1/dashboard/summary"
DEPENDENCIES = "/api/v1/dashboard/dependencies"
REFUSED = "the connection was refused"


def services(name: str) -> dict[str, dict[str, Need]]:
    return {
        f"{name}-bridge": {"clickhouse": Need.REQUIRED, "dragonflydb": Need.OPTIONAL},
        f"{name}-features": {"feature-store": Need.REQUIRED},
        f"{name}-gateway": {"nats": Need.REQUIRED},
    }


def dependents(name: str) -> str:
    return f"/api/v1/infrastructure/{name}/dependents"


def impact(name: str) -> str:
    return f"/api/v1/infrastructure/{name}/impact"


def told(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_dependents_are_told_with_their_way_and_their_state(hub: RunningHub, service_name: str) -> None:
    async with trading(hub, services(service_name)) as found:
        await beat(hub.http, await register(hub.http, f"{service_name}-bridge"), state="healthy")
        await found.stop("dragonflydb")
        answer = told(await hub.http.get(dependents("dragonflydb")))
    assert answer == {
        "component": "dragonflydb",
        "state": "unhealthy",
        "reason": REFUSED,
        "not_covered": 0,
        "dependents": [
            {
                "kind": "component",
                "name": "feature-store",
                "need": "optional",
                "path": ["feature-store", "dragonflydb"],
                "state": "healthy",
                "direct": True,
            },
            {
                "kind": "service",
                "name": f"{service_name}-bridge",
                "need": "optional",
                "path": [f"{service_name}-bridge", "dragonflydb"],
                "state": "healthy",
                "direct": True,
            },
            {
                "kind": "service",
                "name": f"{service_name}-features",
                "need": "optional",
                "path": [f"{service_name}-features", "feature-store", "dragonflydb"],
                "state": None,
                "direct": False,
            },
        ],
    }


async def test_impact_tells_who_is_hit_and_what_to_do(hub: RunningHub, service_name: str) -> None:
    bridge, features = f"{service_name}-bridge", f"{service_name}-features"
    async with trading(hub, services(service_name)) as found:
        before = told(await hub.http.get(impact("clickhouse")))
        await found.stop("clickhouse", "feature-store")
        after = told(await hub.http.get(impact("clickhouse")))
        above = told(await hub.http.get(impact("feature-store")))
        unprobed = told(await hub.http.get(impact("kafka")))
    assert [(hit["name"], hit["effect"], hit["state"]) for hit in before["hits"]] == [
        ("feature-store", "unhealthy", "healthy"),
        (bridge, "unhealthy", None),
        (features, "unhealthy", None),
    ]
    assert [hit["state"] for hit in after["hits"]] == ["unhealthy", None, None]
    assert after["hits"][2]["reason"] == (
        f"{features} requires feature-store, which requires clickhouse: without clickhouse it cannot work"
    )
    assert [[node["name"] for node in wave] for wave in after["restart"]] == [["feature-store"], [bridge, features]]
    assert after["recommendations"][0] == (
        f"check clickhouse first: it is unhealthy: {REFUSED}; it depends on nothing else"
    )
    assert above["recommendations"][0] == (
        f"start with clickhouse: feature-store requires clickhouse, which is unhealthy: {REFUSED}"
    )
    assert (unprobed["state"], unprobed["hits"]) == (None, [])


async def test_a_service_shows_what_it_depends_on(hub: RunningHub, service_name: str) -> None:
    features = f"{service_name}-features"
    async with trading(hub, services(service_name)) as found:
        instance = await register(hub.http, features)
        await beat(hub.http, instance, state="healthy")
        await found.stop("clickhouse", "feature-store")
        [well] = told(await hub.http.get(f"/api/v1/health/services/{features}"))["environments"]
        await beat(hub.http, instance, state="unhealthy")
        [unwell] = told(await hub.http.get(f"/api/v1/health/services/{features}"))["environments"]
        listed = told(await hub.http.get("/api/v1/health/services"))["services"]
    reason = f"{REFUSED}; it requires clickhouse, which is unhealthy: {REFUSED}"
    assert well["dependencies"] == [
        {"name": "feature-store", "need": "required", "state": "unhealthy", "reason": reason}
    ]
    because = f"requires feature-store, which is unhealthy: {reason}"
    assert (well["state"], well["reason"], well["callable"]) == ("degraded", f"1 of 1 healthy; {because}", 1)
    assert (unwell["state"], unwell["reason"]) == ("unhealthy", f"none can be called: 1 unhealthy; {because}")
    assert {**unwell, "service": features} in listed


async def test_the_picture_puts_everything_down_to_what_is_to_blame(hub: RunningHub, service_name: str) -> None:
    bridge, features, gateway = (f"{service_name}-{name}" for name in ("bridge", "features", "gateway"))
    token = await hub.new_token(services=[f"{service_name}-*"])
    async with trading(hub, services(service_name)) as found, hub.client(token) as client:
        for name, state in ((bridge, "healthy"), (features, "unhealthy"), (gateway, "unhealthy")):
            await beat(hub.http, await register(hub.http, name), state=state)
        await found.stop("clickhouse", "feature-store")
        picture = told(await client.get(HEALTH))
        summary = told(await client.get(SUMMARY))
        graph = told(await client.get(DEPENDENCIES))
    causes = {cause["name"]: cause for cause in picture["causes"]}
    assert causes.keys() == {"clickhouse", gateway}
    assert causes["clickhouse"]["reason"] == REFUSED
    assert [(each["name"], each["environment"], each["state"]) for each in causes["clickhouse"]["explains"]] == [
        ("feature-store", None, "unhealthy"),
        (bridge, "default", "degraded"),
        (features, "default", "unhealthy"),
    ]
    assert causes[gateway]["explains"] == []
    assert picture["state"] == "unhealthy"
    assert picture["reason"].startswith(f"{features} is unhealthy, {gateway} is unhealthy")
    assert picture["hub"]["components"].keys() == {"postgres", "nats"}
    assert [each["name"] for each in picture["infrastructure"]["amiss"]] == ["clickhouse", "feature-store"]
    assert {each["service"] for each in picture["services"]["amiss"]} == {bridge, features, gateway}
    assert summary["infrastructure"]["states"] | {"starting": 0} == {
        **dict.fromkeys(("starting", "degraded", "draining", "expired"), 0),
        "healthy": 2,
        "unhealthy": 2,
    }
    assert (summary["infrastructure"]["total"], summary["infrastructure"]["not_probed"]) == (5, 1)
    assert (summary["services"]["states"]["unhealthy"], summary["services"]["total"]) == (2, 3)
    assert (summary["instances"]["states"]["healthy"], summary["instances"]["total"]) == (1, 3)
    assert (summary["state"], summary["reason"]) == (picture["state"], picture["reason"])
    assert [node["name"] for wave in graph["start_order"][:2] for node in wave] == [
        "clickhouse",
        "dragonflydb",
        "kafka",
        "nats",
        "feature-store",
    ]
    assert {"kind": "service", "dependent": gateway, "component": "nats", "need": "required"} in graph["edges"]
    nodes = {node["name"]: node for node in graph["nodes"]}
    assert (nodes["kafka"]["state"], nodes["clickhouse"]["section"]) == (None, "databases")
    assert nodes[bridge]["reason"].startswith("1 of 1 healthy; requires clickhouse, which is unhealthy")
    assert graph["causes"] == picture["causes"]


async def test_a_token_sees_the_services_that_it_covers(hub: RunningHub, service_name: str) -> None:
    bridge = f"{service_name}-bridge"
    token = await hub.new_token(services=[bridge], environments=["staging"])
    async with trading(hub, services(service_name)) as found, hub.client(token) as client:
        for environment in ("default", "staging"):
            await beat(hub.http, await register(hub.http, bridge, environment=environment), state="unhealthy")
        await register(hub.http, f"{service_name}-features")
        await found.stop("clickhouse")
        for path in (
            HEALTH,
            SUMMARY,
            DEPENDENCIES,
            dependents("clickhouse"),
            impact("clickhouse"),
        ):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert f"{service_name}-features" not in answer.text
            assert f"{service_name}-gateway" not in answer.text
            assert '"default"' not in answer.text
            if "not_covered" in answer.json():
                assert answer.json()["not_covered"] == 2
        picture = (await client.get(HEALTH)).json()
    assert [each["environment"] for each in picture["services"]["amiss"]] == ["staging"]
    assert [[each["environment"] for each in cause["explains"]] for cause in picture["causes"]] == [["staging"]]


async def test_without_infrastructure_everything_is_answered(hub: RunningHub) -> None:
    picture = told(await hub.http.get(HEALTH))
    assert picture["infrastructure"]["total"] == 0
    graph = told(await hub.http.get(DEPENDENCIES))
    assert (graph["nodes"], graph["edges"], graph["start_order"]) == ([], [], [])
    for name in ("unheard-of", "a%00b", "%C3%A4"):
        assert_problem(await hub.http.get(dependents(name)), 404, "not_found")
        assert_problem(await hub.http.get(impact(name)), 404, "not_found")
    for path in (HEALTH, SUMMARY, DEPENDENCIES):
        assert_problem(await hub.http.get(path, params={"colour": "red"}), 422, "invalid_request")
        assert (await hub.http.get(path.replace("/v1", "", 1))).status_code == 200
