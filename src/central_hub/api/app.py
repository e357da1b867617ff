"""The application: what every request passes, in order, and the routes behind it.

HotRead → HotHeartbeat → Host check → security headers → registration gate → old prefix → telemetry → authentication →
method check → routes
"""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from central_hub.api.auth import Authentication
from central_hub.api.host_check import AllowedHosts, HostCheck
from central_hub.api.hot_heartbeat import HotHeartbeat
from central_hub.api.hot_read import HotRead
from central_hub.api.legacy import LegacyPrefix
from central_hub.api.method_check import MethodCheck
from central_hub.api.problems import MEDIA_TYPE, problem_body, problem_headers
from central_hub.api.reference_page import POLICY, reference_page
from central_hub.api.registration_gate import RegistrationGate
from central_hub.api.security_headers import SecurityHeaders
from central_hub.api.telemetry import Telemetry
from central_hub.api.v1 import (
    alerts,
    config,
    connections,
    contracts,
    dashboard,
    dependencies,
    discovery,
    infrastructure,
    listing,
    notifications,
    operations,
    schemas,
    service_health,
    tokens,
    transactions,
)
from central_hub.api.v1.openapi import add_components
from central_hub.errors import Finding, HubError, InvalidRequest, NotFound
from central_hub.service import CentralHubService
from central_hub_client.strict_json import escape_pointer
from central_hub_client.wire import API_PREFIX

_DESCRIPTION = (
    "Operational configuration for a fleet of services: validated, pushed, proven to have arrived, reversible."
)


def create_app(hub: CentralHubService) -> ASGIApp:
    """The whole HTTP side of a hub, as one ASGI callable."""
    hosts = AllowedHosts(hub.settings.allowed_hosts, hub.settings.host)
    routes = create_routes(hub)
    app: ASGIApp = MethodCheck(routes, routes.openapi()["paths"])
    app = Authentication(app, hub.tokens)
    app = Telemetry(app, hub.metrics)
    app = LegacyPrefix(app)
    app = RegistrationGate(app, hub.tokens, hub.metrics)
    app = SecurityHeaders(app)
    app = HostCheck(app, hosts)
    app = HotHeartbeat(app, hub, hosts)
    return HotRead(app, hub, hosts)


class _HubApi(FastAPI):
    """FastAPI whose document has the schemas that are recursive."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            add_components(super().openapi())
        document: dict[str, Any] = super().openapi()
        return document


def create_routes(hub: CentralHubService) -> FastAPI:
    """The routes alone: what the OpenAPI document describes."""
    app = _HubApi(
        title="Central Hub",
        version="1",
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            HubError: _answer_hub_error,
            RequestValidationError: _answer_validation_error,
            HTTPException: _answer_http_exception,
            Exception: _answer_bug,
        },
    )
    # Tried in this order: what is asked for most comes first.
    for routes in (
        schemas.routes,
        contracts.routes,
        transactions.routes,
        listing.routes,
        connections.routes,
        config.routes,
        discovery.routes,
        service_health.routes,
        infrastructure.routes,
        notifications.routes,
        dependencies.routes,
        dashboard.routes,
        alerts.routes,
        tokens.routes,
        operations.routes,
    ):
        app.include_router(routes(hub), prefix=API_PREFIX)
    for prefix in (API_PREFIX, ""):
        app.include_router(operations.health_routes(hub), prefix=prefix)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(
            reference_page(app.openapi()),
            media_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": POLICY},
        )

    return app


def _problem(error: HubError) -> Response:
    return Response(problem_body(error), error.status, headers=problem_headers(error), media_type=MEDIA_TYPE)


async def _answer_hub_error(_request: Request, error: Any) -> Response:
    return _problem(error)


async def _answer_validation_error(_request: Request, error: Any) -> Response:
    # Places and sentences, never the input: it may be a secret in the wrong place.
    findings = [
        Finding("".join(f"/{escape_pointer(str(part))}" for part in problem["loc"]), "invalid_request", problem["msg"])
        for problem in error.errors()
    ][:100]
    sentence = "; ".join(f"{finding.pointer}: {finding.message}" for finding in findings[:3])
    return _problem(InvalidRequest(sentence or "the request is not valid", errors=findings))


async def _answer_http_exception(_request: Request, _error: Any) -> Response:
    # The only one left to the framework is that there is no route: methods are checked before.
    return _problem(NotFound("there is no such path"))


async def _answer_bug(_request: Request, _error: Any) -> Response:
    # The server logs the traceback with the request's id; the caller gets none of it.
    return _problem(HubError("the hub made a mistake: its log has the details under this answer's X-Request-Id"))
