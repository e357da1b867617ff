"""The types of components that the hub knows: what a connection to one needs, and how it is probed. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from central_hub.monitoring.fault import Fault, Path, guess, mapping


@dataclass(frozen=True, slots=True)
class ComponentType:
    """`probe` is the kind of probe it gets where the file names none."""

    probe: str
    needs: tuple[str, ...] = ("host", "port")


TYPES: Final = {
    "postgresql": ComponentType("postgres"),
    "clickhouse": ComponentType("clickhouse"),
    "redis": ComponentType("redis"),
    "valkey": ComponentType("redis"),
    "dragonflydb": ComponentType("redis"),
    "nats": ComponentType("nats"),
    "kafka": ComponentType("kafka", ("brokers",)),
    "http": ComponentType("http", ("url",)),
    "tcp": ComponentType("tcp"),
}


def check_component(component: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    """What a component lacks for its type, or how to probe a type that nothing is known of."""
    name = component.get("type")
    if not isinstance(name, str):
        return
    probe = mapping(component.get("probe"))
    if (known := TYPES.get(name)) is None:
        if probe.get("kind") is None and probe.get("enabled") is not False:
            near = guess(name, list(TYPES))
            way = "say `probe: {kind: …}` or `probe: {enabled: false}`"
            yield Fault((*path, "type"), f"how to probe this type is not known, {way}{near}")
    elif missing := [key for key in known.needs if component.get(key) is None]:
        keys = " and ".join(f"`{key}`" for key in missing)
        yield Fault(path, f"a component of type {name} needs {keys}", is_of_key=True)
