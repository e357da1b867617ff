"""What the hub's stream of instances tells. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from central_hub_client import strict_json
from central_hub_client.service_instance import ServiceInstance

MAX_EVENT_NODES: Final = 20 * strict_json.MAX_NODES


@dataclass(frozen=True, slots=True)
class Everything:
    """All instances of a service."""

    service: str
    environment: str
    instances: tuple[ServiceInstance, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """One that came, or is another than it was."""

    instance: ServiceInstance


@dataclass(frozen=True, slots=True)
class Gone:
    """One that is listed no more."""

    service: str
    environment: str
    instance_id: str


@dataclass(frozen=True, slots=True)
class Complete:
    """A bookmark: whatever there was to tell has been told by now."""


InstanceEvent = Everything | Changed | Gone | Complete

NAMES: Final = frozenset({"instances", "instance", "gone", "bookmark"})


def read(name: str, body: bytes) -> InstanceEvent:
    """One of the events of `NAMES`. Unknown keys are ignored (a later hub may send more). Raises ValueError."""
    told = strict_json.parse(body, max_nodes=MAX_EVENT_NODES)
    if not isinstance(told, Mapping):
        raise ValueError("an event must be a JSON object")
    match name:
        case "instances":
            instances = told.get("instances")
            if not isinstance(instances, list):
                raise ValueError("it has no instances, not even none")
            return Everything(
                _name(told, "service"),
                _name(told, "environment"),
                tuple(ServiceInstance.from_json(value) for value in instances),
            )
        case "instance":
            return Changed(ServiceInstance.from_json(told))
        case "gone":
            return Gone(_name(told, "service"), _name(told, "environment"), _name(told, "instance_id"))
        case _:
            return Complete()


def _name(told: Mapping[str, Any], key: str) -> str:
    found = told.get(key)
    if not isinstance(found, str):
        raise ValueError(f"{key} must be a string")
    return found
