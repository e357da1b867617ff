"""How everything is, in one word and one sentence. Pure.

The rules are those of the table in docs/explanation/dependencies.md, which the tests read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from central_hub_client.wire import DEFAULT_ENVIRONMENT, HealthState

_NAMED: Final = 5


class Fact(StrEnum):
    """What may be so of the whole."""

    SERVICE_DOWN = "a service is unhealthy or expired"
    NEEDED_DOWN = "a component is unhealthy that a service requires"
    SERVICE_DEGRADED = "a service is degraded"
    COMPONENT_AMISS = "a component is unhealthy, degraded or expired"
    HUB_DEGRADED = "the hub is degraded"
    STARTING = "a service or a component is starting"


RULES: Final = {
    Fact.SERVICE_DOWN: HealthState.UNHEALTHY,
    Fact.NEEDED_DOWN: HealthState.UNHEALTHY,
    Fact.SERVICE_DEGRADED: HealthState.DEGRADED,
    Fact.COMPONENT_AMISS: HealthState.DEGRADED,
    Fact.HUB_DEGRADED: HealthState.DEGRADED,
    Fact.STARTING: HealthState.STARTING,
}
"""The first that is so decides."""


@dataclass(frozen=True, slots=True)
class Parts:
    """How all parts are: the replica that is asked, services by name and environment, and components. `needed` are the
    components that some service requires, directly or not."""

    hub: HealthState
    services: Mapping[tuple[str, str], HealthState] = field(default_factory=dict)
    components: Mapping[str, HealthState] = field(default_factory=dict)
    needed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Overall:
    """How everything is, and why."""

    state: HealthState
    reason: str


def overall(parts: Parts) -> Overall:
    """The whole, from its parts."""
    for fact, state in RULES.items():
        if said := list(_said(fact, parts)):
            more = f" and {len(said) - _NAMED} more" if len(said) > _NAMED else ""
            return Overall(state, ", ".join(said[:_NAMED]) + more)
    return Overall(HealthState.HEALTHY, "nothing is amiss")


def _said(fact: Fact, parts: Parts) -> Iterator[str]:
    """Of whom it is so."""
    match fact:
        case Fact.SERVICE_DOWN:
            yield from _services(parts, HealthState.UNHEALTHY, HealthState.EXPIRED)
        case Fact.NEEDED_DOWN:
            for name in sorted(parts.needed):
                if parts.components.get(name) is HealthState.UNHEALTHY:
                    yield f"{name} is unhealthy and services require it"
        case Fact.SERVICE_DEGRADED:
            yield from _services(parts, HealthState.DEGRADED)
        case Fact.COMPONENT_AMISS:
            yield from _components(parts, HealthState.UNHEALTHY, HealthState.DEGRADED, HealthState.EXPIRED)
        case Fact.HUB_DEGRADED:
            if parts.hub is HealthState.DEGRADED:
                yield "the hub is degraded"
        case Fact.STARTING:
            yield from _services(parts, HealthState.STARTING)
            yield from _components(parts, HealthState.STARTING)


def _services(parts: Parts, *states: HealthState) -> Iterator[str]:
    for (name, environment), state in sorted(parts.services.items()):
        if state in states:
            where = "" if environment == DEFAULT_ENVIRONMENT else f" in {environment}"
            yield f"{name}{where} is {state}"


def _components(parts: Parts, *states: HealthState) -> Iterator[str]:
    for name, state in sorted(parts.components.items()):
        if state in states:
            yield f"{name} is {state}"
