"""Dependencies as a Mermaid flowchart. Pure.

Whatever in a name is no letter, digit or one of a few signs becomes an entity code: nothing of it is syntax.
Codes: https://mermaid.js.org/syntax/flowchart.html#entity-codes-to-escape-characters
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_PLAIN: Final = re.compile(r"[^A-Za-z0-9 ._-]")
_SHAPES: Final = {"databases": '[("{}")]', "messaging": '[["{}"]]', "endpoints": '("{}")'}
_SERVICE: Final = '(["{}"])'
_COLOURS: Final = {
    "healthy": "fill:#d4edda,stroke:#28a745,color:#111",
    "degraded": "fill:#fff3cd,stroke:#d39e00,color:#111",
    "unhealthy": "fill:#f8d7da,stroke:#c82333,stroke-width:3px,color:#111",
    "expired": "fill:#f8d7da,stroke:#c82333,stroke-dasharray:4,color:#111",
    "starting": "fill:#d1ecf1,stroke:#117a8b,color:#111",
    "draining": "fill:#d1ecf1,stroke:#117a8b,color:#111",
}


def flowchart(picture: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the diagram: who depends on the left, dashed where he can do without."""
    yield "flowchart LR"
    ids = {(node["kind"], node["name"]): f"n{number}" for number, node in enumerate(picture["nodes"])}
    for node in picture["nodes"]:
        state = node["state"]
        shape = _SHAPES.get(node["section"], _SERVICE).format(_label(node["name"]))
        style = f":::{state}" if state in _COLOURS else ""
        yield f"  {ids[node['kind'], node['name']]}{shape}{style}"
    for edge in picture["edges"]:
        arrow = "-->" if edge["need"] == "required" else "-.->"
        yield f"  {ids[edge['kind'], edge['dependent']]} {arrow} {ids['component', edge['component']]}"
    for state, style in _COLOURS.items():
        yield f"  classDef {state} {style}"


def _label(name: str) -> str:
    return _PLAIN.sub(lambda found: f"#{ord(found[0])};", name)
