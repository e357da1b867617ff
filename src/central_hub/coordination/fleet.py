"""The instances as one replica knows them: what the store last said, and the heartbeats it has not been told yet. Pure.

Heartbeats are lost with the process that collected them: at worst one interval, which every lease tolerates.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from weakref import WeakValueDictionary

from central_hub.coordination.changes import Changes
from central_hub.coordination.check_result import ends, refutes
from central_hub.coordination.leases import LeaseQueue
from central_hub.coordination.protection import kept, overdue_at
from central_hub.coordination.registry import (
    REMEMBERED_FOR,
    is_remembered,
    last_state,
    lease_ends,
    merged,
    renewed,
    state_of,
    unleased_state,
)
from central_hub.storage.instance_values import Beat, Instance, Key, Report
from central_hub_client.wire import HealthState

Place = tuple[str, str]
"""Service and environment."""


@dataclass(frozen=True, slots=True)
class Member:
    """An instance, and how it counts: `is_kept` where its lease ran out together with too many others'."""

    instance: Instance
    state: HealthState
    is_kept: bool


class Fleet:
    """A view of the instances, changed in place: thousands of them renew their leases every second.

    Where more than `protect_share` of a service's instances in one environment fall silent at once, they are kept as
    they were. Time passes by `advance`: what is told is how it was then.
    """

    def __init__(self, protect_share: float) -> None:
        self._protect_share = protect_share
        self._instances: dict[str, dict[Key, Instance]] = {}
        self._named: dict[tuple[str, str], dict[Key, None]] = {}
        self._unwritten: dict[Key, Beat] = {}
        self._reports: WeakValueDictionary[Report, Report] = WeakValueDictionary()
        self._queue = LeaseQueue()
        self._lapsed: dict[Place, set[Key]] = {}
        self._kept: dict[Place, frozenset[Key]] = {}
        self._undecided: set[Place] = set()
        self._gone: list[Key] = []
        self.changes = Changes()

    @property
    def services(self) -> list[str]:
        return sorted(self._instances)

    @property
    def unwritten(self) -> int:
        """How many instances have heartbeats that the store has not been told of."""
        return len(self._unwritten)

    @property
    def kept(self) -> dict[Place, int]:
        """Where instances are kept as they were last known, and how many."""
        return {place: len(keys) for place, keys in self._kept.items()}

    def count(self, now: datetime) -> int:
        """How many instances are remembered."""
        return sum(is_remembered(instance, now) for known in self._instances.values() for instance in known.values())

    def of_service(self, service: str, now: datetime) -> list[Instance]:
        """The remembered instances of a service, by environment and name."""
        known = self._instances.get(service, {})
        return [known[key] for key in sorted(known) if is_remembered(known[key], now)]

    def members(self, service: str, now: datetime) -> list[Member]:
        """The same, each with how it counts."""
        self.advance(now)
        return [self.as_member(instance, now) for instance in self.of_service(service, now)]

    def member(self, key: Key, now: datetime) -> Member | None:
        """One remembered instance with how it counts."""
        self.advance(now)
        instance = self.find(key, now)
        return None if instance is None else self.as_member(instance, now)

    def as_member(self, instance: Instance, now: datetime) -> Member:
        """An instance with how it counts."""
        is_kept = instance.key in self._kept.get(instance.key[:2], ())
        return Member(instance, unleased_state(instance, now) if is_kept else state_of(instance, now), is_kept)

    def instances(self) -> Iterator[tuple[Key, Instance]]:
        """All that are known, also those that are not spoken of."""
        for known in self._instances.values():
            yield from known.items()

    def named(self, service: str, instance_id: str, now: datetime) -> Iterator[Instance]:
        """The remembered instances of this name, one an environment at most."""
        for key in self._named.get((service, instance_id), ()):
            instance = self._instances[service][key]
            if is_remembered(instance, now):
                yield instance

    def find(self, key: Key, now: datetime) -> Instance | None:
        instance = self._instances.get(key[0], {}).get(key)
        return instance if instance is not None and is_remembered(instance, now) else None

    def generation(self, key: Key) -> int | None:
        """Which incarnation was the last, of an instance that may be gone already; None where that is forgotten."""
        instance = self._instances.get(key[0], {}).get(key)
        return None if instance is None else instance.generation

    def put(self, row: Instance) -> None:
        """Take over what the store says, unless something later is known; with what it has not been told on top."""
        held = self._instances.get(row.service, {}).get(row.key)
        if held is None or held.change <= row.change:
            self._take(row, held)

    def beat(self, beat: Beat) -> None:
        """Renew an instance that is known."""
        if beat.report is not None:
            beat = replace(beat, report=self._shared(beat.report))
        known = self._instances[beat.key[0]]
        held = known[beat.key]
        known[beat.key] = renewed(held, beat)
        self._unwritten[beat.key] = merged(self._unwritten.get(beat.key), beat)
        found = known[beat.key]
        if (beat.state is not None and beat.state is not held.state) or _is_refuted(found) != _is_refuted(held):
            self.changes.note(beat.key)
        self._watch_check(found)
        if found.leased_at >= overdue_at(held):
            self._undecide(beat.key)
        if lease_ends(found) != lease_ends(held) and beat.key in self._lapsed.get(beat.key[:2], ()):
            self._revive(found)

    def take_unwritten(self) -> list[Beat]:
        """The heartbeats to write now. They are the caller's to bring back if that fails."""
        beats, self._unwritten = list(self._unwritten.values()), {}
        return beats

    def bring_back(self, beats: Iterable[Beat]) -> None:
        for beat in beats:
            later = self._unwritten.get(beat.key)
            self._unwritten[beat.key] = beat if later is None else merged(beat, later)

    def written(self, key: Key, change: int) -> None:
        """The store has a heartbeat that was taken here, just as it was told; its row has this `change` by that."""
        held = self._instances.get(key[0], {}).get(key)
        # Otherwise somebody else has changed the row in between, which is not known here yet.
        if held is not None and held.change == change - 1:
            self._instances[key[0]][key] = replace(held, change=change)

    def is_known(self, key: Key, change: int) -> bool:
        """Whether reading the row of that `change` would tell nothing new."""
        held = self._instances.get(key[0], {}).get(key)
        return held is not None and held.change >= change

    def replace(self, rows: Collection[Instance]) -> None:
        """Begin anew from all that the store has."""
        there = {row.key for row in rows}
        for key in [key for known in self._instances.values() for key in known if key not in there]:
            self._drop(key)
        for row in rows:
            self._take(row, self._instances.get(row.service, {}).get(row.key))

    def advance(self, now: datetime) -> None:
        """Let the leases run out that have, and speak no more of instances that have been silent for too long."""
        for key in self._queue.due(now):
            instance = self._instances.get(key[0], {}).get(key)
            if instance is None:
                continue
            if instance.deregistered_at is not None:
                if instance.deregistered_at + REMEMBERED_FOR <= now:
                    self._drop(key)
                else:
                    self._queue.schedule(key, instance.deregistered_at + REMEMBERED_FOR)
            elif not is_remembered(instance, now):
                self._drop(key)
            elif lease_ends(instance) <= now:
                self._lapse(instance)
            elif _is_refuted(instance) and instance.check is not None and ends(instance.check) <= now:
                self.changes.note(key)
                self._queue.schedule(key, lease_ends(instance))
            else:
                self._queue.schedule(key, lease_ends(instance))
                self._watch_check(instance)
        while self._undecided:
            self._decide(self._undecided.pop(), now)

    def forget(self) -> None:
        """Forget that there were instances which were gone already when this was last called."""
        gone, self._gone = self._gone, []
        for key in gone:
            if key not in self._instances.get(key[0], {}):
                self.changes.forget(key)

    def _take(self, row: Instance, held: Instance | None) -> None:
        beat = self._unwritten.get(row.key)
        found = renewed(row, beat) if beat is not None and beat.generation == row.generation else row
        report = self._shared(found.report)
        found = found if report is found.report else replace(found, report=report)
        self._instances.setdefault(row.service, {})[row.key] = found
        self._named.setdefault((row.service, row.instance_id), {})[row.key] = None
        if held is None or _face(held) != _face(found):
            self.changes.note(row.key)
            self._undecide(row.key)
        elif found.leased_at >= overdue_at(held):
            self._undecide(row.key)
        if held is None or lease_ends(found) != lease_ends(held):
            self._revive(found)
        self._watch_check(found)

    def _watch_check(self, instance: Instance) -> None:
        """Look at it when its check says nothing any more."""
        if instance.check is not None and _is_refuted(instance):
            self._queue.schedule(instance.key, ends(instance.check))

    def _revive(self, instance: Instance) -> None:
        """Its lease runs until another moment than was known."""
        lapsed = self._lapsed.get(instance.key[:2])
        if lapsed is not None and instance.key in lapsed:
            self._undecide(instance.key)
            lapsed.discard(instance.key)
            self.changes.note(instance.key)
        self._queue.schedule(instance.key, lease_ends(instance))

    def _lapse(self, instance: Instance) -> None:
        self._lapsed.setdefault(instance.key[:2], set()).add(instance.key)
        self._undecide(instance.key)
        self.changes.note(instance.key)
        self._queue.schedule(instance.key, lease_ends(instance) + REMEMBERED_FOR)

    def _drop(self, key: Key) -> None:
        known = self._instances[key[0]]
        instance = known.pop(key)
        if not known:
            del self._instances[key[0]]
        named = self._named[key[0], key[2]]
        del named[key]
        if not named:
            del self._named[key[0], key[2]]
        self._undecide(key)
        self._lapsed.get(key[:2], set()).discard(key)
        self._gone.append(key)
        if instance.deregistered_at is None:
            self.changes.note(key)

    def _undecide(self, key: Key) -> None:
        """Where a lease has run out, whoever comes, goes or is heard again after a while may change who is kept."""
        if self._lapsed.get(key[:2]):
            self._undecided.add(key[:2])

    def _decide(self, place: Place, now: datetime) -> None:
        service, environment = place
        known = self._instances.get(service, {}).values()
        found = kept((each for each in known if each.environment == environment), self._protect_share, now)
        before = self._kept.get(place, frozenset())
        for key in sorted(found ^ before):
            self.changes.note(key)
        if found:
            self._kept[place] = found
        else:
            self._kept.pop(place, None)
        if not self._lapsed.get(place):
            self._lapsed.pop(place, None)

    def _shared(self, report: Report) -> Report:
        """The same report as one object: a thousand instances of one build say the same thousand keys."""
        return self._reports.setdefault(report, report)


def _face(instance: Instance) -> tuple[object, ...]:
    """What somebody who calls it sees of an instance."""
    is_there = instance.deregistered_at is None
    state = instance.state, instance.drain, _is_refuted(instance)
    return instance.generation, state, instance.description, is_there


def _is_refuted(instance: Instance) -> bool:
    return refutes(last_state(instance), instance.check)
