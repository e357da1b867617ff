"""The registry over HTTP: registering, heartbeats, leases, fencing, and who may speak for whom."""

import asyncio
import time
from typing import Any

import pytest

from tests.conftest import RunningHub
from tests.integration.instances import Incarnation, beat, eventually, instance_path, let_time_pass, listed, register
from tests.integration.test_config_documents import assert_problem

DESCRIPTION = {
    "host": "10.0.0.7",
    "port": 8080,
    "protocol": "http",
    "health_endpoint": "/health",
    "version": "1.4.0",
    "build": "4f2a",
    "capabilities": ["bars", "ticks"],
    "labels": {"team": "data", "app.kubernetes.io/part": "fleet"},
    "metadata": {"nested": {"list": [1, 2.5, None, "x"]}},
    "weight": 3,
    "zone": "eu-1",
}


async def test_an_instance_is_listed_as_it_described_itself(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name, "a.b_c:1@x+y-z", **DESCRIPTION, lease_seconds=60)
    assert made.generation == 1
    assert len(made.secret) >= 43
    [found] = await listed(hub, service_name)
    assert found.items() >= DESCRIPTION.items()
    assert found["service"] == service_name
    assert found["environment"] == "default"
    assert found["instance_id"] == "a.b_c:1@x+y-z"
    assert found["state"] == "starting"
    assert found["lease_seconds"] == 60
    assert made.secret not in str(found)


async def test_an_instance_without_a_name_is_given_one(hub: RunningHub, service_name: str) -> None:
    answers = [await hub.http.post("/api/v1/discovery/register", json={"name": service_name}) for _ in range(2)]
    names = {answer.json()["instance_id"] for answer in answers}
    assert len(names) == 2
    assert {found["instance_id"] for found in await listed(hub, service_name)} == names


async def test_fields_that_the_hub_does_not_know_are_ignored(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name, colour="red", generation=99)
    assert made.generation == 1
    answer = await beat(
        hub.http, made, colour="red", applied={"epoch": 1, "revision": 1, "x": 1}, report={"new": ["/a"]}
    )
    assert answer.status_code == 200, answer.text


async def test_a_heartbeat_starts_an_instance_and_says_how_it_is(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name)
    for told, expected in (({}, "healthy"), ({"state": "draining"}, "draining"), ({}, "draining")):
        answer = await beat(hub.http, made, **told)
        assert answer.status_code == 200
        assert answer.json()["lease_seconds"] == 30
        [found] = await listed(hub, service_name)
        assert found["state"] == expected


async def test_a_lease_runs_out_and_a_heartbeat_revives_it(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name, lease_seconds=1800)
    await beat(hub.http, made)
    for seconds, state in ((1700, "healthy"), (200, "expired"), (3400, "expired")):
        await let_time_pass(hub, service_name, seconds)
        assert [found["state"] for found in await listed(hub, service_name)] == [state]
    assert (await beat(hub.http, made)).status_code == 200
    assert [found["state"] for found in await listed(hub, service_name)] == ["healthy"]
    await let_time_pass(hub, service_name, 6000)
    assert await listed(hub, service_name) == []
    assert_problem(await beat(hub.http, made), 404, "not_found")


async def test_a_lease_runs_out_by_itself(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name, lease_seconds=5)
    await beat(hub.http, made)
    began = time.monotonic()
    assert [found["state"] for found in await listed(hub, service_name)] == ["healthy"]

    async def has_expired() -> bool:
        return [found["state"] for found in await listed(hub, service_name)] == ["expired"]

    await eventually(has_expired)
    assert time.monotonic() - began > 4


