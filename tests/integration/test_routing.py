"""One instance to call, over HTTP: by health, weight, key and zone, of what the registry knows."""

from collections import Counter
from typing import Any

import pytest

from central_hub_client.errors import NoInstance, error_from
from central_hub_client.routing.hash_ring import owner
from tests.conftest import RunningHub
from tests.integration.instances import Incarnation, beat, let_time_pass, listed, register
from tests.integration.test_config_documents import assert_problem
from tests.unit.routing.fleets import Member


async def healthy(hub: RunningHub, service: str, instance_id: str, **told: Any) -> Incarnation:
    made = await register(hub.http, service, instance_id, **told)
    assert (await beat(hub.http, made)).status_code == 200
    return made


async def routed(hub: RunningHub, service: str, **query: str) -> dict[str, Any]:
    answer = await hub.http.get(f"/api/v1/discovery/{service}/route", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def names(hub: RunningHub, service: str, count: int, **query: str) -> Counter[str]:
    return Counter([(await routed(hub, service, **query))["instance"]["instance_id"] for _ in range(count)])


async def test_the_answer_is_an_instance_as_it_is_listed(hub: RunningHub, service_name: str) -> None:
    await healthy(hub, service_name, "one", host="10.0.0.7", port=8080, zone="eu")
    found = await routed(hub, service_name)
    assert found == {"instance": (await listed(hub, service_name))[0], "policy": "round_robin", "fallbacks": []}


async def test_turns_go_by_weight(hub: RunningHub, service_name: str) -> None:
    await healthy(hub, service_name, "heavy", weight=3)
    await healthy(hub, service_name, "light")
    await healthy(hub, service_name, "left-out", weight=0)
    assert await names(hub, service_name, 20) == {"heavy": 15, "light": 5}
    drawn = await names(hub, service_name, 80, policy="random")
    assert set(drawn) == {"heavy", "light"}
    assert 55 <= drawn["heavy"] <= 65


async def test_heartbeats_do_not_disturb_the_turns(hub: RunningHub, service_name: str) -> None:
    made = [await healthy(hub, service_name, f"i{number}") for number in range(3)]
    taken: Counter[str] = Counter()
    for incarnation in made * 4:
        taken += await names(hub, service_name, 1)
        await beat(hub.http, incarnation)
    assert set(taken.values()) == {4}


async def test_a_key_stays_with_its_instance_and_every_language_can_tell_which(
    hub: RunningHub, service_name: str
) -> None:
    members = [Member(f"i{number}", weight=number % 3 + 1) for number in range(6)]
    made = [await healthy(hub, service_name, member.instance_id, weight=member.weight) for member in members]
    keys = [f"customer/{number} ü" for number in range(20)]

    async def owners() -> dict[str, str]:
        query = {"policy": "consistent_hash"}
        return {key: (await routed(hub, service_name, **query, key=key))["instance"]["instance_id"] for key in keys}

    before = await owners()
    assert before == {key: owner(members, key).instance_id for key in keys}
    gone = before[keys[0]]
    [leaving] = [incarnation for incarnation in made if incarnation.instance_id == gone]
    await beat(hub.http, leaving, state="draining")
    after = await owners()
    assert {key for key in keys if before[key] != after[key]} == {key for key in keys if before[key] == gone}


async def test_a_zone_is_kept_to_while_it_has_anybody_to_call(hub: RunningHub, service_name: str) -> None:
    near = await healthy(hub, service_name, "near", zone="eu-1")
    await healthy(hub, service_name, "far", zone="us-1")
    query = {"policy": "same_zone", "zone": "eu-1"}
    assert await names(hub, service_name, 4, **query) == {"near": 4}
    assert (await routed(hub, service_name, **query))["fallbacks"] == []
    await beat(hub.http, near, state="draining")
    found = await routed(hub, service_name, **query)
    assert (found["instance"]["instance_id"], found["fallbacks"]) == ("far", ["other_zone"])


async def test_only_healthy_instances_are_named_and_503_says_why_there_is_none(
    hub: RunningHub, service_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/api/v1/discovery/{service_name}/route"
    nobody = await hub.http.get(path)
    assert_problem(nobody, 503, "no_instance")
    assert nobody.headers["retry-after"]
    assert "none is registered" in nobody.json()["detail"]
    assert isinstance(error_from(503, nobody.json()), NoInstance)
    await register(hub.http, service_name, "starts")
    states = {}
    for state in ("unhealthy", "draining", "healthy"):
        states[state] = await healthy(hub, service_name, state)
        await beat(hub.http, states[state], state=state)
    assert await names(hub, service_name, 5) == {"healthy": 5}
    await beat(hub.http, states["healthy"], state="draining")
    refused = await hub.http.get(path)
    assert_problem(refused, 503, "no_instance")
    assert refused.json()["detail"].endswith("can be called: 2 draining, 1 starting, 1 unhealthy")
    await beat(hub.http, states["healthy"], state="healthy")
    await let_time_pass(hub, service_name, 40)
    assert_problem(await hub.http.get(path), 503, "no_instance")


async def test_environments_do_not_call_each_other(hub: RunningHub, service_name: str) -> None:
    await healthy(hub, service_name, "here", environment="staging")
    assert_problem(await hub.http.get(f"/api/v1/discovery/{service_name}/route"), 503, "no_instance")
    assert await names(hub, service_name, 2, environment="staging") == {"here": 2}


@pytest.mark.parametrize(
    "query",
    [
        {"policy": "fastest"},
        {"policy": "consistent_hash"},
        {"policy": "same_zone"},
        {"policy": "random", "key": "x"},
        {"zone": "eu"},
        {"policy": "consistent_hash", "key": "x" * 2_001},
        {"colour": "red"},
    ],
)
async def test_what_does_not_fit_the_policy_is_refused(
    hub: RunningHub, service_name: str, query: dict[str, str]
) -> None:
    await healthy(hub, service_name, "one")
    answer = await hub.http.get(f"/api/v1/discovery/{service_name}/route", params=query)
    assert_problem(answer, 422, "invalid_request")


async def test_a_token_routes_within_its_scope(hub: RunningHub, service_name: str) -> None:
    await healthy(hub, service_name, "one")
    path = f"/api/v1/discovery/{service_name}/route"
    for fields in ({"verbs": ["register"]}, {"services": ["other-*"]}, {"environments": ["staging"]}):
        async with hub.client(await hub.new_token(**fields)) as client:
            assert_problem(await client.get(path), 403, "forbidden")
    assert_problem(await hub.http.get("/api/v1/discovery/_global/route"), 422, "invalid_name")


async def test_the_old_prefix_routes_too(hub: RunningHub, service_name: str) -> None:
    await healthy(hub, service_name, "one")
    answer = await hub.http.get(f"/api/discovery/{service_name}/route")
    assert answer.status_code == 200
    assert answer.headers["deprecation"]
