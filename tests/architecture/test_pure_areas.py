"""Inside an area, decisions are pure: values and `now` come in, values go out. A few named modules do things."""

import ast

import pytest

from tests.architecture.source_tree import HUB, Module, dotted, imports, lies_in, modules

SHELLS: dict[str, frozenset[str]] = {
    "backup": frozenset({"archive", "dump", "restore"}),
    "config": frozenset("store commit_queue history listing tail announcer conformance contracts".split()),
    "coordination": frozenset({"announcer", "health_checker", "manager"}),
    "monitoring": frozenset(
        "alert_desk alerting channels.apprise channels.channel channels.directory channels.log"
        " channels.nats channels.webhook credentials infrastructure_file manager notifier prober"
        " probes.asking probes.clickhouse probes.http probes.installed probes.kafka probes.nats probes.postgres"
        " probes.reach probes.redis probes.tcp probes.wires".split()
    ),
    "validation": frozenset("checker worker consumer_checker consumer_worker".split()),
}
"""Per area, the modules that read, write, wait and know the time. Every other module of the area only decides."""

OUTSIDE_WORLD = (
    *"os time random secrets socket subprocess shutil tempfile pathlib logging threading signal urllib.request".split(),
    *"structlog sqlalchemy asyncpg nats httpx2 uvicorn fastapi starlette".split(),
)
CLOCKS = frozenset("datetime.now datetime.utcnow datetime.today date.today datetime.datetime.now".split())

PURE = [
    module
    for module in modules(HUB)
    if module.area in SHELLS and module.name.partition(f"central_hub.{module.area}.")[2] not in SHELLS[module.area]
]


def test_every_shell_is_a_module_that_exists() -> None:
    found = {module.name for module in modules(HUB)}
    named = {f"central_hub.{area}.{name}" for area, names in SHELLS.items() for name in names}
    assert named <= found


@pytest.mark.parametrize("module", PURE, ids=str)
def test_a_module_that_decides_does_not_wait(module: Module) -> None:
    waiting = [
        f"{module}:{node.lineno}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncWith | ast.AsyncFor)
    ]
    assert not waiting


@pytest.mark.parametrize("module", PURE, ids=str)
def test_a_module_that_decides_reaches_for_nothing_outside(module: Module) -> None:
    reached = [
        f"{module}:{imported.line} imports {imported.name}"
        for imported in imports(module)
        if lies_in(imported.name, *OUTSIDE_WORLD)
    ]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and (dotted(node.func) in CLOCKS or dotted(node.func) in ("open", "print")):
            reached.append(f"{module}:{node.lineno} calls {dotted(node.func)}")
    assert not reached, "\n".join(reached)