async def test_instances_that_fall_silent_at_once_stay_listed_and_called_as_they_were(
    hub: RunningHub, service_name: str
) -> None:
    for name in "abc":
        await beat(hub.http, await register(hub.http, service_name, name, host="10.0.0.7"))
    await let_time_pass(hub, service_name, 60)
    page = (await hub.http.get(f"/api/v1/discovery/{service_name}")).json()
    assert [(found["instance_id"], found["state"], found["kept"]) for found in page["instances"]] == [
        (name, "healthy", True) for name in "abc"
    ]
    assert page["kept"] == [{"service": service_name, "environment": "default", "instances": 3}]
    routed = (await hub.http.get(f"/api/v1/discovery/{service_name}/route")).json()
    assert (routed["instance"]["kept"], routed["fallbacks"]) == (True, ["kept"])
    # Others took their place: those that are still silent have ended.
    for name in "xyz":
        await beat(hub.http, await register(hub.http, service_name, name))
    page = (await hub.http.get(f"/api/v1/discovery/{service_name}")).json()
    assert "".join(found["state"][0] for found in page["instances"]) == "eeehhh"
    assert page["kept"] == []
    routed = (await hub.http.get(f"/api/v1/discovery/{service_name}/route")).json()
    assert (routed["instance"]["kept"], routed["fallbacks"]) == (False, [])


async def test_registering_again_fences_the_old_incarnation(hub: RunningHub, service_name: str) -> None:
    old = await register(hub.http, service_name, version="1")
    new = await register(hub.http, service_name, version="2")
    assert (old.generation, new.generation) == (1, 2)
    assert old.secret != new.secret
    assert_problem(await beat(hub.http, old, state="draining"), 409, "stale_generation")
    assert (await beat(hub.http, new)).status_code == 200
    [found] = await listed(hub, service_name)
    assert (found["version"], found["state"], found["generation"]) == ("2", "healthy", 2)


async def test_a_forged_heartbeat_changes_nothing(hub: RunningHub, service_name: str) -> None:
    victim = await register(hub.http, service_name, "victim")
    other = await register(hub.http, service_name, "other")
    await beat(hub.http, victim, applied={"epoch": 1, "revision": 1})
    [_, before] = await listed(hub, service_name)
    forged = [
        (Incarnation(service_name, "victim", 1, "guessed"), 403, "forbidden"),
        (Incarnation(service_name, "victim", 1, other.secret), 403, "forbidden"),
        (Incarnation(service_name, "victim", 2, victim.secret), 404, "not_found"),
        (Incarnation(service_name, "nobody", 1, victim.secret), 404, "not_found"),
        (Incarnation("svc-elsewhere", "victim", 1, victim.secret), 404, "not_found"),
    ]
    for incarnation, problem_status, code in forged:
        answer = await beat(hub.http, incarnation, state="unhealthy", applied={"epoch": 9, "revision": 9})
        assert_problem(answer, problem_status, code)
        assert victim.secret not in answer.text
    await hub.service.coordination.write()
    await hub.service.coordination.catch_up()
    [_, after] = await listed(hub, service_name)
    assert after == before


async def test_one_name_in_two_environments_is_two_instances(hub: RunningHub, service_name: str) -> None:
    staging = await register(hub.http, service_name, environment="staging")
    default = await register(hub.http, service_name)
    assert (staging.generation, default.generation) == (1, 1)
    assert (await beat(hub.http, staging, state="draining")).status_code == 200
    assert (await beat(hub.http, default)).status_code == 200
    assert {found["environment"]: found["state"] for found in await listed(hub, service_name)} == {
        "staging": "draining",
        "default": "healthy",
    }
    assert len(await listed(hub, service_name, environment="staging")) == 1
    answer = await hub.http.delete(f"{instance_path(service_name)}?environment=staging")
    assert answer.status_code == 204
    assert [found["environment"] for found in await listed(hub, service_name)] == ["default"]


