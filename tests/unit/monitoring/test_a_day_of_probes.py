"""A day of two hundred targets, from the results of their probes to the alerts, as plain models expect it."""

import os
import random
import secrets
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator

import pytest

from central_hub.connections.health_probe import Probed
from central_hub.monitoring.alerts import Subject
from central_hub.monitoring.condition import Condition, ConditionKind
from central_hub.monitoring.conditions import ServiceState, of_infrastructure, of_services
from central_hub.monitoring.dependencies import Graph, Node, NodeKind, component
from central_hub.monitoring.health import as_counted, observe, unprobed
from central_hub.monitoring.infrastructure import ProbeSettings
from central_hub.monitoring.root_causes import RootCauses, blame, reach
from central_hub.storage.alert_values import Affected, AlertState
from central_hub_client.wire import HealthState
from tests.unit.monitoring import plain_health, plain_model
from tests.unit.monitoring.alert_events import (
    RULES,
    Event,
    events_of,
    first_difference,
    forget_resolved,
    happened_at,
    is_settled,
)
from tests.unit.monitoring.day import END, Day, made_up
from tests.unit.monitoring.looks import Looks, at
from tests.unit.monitoring.plain_causes import PlainCauses
from tests.unit.monitoring.week import TICK

KINDS = {NodeKind.COMPONENT: ConditionKind.INFRASTRUCTURE, NodeKind.SERVICE: ConditionKind.SERVICE}
Named = dict[tuple[int, str, str], set[tuple[str, str]]]
"""Whom an alert that was told named: by second, rule and subject."""


def test_probes_of_a_day_make_the_alerts_that_plain_models_expect(capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("FAULT_SEED") or secrets.randbelow(10**6))
    day = made_up(random.Random(seed))
    happened, named = of_the_hub(day)
    model = Model(day)
    expected = sorted(model.events())
    counts = Counter(what for _, _, _, what in happened)
    with capsys.disabled():
        told = ", ".join(f"{counts[what]} {what}" for what in sorted(counts))
        faults = ", ".join(f"{count} {kind}" for kind, count in day.faults.items())
        print(f"\na day of probes: seed {seed}; {sum(map(len, day.results.values()))} results; {faults}; {told}")
    assert happened == expected, first_difference(happened, expected)
    for (second, rule, subject), affected in named.items():
        assert affected == model.affected(second, subject), (second, rule, subject)
    assert counts["fired"] > counts["told"] > 100
    assert sum(map(bool, named.values())) > 20


def of_the_hub(day: Day) -> tuple[list[Event], Named]:
    """Every result goes the way that it goes in a hub."""
    looks = Looks(RULES, maintenance=day.infrastructure.maintenance)
    components, graph = day.infrastructure.components, Graph(day.infrastructure)
    due: dict[int, list[tuple[str, bool | None]]] = {}
    for name, results in day.results.items():
        for second, ok in results:
            due.setdefault(second, []).append((name, ok))
    targets = {name: unprobed(name, at(0)) for name in components}
    counted = dict(targets)
    probes = {name: _probe(day, name) for name in components}
    of_service = _services(day)
    silent: set[str] = set()
    """Of whom nothing could be measured lately."""
    seen: tuple[Condition, ...] = ()
    causes: dict[Subject, frozenset[str]] = {}
    reached: dict[str, tuple[Affected, ...]] = {}
    services: list[ServiceState] = []
    found: list[Event] = []
    named: Named = {}
    for second in range(0, END, TICK):
        now = at(second)
        is_new = second in of_service
        services = of_service.get(second, services)
        for name, ok in due.get(second, ()):
            before = targets[name]
            counted[name] = targets[name] = observe(before, Probed(ok, None), probes[name], now)[0]
            is_new = is_new or targets[name].state is not before.state or name in silent
            (silent.add if ok is None else silent.discard)(name)
        for name in silent:
            before = counted[name]
            counted[name] = as_counted(targets[name], probes[name], now - targets[name].probed_at, now)
            is_new = is_new or counted[name].state is not before.state
        if is_new:
            known = {name: target.state for name, target in counted.items()}
            seen = (*of_infrastructure(counted.values(), components), *of_services(services))
            causes, reached = blame(RootCauses(graph, known), seen), reach(graph, known)
        if is_new or not all(map(is_settled, looks.alerts.values())):
            decision = looks.look(second, *seen, causes=causes, reach=reached)
            found += happened_at(second, decision)
            for alert in decision.told.get("log", ()):
                if alert.kind == ConditionKind.INFRASTRUCTURE and alert.state is AlertState.FIRING:
                    named[second, alert.rule, alert.subject] = {(each.kind, each.subject) for each in alert.affected}
            forget_resolved(looks, second)
    return sorted(found), named


