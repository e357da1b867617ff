"""A week of a fleet of two hundred components, look after look, and the alerts that a plain model expects of it."""

import os
import random
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from central_hub.monitoring.condition import Condition, ConditionKind
from central_hub.monitoring.infrastructure import Maintenance
from central_hub.storage.alert_values import AlertState, Silence
from tests.unit.monitoring import plain_model
from tests.unit.monitoring.alert_events import (
    RULES,
    Event,
    events_of,
    first_difference,
    forget_resolved,
    happened_at,
    is_settled,
)
from tests.unit.monitoring.looks import NOON, Looks, at
from tests.unit.monitoring.week import TICK, WEEK, Name, Week, made_up


def test_alerts_of_a_week_are_those_that_a_plain_model_expects(capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("FAULT_SEED") or secrets.randbelow(10**6))
    week = made_up(random.Random(seed))
    happened, taken = of_the_hub(week)
    expected = sorted(of_the_model(week))
    counts = Counter(what for _, _, _, what in happened)
    with capsys.disabled():
        told = ", ".join(f"{counts[what]} {what}" for what in sorted(counts))
        faults = ", ".join(f"{count} {kind}" for kind, count in week.faults.items())
        print(f"\na week of alerts: seed {seed}; {faults}; {taken} looks; {told}")
    assert happened == expected, first_difference(happened, expected)
    assert counts["fired"] > counts["told"] > 200
    assert counts["resolved"] > counts["told of the end"] > 200


def of_the_hub(week: Week) -> tuple[list[Event], int]:
    """What the hub makes of the week, looking whenever something could come of it."""
    looks = Looks(
        RULES,
        maintenance=tuple(Maintenance(targets, at(begin), at(end), "") for targets, begin, end in week.maintenance),
    )
    changes, silences, acknowledged = week.changes(), _by_second(week), dict[int, list[str]]()
    for subject, second in week.acknowledgements:
        acknowledged.setdefault(second, []).append(subject)
    unwell: dict[Name, Condition] = {}
    found: list[Event] = []
    causes: dict[tuple[str, str, str], frozenset[str]] = {}
    taken = 0
    for second in range(0, WEEK + 86_400, TICK):
        for name, state in changes.get(second, ()):
            unwell.pop(name, None)
            if state is not None:
                kind, subject = name
                environment = "default" if kind is ConditionKind.SERVICE else ""
                unwell[name] = Condition(kind, subject, at(second), "", state=state, environment=environment)
        if second in changes:
            down = {subject for (kind, subject), each in unwell.items() if _is_down(kind, each)}
            causes = {
                (kind, subject, unwell[kind, subject].environment): week.roots((kind, subject), down)
                for kind, subject in unwell
            }
        looks.silences = silences.get(second, looks.silences)
        if second in changes or not all(is_settled(alert) for alert in looks.alerts.values()):
            taken += 1
            decision = looks.look(second, *unwell.values(), causes=causes)
            found += happened_at(second, decision)
            forget_resolved(looks, second)
        for subject in acknowledged.get(second, ()):
            for alert in list(looks.alerts.values()):
                if alert.subject == subject and alert.state is AlertState.FIRING:
                    looks.alerts[alert.id] = replace(alert, acknowledged_at=at(second))
    return sorted(found), taken


def of_the_model(week: Week) -> Iterator[Event]:
    """What is expected of it."""
    down = {
        name: [span[:2] for span in spans if span[2] == "unhealthy"]
        for (kind, name), spans in week.states.items()
        if kind is ConditionKind.INFRASTRUCTURE
    }
    hit = {
        name: frozenset(second for begin, end in spans for second in range(begin, end, TICK))
        for name, spans in down.items()
    }
    for (kind, subject), spans in week.states.items():
        needed = _all_needed(week, (kind, subject)) - {subject}
        silenced = [(begin, end) for name, begin, end in week.silences if name == subject]
        if kind is ConditionKind.INFRASTRUCTURE:
            silenced += [(begin, end) for targets, begin, end in week.maintenance if subject in targets]
        for rule in (rule for rule in RULES.values() if rule.kind is kind):
            present = [span[:2] for span in spans if span[2] in rule.states]
            episodes = plain_model.episodes(present, lasts=int(rule.for_seconds), tick=TICK)
            plain_model.tell(
                episodes,
                present,
                lasts=int(rule.for_seconds),
                cooldown=int(rule.cooldown_seconds),
                tick=TICK,
                is_explained=lambda second, needed=needed: any(second in hit[name] for name in needed),  # type: ignore[misc]
                is_muted=lambda second, spans=silenced: any(begin <= second < end for begin, end in spans),  # type: ignore[misc]
                acknowledgements=[second for name, second in week.acknowledgements if name == subject],
            )
            yield from events_of(rule, subject, episodes)


def _all_needed(week: Week, name: Name) -> set[str]:
    found: set[str] = set()
    for below in week.needs.get(name, ()):
        found |= {below} | _all_needed(week, (ConditionKind.INFRASTRUCTURE, below))
    return found


def _by_second(week: Week) -> dict[int, tuple[Silence, ...]]:
    """The silences that there are, from every second on at which that changes."""
    seconds = sorted({second for _, begin, end in week.silences for second in (begin, end)})
    return {
        second: tuple(
            Silence(f"{subject} {begin}", None, subject, None, "", NOON, "ada", at(end))
            for subject, begin, end in week.silences
            if begin <= second < end
        )
        for second in seconds
    }


def _is_down(kind: ConditionKind, condition: Condition) -> bool:
    return kind is ConditionKind.INFRASTRUCTURE and condition.state == "unhealthy"
