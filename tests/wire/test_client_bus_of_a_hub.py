"""The client, a real hub and its real bus."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from central_hub.embedded import Endpoints
from central_hub_client import ConfigClient, Source
from tests.conftest import RunningHub, create_database, hub_settings, running_hub
from tests.wire.test_client_events import delete, put
from tests.wire.waiting import until

ClientOf = Callable[..., ConfigClient]


async def settled(client: ConfigClient, hub: RunningHub) -> ConfigClient:
    """Started, and heard of nothing by events for longer than a bus that is silent is waited for."""
    await client.init_async()
    await asyncio.sleep(6)
    assert watchers(hub) == 0
    return client


def watchers(hub: RunningHub) -> float:
    value = hub.service.metrics.registry.get_sample_value("central_hub_watchers")
    assert value is not None
    return value


async def test_updates_arrive_over_the_bus_alone(
    hub: RunningHub, servers: Endpoints, client_of: ClientOf, service_name: str
) -> None:
    await put(hub, service_name, {"n": 0})
    client = await settled(client_of(hub.url, service_name, token=hub.token, nats_url=servers.nats_client_url), hub)
    lags = []
    for n in range(1, 11):
        await put(hub, service_name, {"n": n})
        lags.append(await until(lambda n=n: client.get_value("n") == n))  # type: ignore[misc]
    print(f"over NATS: {max(lags) * 1000:.0f} ms at worst after the acknowledgement of 10 updates")
    assert max(lags) < 1
    await put(hub, "_global", {"level": service_name})
    await until(lambda: client.get_value("level") == service_name)
    large = {"n": 11, "fill": {f"key-{k}": "x" * 1000 for k in range(600)}}  # too large to be pushed
    await put(hub, service_name, large)
    await until(lambda: client.get_value("n") == 11)
    assert watchers(hub) == 0
    assert (client.status.source, client.status.stale) == (Source.HUB, False)


async def test_an_environment_that_inherits_everything_hears_over_the_bus(
    hub: RunningHub, servers: Endpoints, client_of: ClientOf, service_name: str
) -> None:
    await put(hub, service_name, {"n": 0})
    client = client_of(
        hub.url, service_name, token=hub.token, nats_url=servers.nats_client_url, environment="inheriting"
    )
    await settled(client, hub)
    await put(hub, service_name, {"n": 1})
    await until(lambda: client.get_value("n") == 1)
    assert watchers(hub) == 0


async def test_what_was_deleted_while_a_client_was_away_is_gone_when_it_is_back(
    hub: RunningHub, servers: Endpoints, client_of: ClientOf, service_name: str
) -> None:
    await put(hub, service_name, {"batch_size": 3})
    async with client_of(hub.url, service_name, token=hub.token):
        pass
    await delete(hub, service_name)
    client = client_of(hub.url, service_name, token=hub.token, nats_url=servers.nats_client_url)
    await client.init_async()
    await until(lambda: client.get_value("batch_size") == 10)


async def test_a_new_instance_starts_with_the_hub_dead_from_what_the_bus_keeps(
    servers: Endpoints, tmp_path: Path, client_of: ClientOf, service_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = hub_settings(servers, await create_database(servers), tmp_path / "hub")
    async with running_hub(settings) as hub:
        await put(hub, service_name, {"n": 1})
        await put(hub, service_name, {"n": 2})
        url = hub.url
    key = settings.signing_key_path.with_suffix(".pub").read_text().strip()
    monkeypatch.setenv("CENTRAL_HUB_TRUSTED_KEYS", key)
    client = client_of(url, service_name, nats_url=servers.nats_client_url)
    await client.init_async()
    assert (client.get_value("n"), client.status.source, client.status.revision) == (2, Source.STREAM, 2)
