"""A made-up day of an infrastructure: what its probes come to, and how the services on top of it are."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from central_hub.monitoring.infrastructure import (
    Component,
    Infrastructure,
    Maintenance,
    Need,
    ProbeSettings,
    Section,
)
from tests.unit.monitoring.looks import at
from tests.unit.monitoring.plain_health import Result
from tests.unit.monitoring.week import TICK, Span, painted, tick_of

DAY = 86_400
END = DAY + 3_600
"""From the end of the day until here all is well."""
COMPONENTS = 200
SERVICES = 40


@dataclass
class Day:
    """`results` are those of the probes of each component, `services` the spans in which a service is not well."""

    infrastructure: Infrastructure
    results: dict[str, list[Result]]
    services: dict[str, list[tuple[int, int, str]]]
    faults: dict[str, int] = field(default_factory=dict)


def made_up(rng: random.Random) -> Day:
    """Outages that spread to who depends on it, flapping, probes that measure nothing, and maintenance."""
    faults = dict.fromkeys(("outage", "flapping", "suffered", "unmeasured"), 0)
    components: dict[str, Component] = {}
    down: dict[str, list[Span]] = {}
    results: dict[str, list[Result]] = {}
    for number in range(COMPONENTS):
        name = f"component-{number:03}"
        needs = _needs(rng, list(components), rng.choice([0, 0, 0, 1, 2]))
        settings = ProbeSettings(
            "tcp",
            interval_seconds=rng.choice([10] + [30] * 3 + [60] * 16),
            failures=rng.choice([1, 2, 3, 3, 3, 5]),
            successes=rng.choice([1, 2, 2, 3]),
        )
        components[name] = Component(name, Section.DATABASES, "tcp", {}, settings, needs)
        down[name] = [*_own(rng, settings, faults), *_suffered(rng, needs, down, faults)]
        results[name] = list(_results(rng, settings, down[name], faults))
    named = list(components)
    services = {f"service-{number:02}": _needs(rng, named, rng.choice([1, 1, 2, 3])) for number in range(SERVICES)}
    states = {}
    for name, needs in services.items():
        stopped = _suffered(rng, needs, down, faults)
        hampered = [span for other in needs if needs[other] is Need.OPTIONAL for span in down[other]]
        states[name] = painted([(begin, end, "degraded") for begin, end in hampered], stopped)
    maintenance = []
    for _ in range(10):
        begin = tick_of(rng.uniform(0, DAY))
        targets = frozenset(rng.sample(named, rng.choice([1, 5, 20])))
        maintenance.append(Maintenance(targets, at(begin), at(begin + tick_of(rng.uniform(600, 4 * 3600))), "disks"))
    return Day(Infrastructure(components, services, tuple(maintenance)), results, states, faults)


def _needs(rng: random.Random, names: list[str], count: int) -> dict[str, Need]:
    chosen = rng.sample(names, min(count, len(names)))
    return {name: rng.choice([Need.REQUIRED, Need.REQUIRED, Need.OPTIONAL]) for name in chosen}


def _own(rng: random.Random, settings: ProbeSettings, faults: dict[str, int]) -> Iterator[Span]:
    """When it is down by itself."""
    interval = int(settings.interval_seconds)
    begin = tick_of(rng.expovariate(1 / (20 * 3600)))
    while begin < DAY:
        kind = rng.choice(["outage", "outage", "flapping"])
        faults[kind] += 1
        for _ in range(rng.randrange(3, 20) if kind == "flapping" else 1):
            lasts = interval * rng.choice([1, 2, 4]) if kind == "flapping" else rng.choice([60, 300, 1_800, 7_200])
            if begin < DAY:
                yield begin, min(begin + tick_of(lasts), DAY)
            begin += tick_of(lasts + interval * rng.choice([1, 1, 2, 3]))
        begin += tick_of(rng.expovariate(1 / (20 * 3600)))


def _suffered(
    rng: random.Random, needs: dict[str, Need], down: dict[str, list[Span]], faults: dict[str, int]
) -> list[Span]:
    """When it is down because of what it requires: a little later, and for a little longer or a lot."""
    found = [
        (min(begin + tick_of(rng.choice([5, 20, 60])), DAY), min(end + tick_of(rng.choice([5, 45, 400])), DAY))
        for name, need in needs.items()
        if need is Need.REQUIRED
        for begin, end in down[name]
        if rng.random() < 0.9
    ]
    faults["suffered"] += len(found)
    return found


def _results(rng: random.Random, settings: ProbeSettings, down: list[Span], faults: dict[str, int]) -> Iterator[Result]:
    """A probe every interval, at times somewhat later. Now and then, while all is well, nothing can be measured."""
    interval = int(settings.interval_seconds)
    second, spans = tick_of(rng.uniform(0, interval)), sorted(down, key=lambda span: span[1])
    unmeasured_until = 0
    while second < END:
        while spans and spans[0][1] + 1_200 <= second:
            del spans[0]
        near = [span for span in spans if span[0] - 1_200 <= second < span[1] + 1_200]
        if not near and second < DAY and rng.random() < 0.000_5:
            faults["unmeasured"] += 1
            unmeasured_until = min(second + tick_of(rng.uniform(0, 900)), DAY)
        ok = not any(begin <= second < end for begin, end in near)
        yield second, None if second < unmeasured_until and not near else ok
        second += interval + rng.choice([0, 0, TICK])
