"""A manager of a real hub: from a write to the attribute that a service reads, by events and by NATS."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from central_hub.embedded import Endpoints
from central_hub_client import ConfigClient, ConfigManager, Source
from tests.conftest import RunningHub
from tests.wire.waiting import until


class Operational(BaseModel):
    model_config = ConfigDict(frozen=True)
    batch_size: int = 100


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)
    operational: Operational = Operational()


async def store(hub: RunningHub, service: str, config: dict[str, Any], **fields: Any) -> int:
    body = {"service": service, "config": config, "mode": "merge"} | fields
    answer = await hub.http.post("/api/v1/config/update", json=body)
    assert answer.status_code == 200, answer.text
    revision: int = answer.json()["revision"]
    return revision


@pytest.mark.parametrize("push", ["events", "nats"])
async def test_a_write_arrives_where_the_service_reads(
    hub: RunningHub, servers: Endpoints, service_name: str, tmp_path: Path, push: str
) -> None:
    first = await store(hub, service_name, {"operational": {"batch_size": 150}})
    nats: dict[str, Any] = {"nats_url": servers.nats_client_url} if push == "nats" else {}
    client = ConfigClient(service_name, hub.url, token=hub.token, cache_dir=tmp_path, **nats)
    async with ConfigManager(service_name, Settings, hub=client, config_dir=None) as manager:
        assert manager.current.operational.batch_size == 150
        assert (manager.status.source, manager.status.revision) == (Source.HUB, first)
        second = await store(hub, service_name, {"operational": {"batch_size": 200, "later": True}})
        await until(lambda: manager.current.operational.batch_size == 200)
        assert manager.status.revision == second
        assert manager.report().unknown == ("operational.later",)
        third = await store(hub, service_name, {"operational": {"batch_size": "many"}}, allow=["contract"])
        await until(lambda: manager.status.rejected is not None)
        assert manager.status.rejected is not None
        assert manager.status.rejected.revision == third
        assert manager.current.operational.batch_size == 200
        rolled_back = await hub.http.post(f"/api/v1/config/rollback/{service_name}", json={"revision": second})
        await until(lambda: manager.status.revision == rolled_back.json()["revision"])
        assert manager.status.rejected is None


async def test_an_environment_has_its_own_values(
    hub: RunningHub, service_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(hub, service_name, {"operational": {"batch_size": 1}})
    await store(hub, service_name, {"operational": {"batch_size": 2}}, environment="staging")
    monkeypatch.setenv("CENTRAL_HUB_URL", hub.url)
    monkeypatch.setenv("CENTRAL_HUB_TOKEN", hub.token)
    monkeypatch.setenv("CENTRAL_HUB_CACHE_DIR", str(tmp_path))
    for environment, size in (("default", 1), ("staging", 2)):
        monkeypatch.setenv("CENTRAL_HUB_ENVIRONMENT", environment)
        async with ConfigManager(service_name, Settings, config_dir=None) as manager:
            assert (manager.environment, manager.current.operational.batch_size) == (environment, size)
