"""Imports point inward: an inner part does not know who uses it."""

from collections.abc import Iterator

from tests.architecture.source_tree import CLIENT, HUB, Module, imports, lies_in, modules

RINGS: tuple[frozenset[str], ...] = tuple(
    frozenset(ring.split())
    for ring in (
        "data_directory",
        "errors settings metrics rendezvous store_clock waiters",
        "connections storage security audit embedded validation",
        "config coordination monitoring backup presence store_check",
        "situations",
        "alert_sources measurements",
        "service",
        "api",
        "process",
        "cli",
    )
)
"""From the inside out. A new part of the hub takes its place here first."""

FOUNDATIONS = RINGS[2]
"""May use each other: a token is a row, a row of the log is an entry of the chain. Further out, neighbours may not."""

AREAS = frozenset(module.area for module in modules(HUB)) - {""}

WIRE = tuple(
    f"central_hub_client.{name}"
    for name in ("wire", "strict_json", "layers", "references", "declared", "routing", "backoff", "strict_yaml")
)
"""What both sides agree on: all that the hub's inner parts may take from the client's package. What a model declares
is among it: the hub foresees what a service drops. So are the rules of routing: a key belongs to the same instance
whoever is asked. And who looks for a server that is gone waits by the same rule. And there is one YAML: a word in
infrastructure.yaml means what it means in the files of a service."""

LIFE = "central_hub_client.base_service"
"""How services live, the hub as any other. It is for the outermost, `service`, alone."""


def ring_of(area: str) -> int:
    found = [number for number, ring in enumerate(RINGS) if area in ring]
    assert found, f"central_hub.{area} is in no ring: give it a place in RINGS"
    return found[0]


def areas_used(module: Module) -> Iterator[tuple[str, int]]:
    """The other parts of the hub that a module imports, with the line."""
    for imported in imports(module):
        if lies_in(imported.name, *(f"central_hub.{area}" for area in AREAS - {module.area})):
            yield imported.name.split(".")[1], imported.line


def test_imports_point_inward() -> None:
    wrong = []
    for module in modules(HUB):
        if not module.area:
            continue
        own = ring_of(module.area)
        for area, line in areas_used(module):
            ring = ring_of(area)
            if ring > own or (ring == own and not FOUNDATIONS.issuperset({area, module.area})):
                wrong.append(f"{module}:{line} imports central_hub.{area}")
    assert not wrong, "\n".join(wrong)


def test_every_ring_holds_parts_that_exist() -> None:
    assert frozenset().union(*RINGS) == AREAS


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    names = {module.name for module in modules(HUB)}
    uses = {module.name: set(_targets(module, names)) - {module.name} for module in modules(HUB)}
    while free := {name for name, targets in uses.items() if not targets & uses.keys()}:
        uses = {name: targets for name, targets in uses.items() if name not in free}
    assert not uses, f"a circle of imports among: {', '.join(sorted(uses))}"


def test_the_client_knows_nothing_of_the_hub() -> None:
    wrong = [
        f"{module}:{imported.line} imports {imported.name}"
        for module in modules(CLIENT)
        for imported in imports(module)
        if lies_in(imported.name, "central_hub")
    ]
    assert not wrong, "\n".join(wrong)


def test_the_hub_takes_only_the_wire_contract_from_the_client() -> None:
    wrong = [
        f"{module}:{imported.line} imports {imported.name}"
        for module in modules(HUB)
        if module.area not in ("cli", "process")
        for imported in imports(module)
        if lies_in(imported.name, "central_hub_client") and not lies_in(imported.name, *WIRE)
        if not (module.area == "service" and lies_in(imported.name, LIFE))
    ]
    assert not wrong, "\n".join(wrong)


def _targets(module: Module, names: set[str]) -> Iterator[str]:
    for imported in imports(module):
        if imported.name in names:
            yield imported.name
        elif imported.name.rpartition(".")[0] in names:
            yield imported.name.rpartition(".")[0]
