"""How a service is, from how its instances are and what it depends on. Pure.

The rules are those of the tables in docs/explanation/service-health.md, which the tests read.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from central_hub.coordination.check_result import CALLABLE
from central_hub.coordination.fleet import Member
from central_hub_client.wire import HealthState


class Kind(StrEnum):
    """What an instance counts as for its service."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    KEPT = "not heard of"
    """It fell silent together with too many others, and is listed and called as it was last known."""
    STARTING = "starting"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    EXPIRED = "expired"
    SET_ASIDE = "of weight 0"
    """It could be called, and is left out on purpose."""


FAULTS: Final = (Kind.UNHEALTHY, Kind.EXPIRED, Kind.KEPT, Kind.DEGRADED)
"""What is amiss where others can be called. Who starts, drains or is left out on purpose is no fault."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds where there are instances of the kind `some` (None: of any) and none of the kinds `without`."""

    state: HealthState
    some: Kind | None
    without: frozenset[Kind] = frozenset()

    def fits(self, kinds: Mapping[Kind, int]) -> bool:
        return (self.some is None or kinds[self.some] > 0) and not any(kinds[kind] for kind in self.without)


RULES: Final = (
    Rule(HealthState.HEALTHY, Kind.HEALTHY, frozenset(FAULTS)),
    Rule(HealthState.DEGRADED, Kind.HEALTHY),
    Rule(HealthState.DEGRADED, Kind.DEGRADED),
    Rule(HealthState.DEGRADED, Kind.KEPT),
    Rule(HealthState.STARTING, Kind.STARTING, frozenset({Kind.UNHEALTHY, Kind.EXPIRED})),
    Rule(HealthState.DRAINING, Kind.DRAINING, frozenset({Kind.UNHEALTHY, Kind.EXPIRED})),
    Rule(HealthState.EXPIRED, Kind.EXPIRED, frozenset(Kind) - {Kind.EXPIRED}),
    Rule(HealthState.UNHEALTHY, None),
)
"""The first that fits decides."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something that a service depends on, as it is told here: `state` is None where nobody knows."""

    name: str
    is_required: bool
    state: HealthState | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """How a service is, why, how many of its instances are how, and how many of them are called."""

    state: HealthState
    reason: str
    counts: Mapping[HealthState, int]
    callable: int


def roll_up(members: Iterable[Member], dependencies: Sequence[Dependency] = ()) -> ServiceHealth:
    """The health of a service in one environment, from its instances that are spoken of, one at least, and from what it
    depends on."""
    members = list(members)
    kinds = Counter(map(kind_of, members))
    states = Counter(member.state for member in members)
    state = next(rule.state for rule in RULES if rule.fits(kinds))
    reason = "; ".join([_reason(state, kinds), *map(_told, filter(_is_amiss, dependencies))])
    if state is HealthState.HEALTHY and any(map(_stops, dependencies)):
        state = HealthState.DEGRADED
    return ServiceHealth(
        state,
        reason,
        {each: states[each] for each in HealthState},
        _called(kinds),
    )


def kind_of(member: Member) -> Kind:
    """What an instance counts as."""
    if member.state not in CALLABLE:
        return Kind(member.state)
    if member.instance.description.weight == 0:
        return Kind.SET_ASIDE
    return Kind.KEPT if member.is_kept else Kind(member.state)


def _is_amiss(dependency: Dependency) -> bool:
    return dependency.state in (HealthState.DEGRADED, HealthState.UNHEALTHY)


def _stops(dependency: Dependency) -> bool:
    return dependency.is_required and dependency.state is HealthState.UNHEALTHY


def _told(dependency: Dependency) -> str:
    """`requires postgresql, which is unhealthy: connection refused`."""
    verb = "requires" if dependency.is_required else "uses"
    why = f": {dependency.reason}" if dependency.reason else ""
    return f"{verb} {dependency.name}, which is {dependency.state}{why}"


def _called(kinds: Mapping[Kind, int]) -> int:
    return kinds[Kind.HEALTHY] + kinds[Kind.DEGRADED] + kinds[Kind.KEPT]


def _reason(state: HealthState, kinds: Mapping[Kind, int]) -> str:
    if state is HealthState.HEALTHY:
        return _shares(kinds, [kind for kind in Kind if kinds[kind]])
    if state is HealthState.DEGRADED:
        return _shares(kinds, [kind for kind in FAULTS if kinds[kind]]) + (
            "" if kinds[Kind.HEALTHY] or kinds[Kind.KEPT] else "; none is healthy"
        )
    there = ", ".join(f"{kinds[kind]} {kind}" for kind in Kind if kinds[kind])
    return f"{_WHY_NONE[state]}: {there}"


def _shares(kinds: Mapping[Kind, int], shown: list[Kind]) -> str:
    """`2 of 5 unhealthy, 1 expired`."""
    first, *others = shown
    return ", ".join(
        [f"{kinds[first]} of {sum(kinds.values())} {first}", *(f"{kinds[kind]} {kind}" for kind in others)]
    )


_WHY_NONE: Final = {
    HealthState.STARTING: "none can be called yet",
    HealthState.DRAINING: "none can be called any more",
    HealthState.EXPIRED: "none has been heard of for its lease",
    HealthState.UNHEALTHY: "none can be called",
}
