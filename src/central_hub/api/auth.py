"""Who is asking: decided from the headers, before anything else of a request is looked at."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from central_hub.api.problems import send_problem
from central_hub.errors import Forbidden, InvalidName, StoreUnavailable, Unauthenticated
from central_hub.security.registry import TokenRegistry
from central_hub.security.tokens import Grant, Verb
from central_hub_client.wire import is_document_name, is_environment_name, is_service_name

# Exact and undecoded: whatever only looks like one of these needs a token.
OPEN_PATHS: Final = frozenset(
    prefix + path for prefix in (b"", b"/api/v1") for path in (b"/health/live", b"/health/ready")
)


class Authentication:
    """ASGI middleware: no valid token, no answer, on whatever path."""

    def __init__(self, app: ASGIApp, tokens: TokenRegistry) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["raw_path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        token = token_of(scope)
        if token is not None and not self._tokens.is_loaded:
            # Refusing a valid token would tell its holder to give up, and this passes.
            await send_problem(send, StoreUnavailable("the hub is starting: the tokens are not loaded yet"))
            return
        grant = None if token is None else self._tokens.grants.find(token, datetime.now(UTC))
        if grant is None:
            await send_problem(send, Unauthenticated("send a valid token: Authorization: Bearer <token>"))
            return
        scope["state"]["grant"] = grant
        await self._app(scope, receive, send)


def token_of(scope: Scope) -> str | None:
    """The token that a request carries in its Authorization header, and nowhere else."""
    credentials = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(credentials) != 1:
        return None
    scheme, _, token = credentials[0].partition(b" ")
    return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else None


def needs(verb: Verb) -> Callable[[Request], Awaitable[Grant]]:
    """A dependency: the caller's grant, which must have the verb. Raises Forbidden."""

    async def grant_with_verb(request: Request) -> Grant:
        grant: Grant = request.scope["state"]["grant"]
        if not grant.may(verb):
            raise Forbidden(f"this token does not have the verb {verb}")
        return grant

    return grant_with_verb


def authorise(grant: Grant, service: str, environment: str) -> None:
    """Raise InvalidName or Forbidden unless the names are well-formed and in the token's scope."""
    _check_names(service, environment)
    if not grant.covers(service, environment):
        raise Forbidden(f"this token does not cover {service} in environment {environment}")


def authorise_for_the_fleet(grant: Grant) -> None:
    """Raise Forbidden unless the token is for every service: what is done affects whoever depends on it."""
    if not grant.covers_everything:
        raise Forbidden("this acts on the whole fleet: it needs a token for every service (*) and environment (*)")


def authorise_all(grant: Grant, keys: Iterable[tuple[str, str]]) -> None:
    """The same for several documents: all names are looked at before the scope."""
    keys = list(keys)
    for service, environment in keys:
        _check_names(service, environment)
    for service, environment in keys:
        authorise(grant, service, environment)


def _check_names(service: str, environment: str) -> None:
    check_service(service)
    check_environment(environment)


def check_service(service: str) -> None:
    """Raise InvalidName unless documents may have this name."""
    if not is_document_name(service):
        raise _invalid_service()


def check_environment(environment: str) -> None:
    """Raise InvalidName unless the name is well-formed."""
    if not is_environment_name(environment):
        raise _invalid_environment()


def authorise_instances(grant: Grant, service: str, environment: str | None) -> None:
    """The same for instances; without an environment, for something of the service. `_global` has no instances."""
    if not is_service_name(service):
        raise _invalid_service()
    if environment is not None:
        authorise(grant, service, environment)
    elif not grant.covers_service(service):
        raise Forbidden(f"this token does not cover {service}")


def _invalid_service() -> InvalidName:
    return InvalidName(
        "a service name has 1 to 100 characters a-z, 0-9 and -, starts and ends with a letter or digit, and is not a"
        " reserved word"
    )


def _invalid_environment() -> InvalidName:
    return InvalidName("an environment name has 1 to 40 characters a-z, 0-9 and -, not - at either end")
