"""A manager inside what services use: FastAPI, pydantic-settings, Prometheus, OpenTelemetry."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, Request
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from central_hub_client import ConfigManager
from central_hub_client.base_service import BaseService
from central_hub_client.integrations.fastapi_app import SnapshotOf, add_health_routes, lifespan
from central_hub_client.integrations.opentelemetry import instrument
from central_hub_client.integrations.prometheus import ConfigCollector
from central_hub_client.integrations.settings_source import HubSettingsSource
from central_hub_client.observation import observe
from central_hub_client.testing import FakeHub


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)
    batch_size: int = 1


@pytest.fixture
def config(fake_hub: FakeHub) -> Iterator[ConfigManager[Settings]]:
    manager = ConfigManager("orders", Settings, config_dir=None)
    yield manager
    manager.stop()


@asynccontextmanager
async def talking_to(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://app") as http,
    ):
        yield http


async def test_a_request_sees_one_configuration_from_its_beginning_to_its_end(
    fake_hub: FakeHub, config: ConfigManager[Settings]
) -> None:
    one = Annotated[Settings, Depends(SnapshotOf(config))]
    other = Annotated[Settings, Depends(SnapshotOf(config))]

    async def change_it(before: one) -> Settings:
        fake_hub.set("orders", {"batch_size": before.batch_size + 1})
        await asyncio.to_thread(fake_hub.wait_until_applied, config)
        return before

    app = FastAPI(lifespan=lifespan(config))

    @app.get("/")
    async def read(before: Annotated[Settings, Depends(change_it)], after: other) -> dict[str, int]:
        return {"before": before.batch_size, "after": after.batch_size, "now": config.current.batch_size}

    fake_hub.set("orders", {"batch_size": 10})
    async with talking_to(app) as http:
        assert (await http.get("/")).json() == {"before": 10, "after": 10, "now": 11}
        assert (await http.get("/")).json() == {"before": 11, "after": 11, "now": 12}
    assert not config._keeper.is_running


async def test_a_service_and_the_apps_own_lifespan_run_inside_each_other(
    fake_hub: FakeHub, config: ConfigManager[Settings]
) -> None:
    fake_hub.set("orders", {"batch_size": 10})
    service = BaseService(config)

    @asynccontextmanager
    async def own(_: Any) -> AsyncIterator[dict[str, int]]:
        yield {"at_start": config.current.batch_size}

    app = FastAPI(lifespan=lifespan(service, own))
    add_health_routes(app, service)

    @app.get("/")
    async def read(request: Request) -> int:
        return int(request.state.at_start)

    before = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://app")
    assert (await before.get("/health/ready")).status_code == 503
    await before.aclose()
    async with app.router.lifespan_context(app):
        assert service.readiness.ok
        async with talking_to_started(app, {"at_start": 10}) as http:
            assert (await http.get("/")).json() == 10
            ready = await http.get("/health/ready")
            assert (ready.status_code, ready.json()) == (200, {"ok": True, "reasons": []})
            service.drain()
            ready = await http.get("/health/ready")
            assert (ready.status_code, ready.json()["reasons"]) == (503, ["the service is draining"])
            assert (await http.get("/health/live")).status_code == 200


@asynccontextmanager
async def talking_to_started(app: FastAPI, state: dict[str, Any]) -> AsyncIterator[httpx2.AsyncClient]:
    """With the state that a server would hand on from the lifespan."""

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {"state": dict(state)}, receive, send)

    transport = httpx2.ASGITransport(app=with_state)
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as http:
        yield http


def test_the_hub_is_a_source_of_pydantic_settings(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    class Operational(BaseModel):
        model_config = ConfigDict(extra="forbid")
        batch_size: int = 1
        label: str = "default"

    class OwnSettings(BaseSettings):
        model_config = {"env_nested_delimiter": "__"}
        operational: Operational = Operational()
        database_url: str = "none"

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, HubSettingsSource(settings_cls, manager)

    monkeypatch.setenv("DATABASE_URL", "postgresql://db/orders")
    monkeypatch.setenv("OPERATIONAL__LABEL", "from the environment")
    document = {"operational": {"batch_size": 5, "label": "hub", "of_the_next_build": 1}, "new": {"a": 1}}
    fake_hub.set("orders", document)
    with ConfigManager("orders", config_dir=None) as manager:
        settings = OwnSettings()
        assert settings.operational == Operational(batch_size=5, label="from the environment")
        assert settings.database_url == "postgresql://db/orders"
        fake_hub.set("orders", {"operational": {"batch_size": 6}})
        fake_hub.wait_until_applied(manager)
        assert OwnSettings().operational.batch_size == 6
        assert settings.operational.batch_size == 5
    typed = ConfigManager("orders", Settings, config_dir=None)
    with pytest.raises(TypeError, match="no schema"):
        HubSettingsSource(OwnSettings, typed)()


def test_what_happens_is_counted(fake_hub: FakeHub, config: ConfigManager[Settings]) -> None:
    before = observe(config)
    assert (before.fetches, before.updates, before.revision, before.staleness_seconds) == (0, 0, None, None)
    assert before.is_stale
    fake_hub.set("orders", {"batch_size": 10})
    config.start(deadline=20)
    seen = observe(config)
    assert (seen.service, seen.environment, seen.revision, seen.is_stale) == ("orders", "default", 1, False)
    assert seen.fetches >= 1
    assert (seen.updates, seen.fallbacks, seen.refused, seen.failures) == (1, 0, 0, 0)
    assert seen.staleness_seconds is not None
    assert 0 <= seen.staleness_seconds < 60
    fake_hub.set("orders", {"batch_size": "many"})
    fake_hub.wait_until_applied(config)
    assert (observe(config).updates, observe(config).refused, observe(config).revision) == (2, 1, 1)


def test_a_start_without_the_hub_is_counted_as_a_fallback(
    fake_hub: FakeHub, config: ConfigManager[Settings], tmp_path: Path
) -> None:
    fake_hub.set("orders", {"batch_size": 10})
    with ConfigManager("orders", Settings, config_dir=None):
        pass
    fake_hub.stop()
    config.start(deadline=20)
    seen = observe(config)
    assert config.current.batch_size == 10
    assert (seen.fallbacks, seen.updates, seen.fetches, seen.revision) == (1, 0, 0, 1)
    assert seen.failures >= 1


def test_prometheus_scrapes_every_measure(fake_hub: FakeHub, config: ConfigManager[Settings]) -> None:
    registry = CollectorRegistry()
    registry.register(ConfigCollector(config))
    fake_hub.set("orders", {"batch_size": 10})
    config.start(deadline=20)
    labels = {"environment": "default", "service": "orders"}

    def value(name: str) -> float | None:
        return registry.get_sample_value(f"central_hub_client_{name}", labels)

    assert value("revision") == 1
    assert value("updates_total") == 1
    assert value("refused_total") == value("fallbacks_total") == value("failures_total") == value("stale") == 0
    assert (value("fetches_total") or 0) >= 1
    assert value("staleness_seconds") is not None
    assert b"# HELP central_hub_client_revision The revision applied." in generate_latest(registry)


def test_opentelemetry_collects_every_measure(fake_hub: FakeHub, config: ConfigManager[Settings]) -> None:
    reader = InMemoryMetricReader()
    instrument(config, meter_provider=MeterProvider(metric_readers=[reader]))
    fake_hub.set("orders", {"batch_size": 10})
    config.start(deadline=20)
    found: dict[str, Any] = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            found |= {metric.name: metric.data.data_points[0] for metric in scope.metrics}
    values = {name.removeprefix("central_hub.client."): point.value for name, point in found.items()}
    assert values.keys() == set("fetches failures updates fallbacks refused staleness revision stale".split())
    assert (values["revision"], values["updates"], values["refused"], values["stale"]) == (1, 1, 0, 0)
    assert dict(found["central_hub.client.revision"].attributes) == {"service": "orders", "environment": "default"}