def _probe(day: Day, name: str) -> ProbeSettings:
    settings = day.infrastructure.components[name].probe
    assert settings is not None
    return settings


def _services(day: Day) -> dict[int, list[ServiceState]]:
    """The services that are not well, from every second on at which that changes."""
    moments = {moment for spans in day.services.values() for begin, end, _ in spans for moment in (begin, end)}
    return {
        moment: [
            ServiceState(name, "default", HealthState(state), "", at(begin))
            for name, spans in day.services.items()
            for begin, end, state in spans
            if begin <= moment < end
        ]
        for moment in moments
    }


class Model:
    """What is expected of the day."""

    def __init__(self, day: Day) -> None:
        self._day = day
        self._causes = PlainCauses(day.infrastructure)
        self._spans = {Node(NodeKind.SERVICE, name): spans for name, spans in day.services.items()} | {
            component(name): plain_health.unwell(results, _probe(day, name), end=END)
            for name, results in day.results.items()
        }
        self._moments = [0]
        self._known: list[tuple[dict[Node, str], set[str]]] = [({}, set())]
        self._follow()

    def _follow(self) -> None:
        """Who is not well, and who is to blame for that, from every moment on at which somebody changes."""
        changes: dict[int, list[tuple[Node, str | None]]] = {}
        for node, spans in self._spans.items():
            for begin, end, state in spans:
                changes.setdefault(end, []).insert(0, (node, None))
                changes.setdefault(begin, []).append((node, state))
        states: dict[Node, str] = {}
        for moment in sorted(changes):
            for node, state in changes[moment]:
                states.pop(node, None)
                if state is not None:
                    states[node] = state
            self._moments.append(moment)
            self._known.append((dict(states), self._causes.roots(_components(states))))

    def events(self) -> Iterator[Event]:
        for node, spans in self._spans.items():
            for rule in (rule for rule in RULES.values() if rule.kind is KINDS[node.kind]):
                present = [span[:2] for span in spans if span[2] in rule.states]
                episodes = plain_model.episodes(present, lasts=int(rule.for_seconds), tick=TICK)
                plain_model.tell(
                    episodes,
                    present,
                    lasts=int(rule.for_seconds),
                    cooldown=int(rule.cooldown_seconds),
                    tick=TICK,
                    is_explained=lambda second, node=node: bool(self._blamed(second, node)),  # type: ignore[misc]
                    is_muted=lambda second, node=node: self._is_in_maintenance(second, node),  # type: ignore[misc]
                    acknowledgements=[],
                )
                yield from events_of(rule, node.name, episodes)

    def affected(self, second: int, subject: str) -> set[tuple[str, str]]:
        """Who suffers from a component, and who cannot work without it, also before that shows."""
        states, _ = self._at(second)
        found = {node for node in states if subject in self._blamed(second, node)}
        if states[component(subject)] == "unhealthy":
            found |= self._causes.stopped_by(subject)
        return {(KINDS[node.kind], node.name) for node in found}

    def _blamed(self, second: int, node: Node) -> set[str]:
        states, roots = self._at(second)
        return self._causes.of(node, states[node], _components(states), roots) if node in states else set()

    def _at(self, second: int) -> tuple[dict[Node, str], set[str]]:
        return self._known[bisect_right(self._moments, second) - 1]

    def _is_in_maintenance(self, second: int, node: Node) -> bool:
        return node.kind is NodeKind.COMPONENT and any(
            node.name in each.targets and each.begins_at <= at(second) < each.ends_at
            for each in self._day.infrastructure.maintenance
        )


def _components(states: dict[Node, str]) -> dict[str, str]:
    return {node.name: state for node, state in states.items() if node.kind is NodeKind.COMPONENT}
