"""What touches the outside does so in one known place."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.architecture.source_tree import CLIENT, HUB, Module, imports, lies_in, modules

HUB_AND_CLIENT = (*modules(HUB), *modules(CLIENT))

ONLY_IN: dict[str, tuple[str, ...]] = {
    "sqlalchemy": ("central_hub.storage", "central_hub.connections"),
    "alembic": ("central_hub.storage",),
    "asyncpg": ("central_hub.embedded", "central_hub.monitoring.probes.postgres"),
    "aiokafka": ("central_hub.monitoring.probes.kafka",),
    "nats": ("central_hub.connections.bus", "central_hub_client.updates"),
    "fastapi": ("central_hub.api",),
    "starlette": ("central_hub.api", "central_hub_client.integrations.fastapi_app"),
    "uvicorn": ("central_hub.process", "central_hub.api.limits"),
    "typer": ("central_hub.cli",),
    "rich": ("central_hub.cli",),
    "httpx2": (
        "central_hub.cli",
        "central_hub.connections.health_probe",
        "central_hub.connections.metered_answers",
        "central_hub.connections.pinned_request",
        "central_hub.connections.webhook_post",
        "central_hub.monitoring.probes.clickhouse",
        "central_hub.monitoring.probes.http",
        "central_hub_client",
    ),
    "prometheus_client": (
        "central_hub.metrics",
        "central_hub.api.v1.operations",
        "central_hub_client.integrations.prometheus",
    ),
    "opentelemetry": ("central_hub_client.integrations.opentelemetry",),
    "pydantic_settings": ("central_hub.settings", "central_hub_client.integrations.settings_source"),
    "apprise": ("central_hub.monitoring.channels.apprise",),
    "jsonschema_rs": ("central_hub.validation",),
    "pytest": ("central_hub_client.pytest_plugin",),
}
"""A library, and the modules that may import it."""

TYPES_ANYWHERE = frozenset({"sqlalchemy.ext.asyncio.AsyncConnection"})
"""Who opens a transaction hands its connection on without asking it anything: `AsyncConnection` is a type there."""

READS_THE_ENVIRONMENT = ("central_hub.settings", "central_hub_client.client_settings", "central_hub_client.sources")

SPEAKS_SQL = ("central_hub.storage", "central_hub.embedded.postgres", "central_hub.monitoring.probes.options")
"""The embedded server's role and database are made before there are any tables; what a probe asks is asked of somebody
else's database."""

ASKS_CONNECTIONS = ("central_hub.storage", "central_hub.embedded", "central_hub.monitoring.probes.postgres")

_STATEMENT = re.compile(
    r"\s*(?:SELECT\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|WITH\s+\w+\s+AS\s|(?:CREATE|ALTER|DROP)\s+\w+\s"
    r"|GRANT\s|REVOKE\s|LISTEN\s|NOTIFY\s)"
)


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_in_its_place_only(library: str) -> None:
    wrong = [
        f"{module}:{imported.line} imports {imported.name}"
        for module in HUB_AND_CLIENT
        if not lies_in(module.name, *ONLY_IN[library])
        for imported in imports(module)
        if lies_in(imported.name, library) and imported.name not in TYPES_ANYWHERE
    ]
    assert not wrong, "\n".join(wrong)


def test_sql_is_written_in_storage_only() -> None:
    wrong = [
        f"{module}:{line} spells {text[:40]!r}"
        for module in modules(HUB)
        if not lies_in(module.name, *SPEAKS_SQL)
        for line, text in _strings(module)
        if _STATEMENT.match(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_a_connection_is_only_asked_in_storage() -> None:
    # `connections` builds engines with SQLAlchemy; a statement there would be SQL that nobody finds.
    wrong = [
        f"{module}:{node.lineno} calls .{node.func.attr}()"
        for module in modules(HUB)
        if not lies_in(module.name, *ASKS_CONNECTIONS)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("execute", "scalar", "scalars", "run_sync", "exec_driver_sql")
    ]
    assert not wrong, "\n".join(wrong)


def test_the_environment_is_read_where_settings_are_made() -> None:
    wrong = [
        f"{module}:{node.lineno}"
        for module in HUB_AND_CLIENT
        if not lies_in(module.name, *READS_THE_ENVIRONMENT)
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "putenv"))
        or (isinstance(node, ast.alias) and node.name in ("environ", "environb", "getenv"))
    ]
    assert not wrong, "\n".join(wrong)


def _strings(module: Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
