"""Replicas of a hub on a virtual clock: the real rules of the fleet, around a plain model of the store.

What is left out is I/O: a transaction happens in an instant, or not at all.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

from central_hub.coordination import registry
from central_hub.coordination.fleet import Fleet, Member, Place
from central_hub.coordination.routing import Router
from central_hub.errors import HubError, StoreUnavailable
from central_hub.security.tokens import sha256
from central_hub.storage.hearing import LONGEST_PAUSE
from central_hub.storage.instance_values import Beat, Description, Drain, Instance, Key, Report, Stance
from central_hub_client.routing.policy import Draw, Policy
from central_hub_client.wire import HealthState

_NEVER = datetime.max.replace(tzinfo=UTC)
_NOTHING_REPORTED = Report()


class Store:
    """The tables `instances` and `hearing`, as far as they matter here."""

    def __init__(self) -> None:
        self.rows: dict[Key, Instance] = {}
        self.log: list[Key] = []
        self.heard_at: datetime | None = None

    def register(self, key: Key, secret: str, lease_seconds: int, zone: str, now: datetime) -> Instance:
        before = self.rows.get(key)
        row = Instance(
            *key,
            generation=1 if before is None else before.generation + 1,
            secret_sha256=sha256(secret),
            description=Description(zone=zone),
            schema_hash=None,
            lease_seconds=lease_seconds,
            state=HealthState.STARTING,
            registered_at=now,
            seen_at=now,
            leased_at=now,
            deregistered_at=None,
            stance=Stance(),
            report=_NOTHING_REPORTED,
            change=0 if before is None else before.change,
        )
        return self._put(row)

    def write(self, beats: Iterable[Beat]) -> list[tuple[Key, int]]:
        """Those of incarnations that are no longer current change nothing."""
        written = []
        for beat in beats:
            row = self.rows[beat.key]
            if row.generation == beat.generation and row.deregistered_at is None:
                written.append((beat.key, self._put(registry.renewed(row, beat)).change))
        return written

    def drain(self, key: Key, drain: Drain | None) -> Instance:
        return self._put(replace(self.rows[key], drain=drain))

    def deregister(self, key: Key, now: datetime) -> Instance:
        return self._put(replace(self.rows[key], deregistered_at=now))

    def hear(self, now: datetime) -> datetime | None:
        """Somebody listens. Where nobody did for a while, leases begin anew; since when that was."""
        before, self.heard_at = self.heard_at, now
        if before is None or now - before <= LONGEST_PAUSE:
            return None
        self._begin_anew(before, now)
        return before

    def _begin_anew(self, deaf_since: datetime, now: datetime) -> None:
        for row in list(self.rows.values()):
            if row.deregistered_at is None and registry.lease_ends(row) > deaf_since:
                self._put(replace(row, leased_at=now))

    def _put(self, row: Instance) -> Instance:
        row = replace(row, change=row.change + 1)
        self.rows[row.key] = row
        self.log.append(row.key)
        return row


class Replica:
    """One hub: what `CoordinationManager` does, turn by turn."""

    def __init__(
        self, name: str, store: Store, draw: Draw, protect_share: float, on_resumed: Callable[[datetime], None]
    ) -> None:
        """`on_resumed` is told since when nobody had listened, where this replica is the first to listen again."""
        self.name = name
        self.is_up = True
        self.is_connected = True
        self._store = store
        self._draw = draw
        self._protect_share = protect_share
        self._on_resumed = on_resumed
        self._forget_everything()

    @property
    def is_loaded(self) -> bool:
        return self.is_up and self._looks > 0

    def is_fresh(self, now: datetime) -> bool:
        return self.is_loaded and now <= self.known_until

    def as_of(self, now: datetime) -> datetime:
        """The moment that states are told of."""
        return min(now, self.known_until)

    def members(self, service: str, now: datetime) -> list[Member]:
        return self.fleet.members(service, self.as_of(now))

    def route(self, place: Place, policy: Policy, now: datetime) -> Member:
        """Raises NoInstance."""
        return self._router.route(self.fleet, place, policy, key=None, zone=None, now=self.as_of(now)).member

    def kill(self) -> None:
        self.is_up = False

    def start(self) -> None:
        self.is_up = True
        self._forget_everything()

    def register(self, key: Key, secret: str, lease_seconds: int, zone: str, now: datetime) -> Instance:
        """Raises StoreUnavailable."""
        self._need_store()
        row = self._store.register(key, secret, lease_seconds, zone, now)
        self.fleet.put(row)
        return row

    def beat(self, key: Key, generation: int, secret: str, state: HealthState, now: datetime) -> None:
        """Take a heartbeat. Raises NotFound, StaleGeneration, Forbidden, StoreUnavailable."""
        try:
            known = self._prove(key, generation, secret, now)
        except HubError:
            self.look(now)  # another replica may know better
            known = self._prove(key, generation, secret, now)
        self.fleet.beat(registry.heard(known, Beat(known.key, generation, now, state)))

    def look(self, now: datetime) -> None:
        """Read what has changed in the store. Raises StoreUnavailable."""
        self._need_store()
        deaf_since = self._store.hear(now)
        if deaf_since is not None:
            self._on_resumed(deaf_since)
        log = self._store.log
        if not self.is_fresh(now):
            self.fleet.replace(list(self._store.rows.values()))
        else:
            for key in set(log[self._read_to :]):
                self._read(self._store.rows[key])
        self._read_to = len(log)
        self._looks += 1
        self.known_until = now + LONGEST_PAUSE
        self.fleet.advance(now)

    def _read(self, row: Instance) -> None:
        if not self.fleet.is_known(row.key, row.change):
            self.fleet.put(row)

    def write(self) -> list[Beat]:
        """Write the heartbeats taken so far, and return them."""
        beats = self.fleet.take_unwritten()
        for key, change in self._store.write(beats):
            self.fleet.written(key, change)
        return beats

    def _prove(self, key: Key, generation: int, secret: str, now: datetime) -> Instance:
        if not self.is_loaded:
            raise StoreUnavailable("the hub is starting")
        return registry.prove(self.fleet.named(key[0], key[2], now), generation, sha256(secret))

    def _need_store(self) -> None:
        if not (self.is_up and self.is_connected):
            raise StoreUnavailable("the store cannot be reached")

    def _forget_everything(self) -> None:
        self.fleet = Fleet(self._protect_share)
        self._router = Router(self._draw)
        self._read_to = 0
        self._looks = 0
        self.known_until = _NEVER
