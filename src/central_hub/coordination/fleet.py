"""The instances as one replica knows them: what the store last said, and the heartbeats it has not been told yet. Pure.

Heartbeats are lost with the process that collected them: at worst one interval, which every lease tolerates.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from weakref import WeakValueDictionary

from central_hub.coordination.registry import is_remembered, merged, renewed
from central_hub.storage.instance_values import Beat, Instance, Key, Report


class Fleet:
    """A view of the instances, changed in place: thousands of them renew their leases every second."""

    def __init__(self) -> None:
        self._instances: dict[str, dict[Key, Instance]] = {}
        self._named: dict[tuple[str, str], dict[Key, None]] = {}
        self._unwritten: dict[Key, Beat] = {}
        self._reports: WeakValueDictionary[Report, Report] = WeakValueDictionary()

    @property
    def services(self) -> list[str]:
        return sorted(self._instances)

    @property
    def unwritten(self) -> int:
        """How many instances have heartbeats that the store has not been told of."""
        return len(self._unwritten)

    def count(self, now: datetime) -> int:
        """How many instances are remembered."""
        return sum(is_remembered(instance, now) for known in self._instances.values() for instance in known.values())

    def of_service(self, service: str, now: datetime) -> list[Instance]:
        """The remembered instances of a service, by environment and name."""
        known = self._instances.get(service, {})
        return [known[key] for key in sorted(known) if is_remembered(known[key], now)]

    def named(self, service: str, instance_id: str, now: datetime) -> Iterator[Instance]:
        """The remembered instances of this name, one an environment at most."""
        for key in self._named.get((service, instance_id), ()):
            instance = self._instances[service][key]
            if is_remembered(instance, now):
                yield instance

    def find(self, key: Key, now: datetime) -> Instance | None:
        instance = self._instances.get(key[0], {}).get(key)
        return instance if instance is not None and is_remembered(instance, now) else None

    def put(self, row: Instance) -> None:
        """Take over what the store says, unless something later is known; with what it has not been told on top."""
        known = self._instances.setdefault(row.service, {})
        held = known.get(row.key)
        if held is not None and held.change > row.change:
            return
        beat = self._unwritten.get(row.key)
        found = renewed(row, beat) if beat is not None and beat.generation == row.generation else row
        report = self._shared(found.report)
        known[row.key] = found if report is found.report else replace(found, report=report)
        self._named.setdefault((row.service, row.instance_id), {})[row.key] = None

    def beat(self, beat: Beat) -> None:
        """Renew an instance that is known."""
        if beat.report is not None:
            beat = replace(beat, report=self._shared(beat.report))
        known = self._instances[beat.key[0]]
        known[beat.key] = renewed(known[beat.key], beat)
        self._unwritten[beat.key] = merged(self._unwritten.get(beat.key), beat)

    def take_unwritten(self) -> list[Beat]:
        """The heartbeats to write now. They are the caller's to bring back if that fails."""
        beats, self._unwritten = list(self._unwritten.values()), {}
        return beats

    def bring_back(self, beats: Iterable[Beat]) -> None:
        for beat in beats:
            later = self._unwritten.get(beat.key)
            self._unwritten[beat.key] = beat if later is None else merged(beat, later)

    def replace(self, rows: Iterable[Instance]) -> None:
        """Begin anew from all that the store has."""
        self._instances.clear()
        self._named.clear()
        for row in rows:
            self.put(row)

    def _shared(self, report: Report) -> Report:
        """The same report as one object: a thousand instances of one build say the same thousand keys."""
        return self._reports.setdefault(report, report)

    def forget(self, now: datetime) -> None:
        """Drop the instances that nobody speaks of any more."""
        self.replace(
            [
                instance
                for known in self._instances.values()
                for instance in known.values()
                if is_remembered(instance, now)
            ]
        )