async def test_filters_let_through_what_fits_all_of_them(hub: RunningHub, service_name: str) -> None:
    told = {"gpu": True, "cores": 8, "owner": "data", "at": None, "deep": {"b": 1, "a": 2}}
    await register(
        hub.http, service_name, "a", zone="eu", capabilities=["bars"], labels={"team": "data"}, metadata=told
    )
    b = await register(hub.http, service_name, "b", zone="eu", capabilities=["ticks"], labels={"team": "risk"})
    await register(hub.http, service_name, "c", zone="us", capabilities=["bars"], labels={"team": "data"})
    await beat(hub.http, b)

    async def names(**filters: str) -> str:
        return "".join(found["instance_id"] for found in await listed(hub, service_name, **filters))

    assert await names() == "abc"
    assert await names(zone="eu") == "ab"
    assert await names(capability="bars") == "ac"
    assert await names(state="healthy") == "b"
    assert await names(**{"label.team": "data"}) == "ac"
    assert await names(**{"label.team": "data", "zone": "us"}) == "c"
    assert await names(**{"label.none": "x"}) == ""
    for name, value in (("gpu", "true"), ("cores", "8"), ("owner", "data"), ("at", "null"), ("deep", '{"a":2,"b":1}')):
        assert await names(**{f"metadata.{name}": value}) == "a"
        assert await names(**{f"metadata.{name}": "other"}) == ""
    assert await names(**{"metadata.none": "null"}) == ""
    for wrong in ({"colour": "red"}, {"state": "asleep"}, {"limit": 0}, {"label.team": ["a", "b"]}):
        answer = await hub.http.get(f"/api/v1/discovery/{service_name}", params=wrong)
        assert_problem(answer, 422, "invalid_request")


async def test_lists_come_in_pages(hub: RunningHub, service_name: str) -> None:
    for number in range(5):
        await register(hub.http, service_name, f"i{number}")
    found, cursor = [], None
    while True:
        query = {"limit": "2"} | ({} if cursor is None else {"after": cursor})
        page = (await hub.http.get(f"/api/v1/discovery/{service_name}", params=query)).json()
        found.append([instance["instance_id"] for instance in page["instances"]])
        cursor = page["next"]
        if cursor is None:
            break
    assert found == [["i0", "i1"], ["i2", "i3"], ["i4"]]


async def test_the_whole_list_shows_what_the_token_covers(hub: RunningHub, service_name: str) -> None:
    for service in (f"{service_name}-a", f"{service_name}-b"):
        for environment in ("default", "staging"):
            await register(hub.http, service, environment=environment)
    everything = (await hub.http.get("/api/v1/discovery/")).json()["instances"]
    assert len([found for found in everything if found["service"].startswith(service_name)]) == 4
    token = await hub.new_token(services=[f"{service_name}-a"], environments=["staging"])
    async with hub.client(token) as client:
        seen = (await client.get("/api/v1/discovery/")).json()["instances"]
        assert [(found["service"], found["environment"]) for found in seen] == [(f"{service_name}-a", "staging")]
        assert len((await client.get(f"/api/v1/discovery/{service_name}-a")).json()["instances"]) == 1
        assert_problem(await client.get(f"/api/v1/discovery/{service_name}-b"), 403, "forbidden")


async def test_an_instance_is_described_anew_in_the_parts_that_are_told(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name, **DESCRIPTION)
    answer = await hub.http.put(instance_path(service_name), json={"weight": 0, "labels": {"a": "b"}, "generation": 1})
    assert answer.status_code == 200, answer.text
    [found] = await listed(hub, service_name)
    assert found.items() >= (DESCRIPTION | {"weight": 0, "labels": {"a": "b"}}).items()
    await register(hub.http, service_name)
    stale = await hub.http.put(instance_path(service_name), json={"weight": 5, "generation": 1})
    assert_problem(stale, 409, "stale_generation")
    assert_problem(await hub.http.put(instance_path(service_name, "x"), json={"weight": 5}), 404, "not_found")
    assert_problem(await hub.http.put(instance_path(service_name), json={"weight": -1}), 422, "invalid_request")
    assert made.generation == 1


async def test_a_deregistered_instance_is_gone_and_its_generation_is_not_used_again(
    hub: RunningHub, service_name: str
) -> None:
    old = await register(hub.http, service_name)
    new = await register(hub.http, service_name)
    target = instance_path(service_name)
    # The old process shuts down while the new one runs: it must not take that one along.
    assert_problem(await hub.http.delete(f"{target}?generation={old.generation}"), 409, "stale_generation")
    assert (await hub.http.delete(f"{target}?generation={new.generation}")).status_code == 204
    assert await listed(hub, service_name) == []
    assert_problem(await hub.http.delete(target), 404, "not_found")
    assert_problem(await beat(hub.http, new), 404, "not_found")
    assert (await register(hub.http, service_name)).generation == 3


