"""The client and a real hub, over HTTP alone."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from central_hub.embedded import Endpoints
from central_hub_client import ConfigClient, Source
from tests.conftest import RunningHub, create_database, hub_settings, running_hub
from tests.wire.waiting import until

ClientOf = Callable[..., ConfigClient]


async def put(hub: RunningHub, service: str, config: dict[str, Any], environment: str = "default") -> int:
    """Write a whole document; returns the revision."""
    body = {"service": service, "environment": environment, "config": config, "allow": ["removals", "delta"]}
    answer = await hub.http.post("/api/v1/config/update", json=body)
    assert answer.status_code == 200, answer.text
    revision: int = answer.json()["revision"]
    return revision


async def delete(hub: RunningHub, service: str) -> None:
    etag = (await hub.http.get(f"/api/v1/config/{service}", params={"own": "true"})).headers["ETag"]
    answer = await hub.http.delete(f"/api/v1/config/{service}", headers={"If-Match": etag})
    assert answer.status_code == 200, answer.text


async def test_an_update_arrives_by_events(hub: RunningHub, client_of: ClientOf, service_name: str) -> None:
    await put(hub, service_name, {"operational": {"batch_size": 1}})
    client = client_of(hub.url, service_name, token=hub.token)
    await client.init_async()
    assert client.status.source is Source.HUB
    lags = []
    for size in range(2, 12):
        await put(hub, service_name, {"operational": {"batch_size": size}})
        lags.append(await until(lambda size=size: client.get_value("operational.batch_size") == size))  # type: ignore[misc]
    print(f"by events: {max(lags) * 1000:.0f} ms at worst after the acknowledgement of 10 updates")
    assert max(lags) < 1
    assert (client.status.stale, client.status.error) == (False, None)


async def test_what_is_written_for_everybody_arrives(hub: RunningHub, client_of: ClientOf, service_name: str) -> None:
    await put(hub, service_name, {"own": 1})
    client = client_of(hub.url, service_name, token=hub.token)
    await client.init_async()
    await put(hub, "_global", {"log_level": service_name})
    await until(lambda: client.get_value("log_level") == service_name)
    assert client.get_value("own") == 1


async def test_an_environment_hears_of_the_one_it_inherits_from(
    hub: RunningHub, client_of: ClientOf, service_name: str
) -> None:
    await put(hub, service_name, {"n": 1, "m": 1})
    client = client_of(hub.url, service_name, token=hub.token, environment="staging")
    await client.init_async()
    assert client.get_value("n") == 1
    await put(hub, service_name, {"n": 2, "m": 2})
    await until(lambda: client.get_value("n") == 2)
    await put(hub, service_name, {"n": 3}, environment="staging")
    await until(lambda: client.get_value("n") == 3)
    assert client.get_value("m") == 2


async def test_a_service_that_is_not_there_yet_is_heard_of_when_it_is(
    hub: RunningHub, client_of: ClientOf, service_name: str
) -> None:
    client = client_of(hub.url, service_name, token=hub.token)
    await client.init_async()
    assert (client.status.source, client.status.error_code) == (Source.DEFAULTS, "not_found")
    await put(hub, service_name, {"batch_size": 3})
    await until(lambda: client.get_value("batch_size") == 3)
    await until(lambda: client.status.error is None)


async def test_a_deletion_leaves_the_safe_defaults_and_a_new_document_takes_their_place(
    hub: RunningHub, client_of: ClientOf, service_name: str
) -> None:
    await put(hub, service_name, {"batch_size": 3})
    client = client_of(hub.url, service_name, token=hub.token)
    await client.init_async()
    await delete(hub, service_name)
    await until(lambda: client.get_value("batch_size") == 10)
    await put(hub, service_name, {"batch_size": 4})
    await until(lambda: client.get_value("batch_size") == 4)


async def test_what_was_deleted_while_a_client_was_away_is_gone_when_it_is_back(
    hub: RunningHub, client_of: ClientOf, service_name: str
) -> None:
    await put(hub, service_name, {"batch_size": 3})
    async with client_of(hub.url, service_name, token=hub.token):
        pass
    await delete(hub, service_name)
    client = client_of(hub.url, service_name, token=hub.token)
    await client.init_async()
    await until(lambda: client.get_value("batch_size") == 10)


async def test_read_your_write(hub: RunningHub, client_of: ClientOf, service_name: str) -> None:
    client = client_of(hub.url, service_name, token=hub.token)
    await client.init_async()
    for n in range(5):
        await put(hub, service_name, {"n": n})
        assert (await client.get_config(force_refresh=True))["n"] == n


async def test_a_revoked_token_takes_no_configuration_away(
    hub: RunningHub, client_of: ClientOf, service_name: str
) -> None:
    await put(hub, service_name, {"batch_size": 3})
    body = {"name": "reader", "verbs": ["read"], "services": [service_name], "environments": ["*"]}
    token = (await hub.http.post("/api/v1/tokens", json=body)).json()
    client = client_of(hub.url, service_name, token=token["token"])
    await client.init_async()
    assert client.get_value("batch_size") == 3
    assert (await hub.http.delete(f"/api/v1/tokens/{token['id']}")).status_code < 300
    await until(lambda: client.status.error_code == "unauthenticated")
    assert (client.get_value("batch_size"), client.status.revision is not None) == (3, True)


async def test_a_token_for_other_services_is_told_apart_from_a_missing_one(
    hub: RunningHub, client_of: ClientOf, service_name: str
) -> None:
    await put(hub, service_name, {"batch_size": 3})
    client = client_of(hub.url, service_name, token=await hub.new_token(services=["other-*"]))
    await client.init_async()
    assert client.status.error_code == "forbidden"


async def test_the_client_survives_a_restart_of_the_hub(
    servers: Endpoints, tmp_path: Path, client_of: ClientOf, service_name: str
) -> None:
    settings = hub_settings(servers, await create_database(servers), tmp_path / "hub")
    async with running_hub(settings) as hub:
        await put(hub, service_name, {"n": 1})
        client = client_of(hub.url, service_name, token=hub.token)
        await client.init_async()
        port = int(hub.url.rpartition(":")[2])
    await until(lambda: client.status.error_code == "unreachable")
    assert client.get_value("n") == 1
    async with running_hub(settings.model_copy(update={"port": port})) as hub:
        revision = await put(hub, service_name, {"n": 2})
        took = await until(lambda: client.get_value("n") == 2, within=35)
        print(f"heard {took:.1f} s after the write to a hub that had just come back")
        await until(lambda: client.status.error is None)
        assert client.status.revision == revision


async def test_a_hub_that_was_set_up_anew_is_followed_although_its_revisions_are_lower(
    start_hub: Callable[..., Awaitable[RunningHub]], client_of: ClientOf, service_name: str, tmp_path: Path
) -> None:
    first, second = await start_hub(), await start_hub()
    for n in range(5):
        await put(first, service_name, {"n": n})
    await put(second, service_name, {"n": 100})
    async with client_of(first.url, service_name, token=first.token) as client:
        assert client.status.revision == 5
    async with client_of(second.url, service_name, token=second.token) as client:
        assert (client.get_value("n"), client.status.revision) == (100, 1)


async def test_two_replicas_in_turn_never_take_a_client_back(
    servers: Endpoints, start_hub: Callable[..., Awaitable[RunningHub]], client_of: ClientOf, service_name: str
) -> None:
    database = await create_database(servers)
    replicas = [await start_hub(database), await start_hub(database)]
    token = await replicas[0].new_token()
    seen: list[int] = []
    for turn in range(8):
        revision = await put(replicas[turn % 2], service_name, {"n": turn})
        other = replicas[(turn + 1) % 2]
        client = client_of(other.url, service_name, token=token)
        client.on_config_update(lambda change: seen.append(change.new["n"]))
        await client.init_async()
        await until(lambda: client.status.revision == revision)  # noqa: B023 - awaited within the turn
        await client.shutdown()
    assert seen == sorted(seen)


async def test_many_writes_at_once_end_with_the_last(hub: RunningHub, client_of: ClientOf, service_name: str) -> None:
    client = client_of(hub.url, service_name, token=hub.token)
    await client.init_async()
    positions: list[int] = []
    client.on_config_update(lambda change: positions.append(client.status.revision or 0))
    await asyncio.gather(*(put(hub, service_name, {"n": n}) for n in range(40)))
    last = (await hub.http.get(f"/api/v1/config/{service_name}")).json()
    await until(lambda: client.status.revision == last["revision"])
    assert client.get_value("n") == last["config"]["n"]
    assert positions == sorted(positions)
