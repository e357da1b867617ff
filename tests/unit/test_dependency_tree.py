"""Dependencies on a terminal and as a diagram."""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.cli.dependency_tree import ASCII, LINES, DependencyTree, Line
from central_hub.cli.mermaid import flowchart


def node(name: str, state: str | None = "healthy", kind: str = "component", **fields: Any) -> dict[str, Any]:
    section = None if kind == "service" else "databases"
    return {"kind": kind, "name": name, "state": state, "reason": None, "section": section} | fields


def edge(dependent: str, component: str, need: str = "required", kind: str = "component") -> dict[str, str]:
    return {"kind": kind, "dependent": dependent, "component": component, "need": need}


PICTURE = {
    "nodes": [
        node("clickhouse", "unhealthy", reason="connection refused"),
        node("dragonflydb"),
        node("feature-store", "unhealthy", reason="answered 503"),
        node("nats", None),
        node("data-bridge", "degraded", "service", reason="2 of 2 healthy; requires clickhouse, which is unhealthy"),
        node("feature-engineering", None, "service"),
        node("gateway", "unhealthy", "service", reason="none can be called: 1 unhealthy"),
    ],
    "edges": [
        edge("feature-store", "clickhouse"),
        edge("feature-store", "dragonflydb", "optional"),
        edge("data-bridge", "clickhouse", kind="service"),
        edge("data-bridge", "dragonflydb", "optional", "service"),
        edge("feature-engineering", "feature-store", kind="service"),
        edge("gateway", "nats", kind="service"),
    ],
    "causes": [
        {"kind": "component", "name": "clickhouse", "environment": None},
        {"kind": "service", "name": "gateway", "environment": "default"},
    ],
}


def drawn(**how: Any) -> list[str]:
    return [line.stem + line.text for line in DependencyTree(PICTURE).lines(**how)]


def test_what_is_to_blame_comes_first_with_whoever_depends_on_it() -> None:
    assert drawn() == [
        "clickhouse  unhealthy: connection refused",
        "├─ feature-store  unhealthy: answered 503",
        "│  └─ feature-engineering (service)  no instance",
        "└─ data-bridge (service)  degraded: 2 of 2 healthy; requires clickhouse, which is unhealthy",
        "gateway (service)  unhealthy: none can be called: 1 unhealthy",
        "dragonflydb  healthy",
        "├─ feature-store (optional)  unhealthy, see above",
        "└─ data-bridge (service, optional)  degraded: 2 of 2 healthy; requires clickhouse, which is unhealthy",
        "nats  not probed",
        "└─ gateway (service)  unhealthy: none can be called: 1 unhealthy",
    ]


def test_the_other_way_round_it_begins_with_the_services() -> None:
    assert drawn(needs=True, strokes=ASCII) == [
        "gateway (service)  unhealthy: none can be called: 1 unhealthy",
        "`- nats  not probed",
        "data-bridge (service)  degraded: 2 of 2 healthy; requires clickhouse, which is unhealthy",
        "|- clickhouse  unhealthy: connection refused",
        "`- dragonflydb (optional)  healthy",
        "feature-engineering (service)  no instance",
        "`- feature-store  unhealthy: answered 503",
        "   |- clickhouse  unhealthy: connection refused",
        "   `- dragonflydb (optional)  healthy",
    ]


def test_one_can_be_shown_alone() -> None:
    tree = DependencyTree(PICTURE)
    assert [line.text for line in tree.lines(of=tree.named("nats"))] == [
        "nats  not probed",
        "gateway (service)  unhealthy: none can be called: 1 unhealthy",
    ]
    assert tree.named("gateway") == [("service", "gateway")]
    assert tree.named("unheard-of") == []


def test_a_chain_of_a_thousand_is_drawn() -> None:
    names = [f"c{number:03}" for number in range(1000)]
    chain = [edge(name, before) for before, name in pairwise(names)]
    picture = {"nodes": [node(name) for name in names], "edges": chain, "causes": []}
    lines = list(DependencyTree(picture).lines())
    assert len(lines) == 1000
    shown = [line.cut(80, LINES) for line in lines]
    assert max(map(len, shown)) <= 80
    assert all(name in line for line, name in zip(shown, names, strict=True))


@pytest.mark.parametrize("width", [1, 2, 10, 20])
def test_a_line_is_never_wider_than_the_terminal(width: int) -> None:
    line = Line("│  │  │  ├─ ", "feature-store  unhealthy: answered 503", "unhealthy")
    assert len(line.cut(width, LINES)) <= width


@given(st.integers(1, 9), st.data())
def test_a_tree_has_a_line_for_every_dependency_and_everybody(count: int, draws: st.DataObject) -> None:
    names = [f"c{number}" for number in range(count)]
    edges = [
        edge(name, other)
        for number, name in enumerate(names[1:], 1)
        for other in draws.draw(st.sets(st.sampled_from(names[:number])))
    ]
    picture: Mapping[str, Any] = {"nodes": [node(name) for name in names], "edges": edges, "causes": []}
    for needs in (False, True):
        lines = list(DependencyTree(picture).lines(needs=needs))
        tops = [line for line in lines if not line.stem]
        assert len(lines) == len(tops) + len(edges)
        assert {line.text.partition(" ")[0] for line in lines} == set(names)


def test_a_diagram_has_everybody_with_shape_state_and_arrow() -> None:
    lines = list(flowchart(PICTURE))
    assert lines[0] == "flowchart LR"
    assert '  n0[("clickhouse")]:::unhealthy' in lines
    assert '  n5(["feature-engineering"])' in lines
    assert "  n2 --> n0" in lines
    assert "  n2 -.-> n1" in lines


@given(st.text())
def test_no_name_is_syntax_of_a_diagram(name: str) -> None:
    lines = list(flowchart({"nodes": [node(name)], "edges": [], "causes": []}))
    assert lines[1].startswith('  n0[("')
    label = lines[1].removeprefix('  n0[("').removesuffix('")]:::healthy')
    assert not set(label) & set('"\n[](){}<>|`&')
    assert "".join(chr(int(part[1:])) if part.startswith("#") else part for part in _parts(label)) == name


def _parts(label: str) -> list[str]:
    return [part.removesuffix(";") for part in re.findall(r"#\d+;|[^#]", label)]