async def test_no_instance_is_named_like_the_word_that_asks_for_one(hub: RunningHub, service_name: str) -> None:
    refused = await hub.http.post("/api/v1/discovery/register", json={"name": service_name, "instance_id": "route"})
    assert_problem(refused, 422, "invalid_request")


@pytest.mark.parametrize(
    "told",
    [
        {"name": 7},
        {"instance_id": ""},
        {"instance_id": "a/b"},
        {"instance_id": "a\nb"},
        {"instance_id": "x" * 201},
        {"host": "a b"},
        {"host": "x" * 300},
        {"port": 0},
        {"port": 65_536},
        {"port": "80"},
        {"protocol": "HTTP"},
        {"health_endpoint": "/" * 501},
        {"version": "1\n2"},
        {"build": "x" * 129},
        {"capabilities": ["x"] * 65},
        {"labels": {"": "x"}},
        {"labels": {"a": "x" * 201}},
        {"labels": {str(number): "x" for number in range(65)}},
        {"metadata": {"a": "x" * 20_000}},
        {"metadata": {"a": 2**60}},
        {"metadata": ["a"]},
        {"weight": 1_001},
        {"weight": True},
        {"lease_seconds": 4},
        {"lease_seconds": 3_601},
        {"schema": {"a": "x" * 300_000}},
        {"schema": True},
        {"schema_hash": "sha256:x"},
    ],
    ids=lambda told: str(told)[:40],
)
async def test_every_field_of_a_registration_has_its_limits(
    hub: RunningHub, service_name: str, told: dict[str, Any]
) -> None:
    answer = await hub.http.post("/api/v1/discovery/register", json={"name": service_name} | told)
    assert_problem(answer, 422, "invalid_request")
    assert await listed(hub, service_name) == []


@pytest.mark.parametrize(
    "told",
    [
        {"state": "expired"},
        {"state": "asleep"},
        {"generation": 0},
        {"generation": "1"},
        {"applied": {"epoch": 1}},
        {"applied": {"epoch": 1, "revision": -1}},
        {"rejected": {"epoch": 1, "revision": 1, "reason": "x" * 2_001}},
        {"report": {"unknown": "a"}},
        {"report": {"unknown": ["x" * 501]}},
        {"report": {"unread": [str(number) for number in range(1_001)]}},
        {"incarnation_secret": "x" * 201},
    ],
    ids=lambda told: str(told)[:40],
)
async def test_every_field_of_a_heartbeat_has_its_limits(
    hub: RunningHub, service_name: str, told: dict[str, Any]
) -> None:
    made = await register(hub.http, service_name)
    assert_problem(await beat(hub.http, made, **told), 422, "invalid_request")
    assert [found["state"] for found in await listed(hub, service_name)] == ["starting"]


@pytest.mark.parametrize("name", ["_global", "a.b", "a\n", "register", "A", ""])
async def test_only_a_service_can_have_instances(hub: RunningHub, name: str) -> None:
    answer = await hub.http.post("/api/v1/discovery/register", json={"name": name})
    assert_problem(answer, 422, "invalid_name")
    answer = await hub.http.post("/api/v1/discovery/heartbeat", json=Incarnation(name, "x", 1, "s").heartbeat())
    assert_problem(answer, 422, "invalid_name")


