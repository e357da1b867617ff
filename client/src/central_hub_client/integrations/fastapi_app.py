"""FastAPI (and Starlette): configuration for the lifetime of an app, one consistent snapshot for each request."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.routing import Route

from central_hub_client.base_service import BaseService, Health
from central_hub_client.binding import S
from central_hub_client.config_manager import ConfigManager

_SNAPSHOTS = "central_hub.snapshots"

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(running: AbstractAsyncContextManager[Any], within: Lifespan | None = None) -> Lifespan:
    """The `lifespan=` of an app: starts a ConfigManager or a BaseService with it, and stops it last.

    `within` is the app's own lifespan, if it has one; it runs inside, where the configuration is there.
    """

    @asynccontextmanager
    async def around(app: Any) -> AsyncIterator[Any]:
        async with running:
            if within is None:
                yield
            else:
                async with within(app) as state:
                    yield state

    return around


class SnapshotOf(Generic[S]):
    """A dependency: `Annotated[Settings, Depends(SnapshotOf(config))]` is the configuration as it is when the request
    first asks. Every other place that asks during the same request gets the very same, whatever changes meanwhile.

    A WebSocket is one request for as long as it is open: there, read `config.current`.
    """

    def __init__(self, config: ConfigManager[S]) -> None:
        self._config = config

    async def __call__(self, connection: HTTPConnection) -> S:
        snapshots: dict[int, S] = connection.scope.setdefault(_SNAPSHOTS, {})
        return snapshots.setdefault(id(self._config), self._config.current)


def add_health_routes(app: Starlette, service: BaseService[Any], prefix: str = "/health") -> None:
    """Add `live` and `ready` under `prefix`: 200, or 503 with the reasons."""

    async def live(_: Any) -> JSONResponse:
        return _answer(service.liveness)

    async def ready(_: Any) -> JSONResponse:
        return _answer(service.readiness)

    app.router.routes += [Route(f"{prefix}/live", live), Route(f"{prefix}/ready", ready)]


def _answer(health: Health) -> JSONResponse:
    return JSONResponse({"ok": health.ok, "reasons": list(health.reasons)}, 200 if health.ok else 503)
