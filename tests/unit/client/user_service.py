"""A service as its author types it, for type checkers to read: `test_typed_code.py`. It is never run."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, assert_type

from fastapi import Depends, FastAPI
from pydantic import BaseModel, SecretStr

from central_hub_client import (
    ConfigChange,
    ConfigClient,
    ConfigManager,
    Explanation,
    InstanceDescription,
    SettingsChange,
)
from central_hub_client.base_service import BaseService
from central_hub_client.integrations.fastapi_app import SnapshotOf, add_health_routes, lifespan


class Operational(BaseModel, frozen=True):
    batch_size: int = 100
    password: SecretStr = SecretStr("")


class Settings(BaseModel, frozen=True):
    operational: Operational = Operational()


@dataclass(frozen=True)
class Small:
    retries: int = 3


config = ConfigManager("orders", Settings, register=InstanceDescription(host="10.0.0.7", port=8080))
small = ConfigManager("orders", schema=Small)
plain = ConfigManager("orders")


@config.on_change("operational.**")
def resize(change: SettingsChange[Settings]) -> None:
    assert_type(change.new.operational.batch_size, int)
    assert_type(change.revision, int | None)


@config.on_change()
async def follow(change: SettingsChange[Settings]) -> None:
    assert_type(change.changed, tuple[str, ...])


def read() -> None:
    assert_type(config.current, Settings)
    assert_type(config.current.operational.batch_size, int)
    assert_type(config.current.operational.password.get_secret_value(), str)
    assert_type(small.current.retries, int)
    assert_type(plain.current, Mapping[str, Any])
    assert_type(config.is_enabled("backfill"), bool)
    assert_type(config.status.revision, int | None)
    assert_type(config.explain("operational.batch_size"), Explanation)
    assert_type(config.explain(), dict[str, Explanation])
    assert_type(config.report().unread, tuple[str, ...])
    stop = config.on_config_update(lambda change: print(change.new.operational.batch_size), "operational.*")
    stop()
    with config.override({"operational.batch_size": 1}), config as running:
        assert_type(running, ConfigManager[Settings])


class Pool:
    async def start(self) -> None:
        self.size = config.current.operational.batch_size

    def stop(self) -> None:
        self.size = 0

    def why_unready(self) -> str | None:
        return None if self.size else "the pool is empty"


class Orders(BaseService[Settings]):
    def __init__(self) -> None:
        super().__init__(config, drain_seconds=20)
        self.pool = self.add(Pool(), start_seconds=5)

    async def work(self) -> None:
        async for change in self.config.changes("operational.**"):
            assert_type(change, SettingsChange[Settings])
            assert_type(self.pool, Pool)
        while not self.draining.is_set():
            await self.pause(self.config.current.operational.batch_size)


@asynccontextmanager
async def within(app: FastAPI) -> AsyncGenerator[None, None]:
    print(app.title)
    yield


service = Orders()
app = FastAPI(lifespan=lifespan(service, within))
add_health_routes(app, service)
Current = Annotated[Settings, Depends(SnapshotOf(config))]


@app.get("/size")
async def size(settings: Current) -> int:
    return settings.operational.batch_size


async def without_a_manager() -> None:
    def note(change: ConfigChange) -> None:
        assert_type(change.new, dict[str, Any])

    async with ConfigClient("orders", safe_defaults={"operational": {"batch_size": 100}}) as client:
        client.on_config_update(note)
        assert_type(await client.get_config(force_refresh=True), dict[str, Any])
        assert_type(client.status.age_seconds, float | None)
    async with config as running:
        assert_type(running.current, Settings)