@pytest.mark.parametrize("body", [b"{", b'{"name":"a","name":"b"}', b'{"name":"svc","port":NaN}', b"[]"])
async def test_a_body_that_is_not_strict_json_is_refused(hub: RunningHub, body: bytes) -> None:
    for target in ("register", "heartbeat"):
        answer = await hub.http.post(
            f"/api/v1/discovery/{target}", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == (422 if body == b"[]" else 400)
        answer = await hub.http.post(
            f"/api/v1/discovery/{target}", content=b"{}", headers={"Content-Type": "text/plain"}
        )
        assert_problem(answer, 415, "unsupported_media_type")


async def test_instances_are_spoken_for_by_the_verb_register_alone(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name)
    target = instance_path(service_name)
    writes: list[tuple[str, str, Any]] = [
        ("POST", "/api/v1/discovery/register", {"name": service_name}),
        ("POST", "/api/v1/discovery/heartbeat", made.heartbeat()),
        ("PUT", target, {"weight": 1}),
        ("DELETE", target, None),
    ]
    reads = ["/api/v1/discovery/", f"/api/v1/discovery/{service_name}", f"/api/v1/config/status/{service_name}"]
    refused = [
        {"verbs": ["read", "write", "force", "approve"]},
        {"verbs": ["register"], "services": ["other-*"]},
        {"verbs": ["register"], "environments": ["staging"]},
    ]
    for fields in refused:
        async with hub.client(await hub.new_token(**fields)) as client:
            for method, path, body in writes:
                answer = await client.request(method, path, json=body)
                if "environments" in fields and path.endswith("heartbeat"):
                    # It names no environment: what lies beyond the token's is as if it were not there.
                    assert_problem(answer, 404, "not_found")
                else:
                    assert_problem(answer, 403, "forbidden")
    async with hub.client(await hub.new_token(verbs=["write", "register"])) as client:
        for path in reads:
            assert_problem(await client.get(path), 403, "forbidden")
    async with hub.client(await hub.new_token(verbs=["register"], services=["svc-*"])) as client:
        assert (await register(client, service_name)).generation == 2
        for method, path, body in writes[2:]:
            assert (await client.request(method, path, json=body)).is_success


async def test_the_old_prefix_leads_to_the_registry_too(hub: RunningHub, service_name: str) -> None:
    answer = await hub.http.post("/api/discovery/register", json={"name": service_name, "instance_id": "one"})
    assert answer.status_code == 200
    made = Incarnation(service_name, "one", answer.json()["generation"], answer.json()["incarnation_secret"])
    old = "/api/discovery"
    answers = [
        answer,
        await hub.http.post(f"{old}/heartbeat", json=made.heartbeat(state="healthy")),
        await hub.http.put(f"{old}/{service_name}/one", json={"version": "2"}),
    ]
    for path in (f"{service_name}", f"{service_name}/route"):
        answers.append(await hub.http.get(f"{old}/{path}"))
        assert answers[-1].json() == (await hub.http.get(f"/api/v1/discovery/{path}")).json()
    answers.append(await hub.http.get(f"{old}/", params={"limit": 1}))
    answers.append(await hub.http.delete(f"{old}/{service_name}/one"))
    for answer in answers:
        assert answer.is_success, answer.text
        assert answer.headers["deprecation"]
        successor = str(answer.request.url.raw_path, "ascii").partition("?")[0].replace("/api/", "/api/v1/", 1)
        assert answer.headers["link"] == f'<{successor}>; rel="successor-version"'
    assert await listed(hub, service_name) == []


async def test_registrations_are_logged_and_heartbeats_and_secrets_are_not(
    hub: RunningHub, service_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await register(hub.http, service_name)
    await beat(hub.http, made)
    await beat(hub.http, Incarnation(service_name, "one", 1, "guessed-secret"))
    logged = "".join(capsys.readouterr())
    assert "instance_registered" in logged
    assert made.secret not in logged
    assert "guessed-secret" not in logged
    assert len([line for line in logged.splitlines() if "/discovery/heartbeat" in line]) == 1  # the one refused


async def test_a_thousand_instances_register_and_are_counted(hub: RunningHub, service_name: str) -> None:
    limit = asyncio.Semaphore(32)

    async def one(number: int) -> Incarnation:
        async with limit:
            return await register(hub.http, service_name, f"i-{number:04}", labels={"n": str(number)})

    made = await asyncio.gather(*(one(number) for number in range(1_000)))
    assert {incarnation.generation for incarnation in made} == {1}
    assert len({incarnation.secret for incarnation in made}) == 1_000
    assert len(await listed(hub, service_name)) == 1_000
    metrics = (await hub.http.get("/metrics")).text
    [line] = [line for line in metrics.splitlines() if line.startswith("central_hub_instances ")]
    assert float(line.split()[1]) >= 1_000
