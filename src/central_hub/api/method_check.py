"""405 with every method that a path takes: one path may be several routes, and a literal path is not a template."""

from collections.abc import Iterable
from typing import Any

from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from central_hub.api.problems import send_problem
from central_hub.errors import MethodNotAllowed


class MethodCheck:
    """ASGI middleware. `paths` is that part of an OpenAPI document."""

    def __init__(self, app: ASGIApp, paths: dict[str, dict[str, Any]]) -> None:
        self._app = app
        self._literal = {path: _methods(operations) for path, operations in paths.items() if "{" not in path}
        self._templates = [
            (compile_path(path)[0], _methods(operations)) for path, operations in paths.items() if "{" in path
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            methods = self._find(scope["path"])
            if methods is not None and scope["method"] not in methods:
                allowed = ", ".join(methods)
                await send_problem(send, MethodNotAllowed(f"this path takes {allowed}", headers={"Allow": allowed}))
                return
        await self._app(scope, receive, send)

    def _find(self, path: str) -> tuple[str, ...] | None:
        found = self._literal.get(path)
        if found is None:
            found = next((methods for pattern, methods in self._templates if pattern.match(path)), None)
        return found


def _methods(operations: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(method.upper() for method in operations))
