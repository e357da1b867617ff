"""Who is hit when a component is down, by which way, and what to do about it. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from central_hub.monitoring.dependencies import Dependent, Node, component
from central_hub.monitoring.infrastructure import Need
from central_hub.monitoring.root_causes import HARMFUL, Cause
from central_hub.monitoring.situation import Situation
from central_hub_client.wire import HealthState

_NAMED: Final = 10
"""How many names a sentence has; all of them stand beside it."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Somebody who is hit, and what becomes of him: `unhealthy` cannot work, `degraded` works with something amiss."""

    dependent: Dependent
    effect: HealthState
    reason: str


@dataclass(frozen=True, slots=True)
class Impact:
    """What it means that a component is down, whether or not it is.

    `restart` are those who cannot work without it, in the order in which they start again.
    """

    component: str
    hits: tuple[Hit, ...]
    restart: tuple[tuple[Node, ...], ...]
    recommendations: tuple[str, ...]


def impact_of(situation: Situation, name: str) -> Impact:
    """Who is hit when this component is down: first who cannot work, of these the nearest first."""
    hits = [_hit(dependent, name) for dependent in situation.graph.dependents(name).values()]
    hits.sort(key=lambda hit: hit.effect is not HealthState.UNHEALTHY)
    stopped = [hit.dependent.node for hit in hits if hit.effect is HealthState.UNHEALTHY]
    wave_of = situation.graph.wave_of
    waves = groupby(sorted(stopped, key=lambda node: (wave_of[node], node.name)), key=wave_of.__getitem__)
    restart = tuple(tuple(wave) for _, wave in waves)
    degraded = [hit.dependent.node.name for hit in hits if hit.effect is HealthState.DEGRADED]
    below = _causes_below(situation, name)
    sentences = (
        *_where_to_begin(situation, name, below),
        *_what_follows(name, restart, degraded),
        *_what_stays_down(situation, name, below, restart),
    )
    return Impact(name, tuple(hits), restart, sentences)


def _hit(dependent: Dependent, name: str) -> Hit:
    if dependent.need is Need.REQUIRED:
        effect, consequence = HealthState.UNHEALTHY, "cannot work"
    else:
        effect, consequence = HealthState.DEGRADED, "works, but is degraded"
    return Hit(dependent, effect, f"{dependent.node.name} {dependent.told()}: without {name} it {consequence}")


def _causes_below(situation: Situation, name: str) -> tuple[Cause, ...]:
    found = situation.known.get(name)
    # Of one that is well or unknown it is asked what would keep it down.
    state = found.state if found is not None and found.state in HARMFUL else HealthState.UNHEALTHY
    return situation.causes.of(component(name), state)


def _where_to_begin(situation: Situation, name: str, below: Iterable[Cause]) -> Iterator[str]:
    found = situation.known.get(name)
    needs = sorted(situation.graph.needs_of(component(name)))
    if below:
        for cause in below:
            yield f"start with {cause.component}: {name} {situation.told(cause)}"
    elif found is None or found.state not in _KNOWN:
        yield f"check {name} first: nobody knows how it is{situation.why(name)}"
    elif found.state in HARMFUL:
        rest = "nothing that it depends on is known to be amiss" if needs else "it depends on nothing else"
        yield f"check {name} first: it is {found.state}{situation.why(name)}; {rest}"
    elif needs:
        yield f"{name} is {found.state} now; if it goes down, look first at what it depends on: {_listed(needs)}"


def _what_follows(name: str, restart: Iterable[Iterable[Node]], degraded: list[str]) -> Iterator[str]:
    order = "; then ".join(_listed([node.name for node in wave]) for wave in restart)
    if order:
        yield f"when {name} is back, restart what does not recover by itself, in this order: {order}"
    if degraded:
        yield f"degraded, but at work without {name}: {_listed(degraded)}"
    if not order and not degraded:
        yield f"nobody depends on {name}"


def _what_stays_down(
    situation: Situation, name: str, below: Iterable[Cause], restart: Iterable[Iterable[Node]]
) -> Iterator[str]:
    """Who cannot work even when the component is back, because of something that has nothing to do with it."""
    own = {name, *(cause.component for cause in below)}
    held: dict[str, list[str]] = {}
    for node in (node for wave in restart for node in wave):
        for cause in situation.causes.of(node, HealthState.UNHEALTHY):
            if cause.component not in own:
                held.setdefault(cause.component, []).append(node.name)
    for other, names in held.items():
        yield f"{name} alone does not bring back {_listed(names)}: {other} is unhealthy too{situation.why(other)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


_KNOWN: Final = HARMFUL | {HealthState.HEALTHY}
