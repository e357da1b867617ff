"""What services are promised of the library: names, arguments, settings and words, used as they are documented."""

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import central_hub_client
from central_hub_client import ConfigClient, ConfigManager, Source, sources
from central_hub_client.base_service import BaseService
from central_hub_client.testing import FakeHub
from tests.wire.waiting import until

SERVICE = "polygon-historical-downloader"


class Operational(BaseModel, frozen=True):
    batch_size: int = 100


class Settings(BaseModel, frozen=True):
    operational: Operational = Operational()
    features: dict[str, bool] = {}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("CENTRAL_HUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "TOKEN", "NATS_URL", "ENVIRONMENT", "TRUSTED_KEYS", "SEED_FILE"):
        monkeypatch.delenv(f"CENTRAL_HUB_{name}", raising=False)
    hub = FakeHub(token="the-token")
    hub.set(SERVICE, {"operational": {"batch_size": 150}, "features": {"enable_auto_backfill": True}})
    hub.start()
    yield hub
    hub.stop()


def test_what_is_imported_from_the_package_itself() -> None:
    assert set(central_hub_client.__all__) >= {
        "CentralHubError",
        "ConfigChange",
        "ConfigClient",
        "ConfigManager",
        "ConfigSource",
        "Explanation",
        "IncompleteConfig",
        "InstanceDescription",
        "HealthState",
        "Report",
        "SettingsChange",
        "Source",
        "Status",
    }
    assert all(hasattr(central_hub_client, name) for name in central_hub_client.__all__)


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            ConfigClient,
            "service_name central_hub_url *safe_defaults *cache_ttl_seconds *enable_nats_updates *nats_url *token"
            " *environment *cache_dir *instance_id *labels",
        ),
        (ConfigClient.init_async, "self deadline_seconds"),
        (ConfigClient.get_config, "self force_refresh"),
        (ConfigClient.get_value, "self path default"),
        (ConfigClient.on_config_update, "self callback"),
        (ConfigClient.shutdown, "self"),
        (
            ConfigManager,
            "service_name schema *hub *strict *config_dir *central_hub_url *token *environment *cache_dir *instance_id"
            " *labels *register",
        ),
        (ConfigManager.start, "self deadline"),
        (ConfigManager.start_async, "self deadline"),
        (ConfigManager.stop, "self"),
        (ConfigManager.stop_async, "self"),
        (ConfigManager.get, "self path default"),
        (ConfigManager.section, "self path"),
        (ConfigManager.explain, "self path"),
        (ConfigManager.report, "self"),
        (ConfigManager.is_enabled, "self feature"),
        (ConfigManager.add_source, "self source priority"),
        (ConfigManager.override, "self values"),
        (ConfigManager.changes, "self pattern"),
        (ConfigManager.on_change, "self pattern"),
        (ConfigManager.on_config_update, "self callback pattern"),
        (ConfigManager.report_state, "self state"),
        (BaseService, "config *drain_seconds"),
        (BaseService.add, "self part *name *start_seconds *stop_seconds"),
    ],
)
def test_arguments_have_the_names_that_services_use(function: Callable[..., Any], parameters: str) -> None:
    """A star: by name only. There may be more, as long as nobody has to give them."""
    found = inspect.signature(function).parameters.values()
    spelled = {("*" if one.kind is one.KEYWORD_ONLY else "") + one.name: one for one in found}
    promised = parameters.split()
    assert [name for name in spelled if name in promised] == promised
    assert all(one.default is not one.empty for name, one in spelled.items() if name not in promised)


def test_the_words_and_numbers_that_are_documented() -> None:
    assert {str(source) for source in Source} == {"hub", "last_known_good", "stream", "seed", "files", "defaults"}
    assert inspect.signature(ConfigClient).parameters["cache_ttl_seconds"].default == 300
    assert inspect.signature(ConfigManager.add_source).parameters["priority"].default == 45
    assert (
        sources.ENVIRONMENT_PRIORITY,
        sources.HUB_PRIORITY,
        sources.ENVIRONMENT_FILE_PRIORITY,
        sources.SERVICE_FILE_PRIORITY,
        sources.DEFAULT_FILE_PRIORITY,
    ) == (100, 60, 50, 40, 10)


