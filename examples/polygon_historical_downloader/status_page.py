"""The downloader over HTTP, for those who look after it: whether it is ready, and how far it is."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from central_hub_client.base_service import Health

HOST = "127.0.0.1"
READY = "/health/ready"


class StatusPage:
    """A part of the service that answers `GET /health/ready` and `GET /status` on a port of this machine."""

    def __init__(self, port: int, readiness: Callable[[], Health], status: Callable[[], dict[str, Any]]) -> None:
        self._readiness = readiness
        self._status = status
        app = Starlette(routes=[Route(READY, self._ready), Route("/status", self._tell)])
        self._server = _Server(uvicorn.Config(app, host=HOST, port=port, log_config=None))
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises RuntimeError where the port is taken."""
        self._serving = asyncio.create_task(_serve(self._server))
        while not self._server.started:
            if self._serving.done():
                raise RuntimeError("the status page cannot be served: is its port taken?")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving

    async def _ready(self, _: Request) -> JSONResponse:
        health = self._readiness()
        return JSONResponse({"ready": health.ok, "reasons": health.reasons}, 200 if health.ok else 503)

    async def _tell(self, _: Request) -> JSONResponse:
        return JSONResponse(self._status())


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are for the service, which stops its parts in order."""
        yield


async def _serve(server: uvicorn.Server) -> None:
    try:
        await server.serve()
    except SystemExit:  # what uvicorn says of a port that is taken
        return
