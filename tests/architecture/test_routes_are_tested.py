"""Every route is asked by some test, with its own method and path.

Read from the tests' source: a request counts where its method and its path can be seen in the call, as a literal, an
f-string, a constant of the module or a function that returns one. Its values may be anything.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from central_hub.api.app import create_routes
from docs import generate
from tests.architecture.source_tree import ROOT

METHODS = frozenset("get put post patch delete".split())
Request = tuple[str, str]


def test_every_route_is_asked_by_a_test(tmp_path: Path) -> None:
    paths = create_routes(generate.a_hub(tmp_path)).openapi()["paths"]
    routes = [(method.upper(), path) for path, operations in paths.items() for method in operations]
    asked = {_route(request, routes) for request in requests_in_tests()}
    assert sorted(set(routes) - asked) == []


def test_a_request_is_recognised_by_its_method_and_path() -> None:
    source = '''
PREFIX = "/api/v1"
def path(service: str) -> str:
    """Where a document is."""
    return f"{PREFIX}/config/{service}"
async def test_it(http, name):
    await http.put(path(name), json={})
    await http.get(f"/api/v1/config/history/{name}?limit=1")
    async with http.stream("GET", PREFIX + "/config/watch"): ...
    await http.get(unknown)
'''
    found = set(_requests(ast.parse(source), _strings(ast.parse(source))))
    assert found == {
        ("PUT", "/api/v1/config/{}"),
        ("GET", "/api/v1/config/history/{}"),
        ("GET", "/api/v1/config/watch"),
    }


def test_a_request_stands_for_the_first_route_that_fits() -> None:
    routes = [("GET", "/config/watch"), ("GET", "/config/{service}")]
    assert _route(("GET", "/config/watch"), routes) == ("GET", "/config/watch")
    assert _route(("GET", "/config/{}"), routes) == ("GET", "/config/{service}")
    assert _route(("PUT", "/config/watch"), routes) is None
    assert _route(("GET", "/{}"), routes) is None


def requests_in_tests() -> set[Request]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("*.py")]
    # Helpers such as `path(service)` are written in one module and imported by others.
    shared = {name: text for tree in trees for name, text in _strings(tree).items()}
    return {request for tree in trees for request in _requests(tree, shared | _strings(tree))}


def _route(request: Request, routes: list[Request]) -> Request | None:
    method, path = request
    segments = path.split("/")
    for route in routes:
        expected = route[1].split("/")
        if (
            route[0] == method
            and len(expected) == len(segments)
            and all(there == asked or there.startswith("{") for there, asked in zip(expected, segments, strict=True))
        ):
            return route
    return None


def _strings(tree: ast.Module) -> dict[str, str]:
    """The constants of a module that are texts, and its functions that do nothing but return one."""
    found: dict[str, str] = {}
    for node in tree.body:
        value: ast.expr | None = None
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name, value = node.target.id, node.value
        elif isinstance(node, ast.FunctionDef) and isinstance(node.body[-1], ast.Return):
            name, value = node.name, node.body[-1].value
        if value is not None and (text := _text(value, found)) is not None:
            found[name] = text
    return found


def _requests(tree: ast.Module, known: dict[str, str]) -> Iterator[Request]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        texts = [_text(argument, known) for argument in node.args[:2]]
        if node.func.attr in METHODS and texts and texts[0]:
            yield node.func.attr.upper(), texts[0].partition("?")[0]
        elif node.func.attr in ("request", "stream") and len(texts) == 2 and texts[0] and texts[1]:
            yield texts[0], texts[1].partition("?")[0]


def _text(node: ast.expr, known: dict[str, str]) -> str | None:
    """What an expression spells, with `{}` for what is only known at run time; None where that is all of it."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = [
            (_text(part.value, known) or "{}") if isinstance(part, ast.FormattedValue) else _text(part, known) or ""
            for part in node.values
        ]
        return "".join(parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left, known), _text(node.right, known)
        return None if left is None or right is None else left + right
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return known.get(node.func.id)
    return None