async def test_a_client_is_used_as_documented(hub: FakeHub) -> None:
    client = ConfigClient(
        SERVICE,
        central_hub_url=hub.url,
        safe_defaults={"operational": {"retries": 3}},
        cache_ttl_seconds=300,
        token="the-token",
        environment="default",
        instance_id="one",
        labels={"zone": "a"},
    )
    await client.init_async()
    config = await client.get_config()
    assert config["operational"] == {"batch_size": 150, "retries": 3}
    told: list[Any] = []
    client.on_config_update(told.append)

    async def also(change: Any) -> None:
        told.append(change)

    client.on_config_update(also)
    hub.set(SERVICE, {"operational": {"batch_size": 200}})
    assert (await client.get_config(force_refresh=True))["operational"]["batch_size"] == 200
    assert client.get_value("operational.batch_size", 100) == 200
    assert client.get_value("operational.nothing", 100) == 100
    await until(lambda: len(told) == 2)
    for change in told:
        assert change.old["operational"]["batch_size"] == 150
        assert change.new["operational"]["batch_size"] == 200
        assert change.changed == ("features.enable_auto_backfill", "operational.batch_size")
    await client.shutdown()

    manager = ConfigManager(SERVICE, schema=Settings, hub=client)
    async with manager:
        assert manager.current.operational.batch_size == 200


async def test_a_manager_is_used_as_documented(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CENTRAL_HUB_URL", hub.url)
    monkeypatch.setenv("CENTRAL_HUB_TOKEN", "the-token")
    manager = ConfigManager(SERVICE, schema=Settings, hub=None)

    class Own:
        name = "own"

        def load(self) -> dict[str, Any]:
            return {"operational": {"batch_size": 45}}

    manager.add_source(Own(), priority=45)
    manager.start(deadline=20.0)
    try:
        assert manager.current.operational.batch_size == 150
        assert manager.get("operational.batch_size", 100) == manager["operational.batch_size"] == 150
        assert manager.is_enabled("enable_auto_backfill")
        status = manager.status
        assert (status.source, status.revision, status.stale, status.error) == (Source.HUB, 1, False, None)
        assert status.age_seconds is not None
        found = manager.explain("operational.batch_size")
        assert (found.value, found.layer, found.place) == (150, "hub", "revision 1.1 by fake-hub")
        assert [(origin.layer, origin.value) for origin in found.hidden] == [("own", 45)]
        with manager.override({"operational.batch_size": 1}):
            assert manager.current.operational.batch_size == 1
        changes = manager.changes("operational.**")
        first = asyncio.create_task(anext(aiter(changes)))
        await asyncio.sleep(0)  # it listens from its first step on
        hub.set(SERVICE, {"operational": {"batch_size": 7}})
        change = await first
        assert (change.new.operational.batch_size, change.revision) == (7, 2)
        await changes.aclose()
    finally:
        manager.stop()


async def test_what_is_left_out_comes_from_the_environment(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = tmp_path / "seed.json"
    monkeypatch.setenv("CENTRAL_HUB_URL", hub.url)
    monkeypatch.setenv("CENTRAL_HUB_TOKEN", "the-token")
    monkeypatch.setenv("CENTRAL_HUB_ENVIRONMENT", "staging")
    hub.set(SERVICE, {"operational": {"batch_size": 8}}, environment="staging")
    async with ConfigManager(SERVICE, Settings) as manager:
        assert (manager.environment, manager.current.operational.batch_size) == ("staging", 8)
        held = hub.current(SERVICE, "staging")
    assert held is not None
    assert list((tmp_path / "cache").rglob("staging"))
    # A seed counts where there is nothing better, as in an image that starts for the first time.
    seed.write_text(json.dumps(held.to_json()))
    monkeypatch.setenv("CENTRAL_HUB_SEED_FILE", str(seed))
    monkeypatch.setenv("CENTRAL_HUB_CACHE_DIR", str(tmp_path / "another"))
    hub.stop()
    async with ConfigManager(SERVICE, Settings) as manager:
        assert (manager.status.source, manager.current.operational.batch_size) == (Source.SEED, 8)


async def test_a_manager_names_its_instance_as_told(tmp_path: Path) -> None:
    manager = ConfigManager(
        SERVICE,
        Settings,
        central_hub_url="http://127.0.0.1:1",
        cache_dir=tmp_path,
        instance_id="host-7",
        labels={"zone": "a"},
    )
    client = manager._keeper.client
    assert client is not None
    assert (client.instance_id, client.labels) == ("host-7", {"zone": "a"})
