"""Count and time every request, and log those that changed something or went wrong."""

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from central_hub.metrics import Metrics

_WATCH = "/watch"
_HEARTBEAT = "/discovery/heartbeat"
"""Changes nothing that anybody will look for, and comes from every instance all the time."""

log = structlog.get_logger()


class Telemetry:
    """ASGI middleware. What is logged of a request is its method, route and status; never a query, header or body."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # Templates, not paths: a caller must not be able to make new series.
        route = getattr(scope.get("route"), "path_format", None) or "unmatched"
        method = scope["method"] if scope["method"] in ("GET", "PUT", "POST", "PATCH", "DELETE") else "other"
        self._metrics.requests.labels(route, method, str(status)).inc()
        if not route.endswith(_WATCH):
            self._metrics.request_seconds.labels(route).observe(seconds)
        if (method != "GET" and not route.endswith(_HEARTBEAT)) or status >= 400:
            grant = scope["state"].get("grant")
            log.info(
                "request",
                method=method,
                route=route,
                status=status,
                milliseconds=round(seconds * 1000, 1),
                caller=None if grant is None else grant.name,
            )
