"""A made-up week of a fleet: which component and which service is how, when, and why; and what people do about it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from central_hub.monitoring.condition import ConditionKind

TICK = 5
"""Seconds between two looks."""
WEEK = 7 * 86_400
COMPONENTS = 200
SERVICES = 60

Name = tuple[ConditionKind, str]
Span = tuple[int, int]
"""From this second on, and before that one."""


@dataclass
class Week:
    """`states` are those of who is not well: spans and what he is then, in order and apart from each other."""

    needs: dict[Name, list[str]]
    states: dict[Name, list[tuple[int, int, str]]]
    silences: list[tuple[str, int, int]] = field(default_factory=list)
    maintenance: list[tuple[frozenset[str], int, int]] = field(default_factory=list)
    acknowledgements: list[tuple[str, int]] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)

    def changes(self) -> dict[int, list[tuple[Name, str | None]]]:
        """Who turns out how, by the second; None is well."""
        found: dict[int, list[tuple[Name, str | None]]] = {}
        for name, spans in self.states.items():
            ends = {end for _, end, _ in spans} - {begin for begin, _, _ in spans}
            for begin, _, state in spans:
                found.setdefault(begin, []).append((name, state))
            for end in ends:
                found.setdefault(end, []).append((name, None))
        return found

    def roots(self, name: Name, unhealthy: set[str]) -> frozenset[str]:
        """The components, of those that it needs over however many corners, that are down and need nothing that is."""
        found: set[str] = set()
        reached = list(self.needs.get(name, ()))
        while reached:
            each = reached.pop()
            below = self.needs.get((ConditionKind.INFRASTRUCTURE, each), [])
            if each in unhealthy and not any(self._is_hit(one, unhealthy) for one in below):
                found.add(each)
            reached += below
        return frozenset(found)

    def _is_hit(self, name: str, unhealthy: set[str]) -> bool:
        below = self.needs.get((ConditionKind.INFRASTRUCTURE, name), [])
        return name in unhealthy or any(self._is_hit(each, unhealthy) for each in below)


def made_up(rng: random.Random) -> Week:
    """Outages, flapping, hanging, chains of dependencies, maintenance, silences and acknowledgements."""
    components = [f"component-{number:03}" for number in range(COMPONENTS)]
    week = Week({}, {}, faults=dict.fromkeys(("outage", "flapping", "hanging"), 0))
    own: dict[Name, list[tuple[int, int, str]]] = {}
    for number, name in enumerate(components):
        below = rng.sample(components[:number], min(number, rng.choice([0, 0, 0, 1, 2])))
        week.needs[ConditionKind.INFRASTRUCTURE, name] = below
        own[ConditionKind.INFRASTRUCTURE, name] = list(_faults(rng, week.faults, mean_pause=40 * 3600))
    for number in range(SERVICES):
        named = (ConditionKind.SERVICE, f"service-{number:02}")
        week.needs[named] = rng.sample(components, rng.choice([1, 1, 2, 3]))
        own[named] = list(_faults(rng, week.faults, mean_pause=80 * 3600))
    down = {name: [span[:2] for span in spans if span[2] == "unhealthy"] for (_, name), spans in own.items()}
    for named, spans in own.items():
        suffered = [] if named[0] is ConditionKind.INFRASTRUCTURE else _suffered(rng, week.needs[named], down)
        week.states[named] = painted(spans, suffered)
    for _ in range(30):
        begin = tick_of(rng.uniform(0, WEEK))
        targets = frozenset(rng.sample(components, rng.choice([1, 3, 10])))
        week.maintenance.append((targets, begin, begin + tick_of(rng.uniform(600, 8 * 3600))))
    subjects = [name for _, name in own]
    for _ in range(60):
        begin, subject = tick_of(rng.uniform(0, WEEK)), rng.choice(subjects)
        week.silences.append((subject, begin, begin + tick_of(rng.uniform(600, 12 * 3600))))
    for _, name in rng.sample(list(own), 100):
        week.acknowledgements += [(name, tick_of(rng.uniform(0, WEEK))) for _ in range(10)]
    for (_, name), spans in own.items():
        # Soon after it began, before anybody was told of it.
        week.acknowledgements += [
            (name, begin + tick_of(rng.uniform(0, 200))) for begin, _, _ in spans if rng.random() < 0.2
        ]
    return week


def _faults(rng: random.Random, counts: dict[str, int], *, mean_pause: float) -> Iterator[tuple[int, int, str]]:
    at = tick_of(rng.expovariate(1 / mean_pause))
    while at < WEEK - 86_400:
        kind = rng.choice(list(counts))
        counts[kind] += 1
        if kind == "flapping":
            for _ in range(rng.randrange(3, 30)):
                end = at + tick_of(rng.choice([5, 10, 60, 90, 150]))
                yield at, end, rng.choice(["unhealthy", "degraded"])
                at = end + tick_of(rng.choice([5, 10, 15, 60]))
        else:
            found_out = at + tick_of(rng.choice([5, 20, 30]))  # it fails, but not often enough to count
            end = found_out + tick_of(rng.choice([10, 60, 300, 3_600, rng.uniform(10, 40_000)]))
            yield at, found_out, "degraded"
            yield found_out, end, "unhealthy" if kind == "outage" else "degraded"
            at = end
        at += tick_of(rng.expovariate(1 / mean_pause))


def _suffered(rng: random.Random, needed: list[str], down: dict[str, list[Span]]) -> list[Span]:
    """A service goes down a little after what it needs, and comes back a little later, or a lot."""
    return [
        (begin + tick_of(rng.choice([5, 10, 30])), end + tick_of(rng.choice([0, 5, 20, 45, 100, 400])))
        for name in needed
        for begin, end in down[name]
        if rng.random() < 0.9
    ]


def painted(own: list[tuple[int, int, str]], suffered: list[Span]) -> list[tuple[int, int, str]]:
    """One state at a time: what is suffered over what is one's own, the later over the earlier."""
    ticks: dict[int, str] = {}
    for begin, end, state in [*own, *((begin, end, "unhealthy") for begin, end in suffered)]:
        ticks.update(dict.fromkeys(range(begin, end, TICK), state))
    spans: list[tuple[int, int, str]] = []
    for tick in sorted(ticks):
        if spans and spans[-1][1] == tick and spans[-1][2] == ticks[tick]:
            spans[-1] = (spans[-1][0], tick + TICK, ticks[tick])
        else:
            spans.append((tick, tick + TICK, ticks[tick]))
    return spans


def tick_of(seconds: float) -> int:
    return int(seconds) // TICK * TICK
