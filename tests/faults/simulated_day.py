"""A day of a fleet on a virtual clock: thousands of instances, two hubs, and whatever goes wrong among them.

Nothing waits: the clock jumps from one event to the next. Leases are longer than usual, and of the heartbeats that an
instance sends only every other one arrives, the latest that is in time: what is left out is what changes nothing.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from central_hub.coordination.check_result import CALLABLE
from central_hub.coordination.fleet import Member, Place
from central_hub.coordination.protection import LEAST
from central_hub.coordination.registry import REMEMBERED_FOR, is_remembered, last_state, lease_ends
from central_hub.errors import HubError, NoInstance, NotFound, StoreUnavailable
from central_hub.storage.instance_values import Drain, Key
from central_hub_client.routing.policy import Policy
from central_hub_client.wire import HealthState
from tests.faults.simulated_hub import Replica, Store

MIDNIGHT: Final = datetime(2026, 11, 23, tzinfo=UTC)
TURN_SECONDS: Final = 1.0
"""Of a hub that has much to do: two of them are the two seconds within which the other one knows."""
KNOWN_WITHIN: Final = timedelta(seconds=2)
HOUR: Final = 3_600.0
PROTECT_SHARE: Final = 0.5
RETRY_SECONDS: Final = 30.0
"""As the client does while there is no hub."""

LEASES: Final = ((60, 0.01), (600, 0.03), (1_800, 0.2), (3_600, 0.76))
"""Seconds, and the share of the services that have such leases."""
OF_A_SERVICE: Final = 50
CALLED: Final = (HealthState.HEALTHY, HealthState.DEGRADED)
"""The better ones first."""
POLICIES: Final = (Policy.ROUND_ROBIN, Policy.RANDOM)


@dataclass
class Process:
    """An instance as it is, whatever hubs know of it."""

    key: Key
    zone: str
    lease_seconds: int
    secret: str = ""
    generation: int = 0
    is_alive: bool = True
    life: int = 0
    state: HealthState = HealthState.HEALTHY
    cut_from: Counter[str] = field(default_factory=Counter)
    heard_at: datetime = MIDNIGHT
    """When a hub last took a heartbeat or a registration of it."""
    sound_until: datetime = MIDNIGHT
    """Until when everybody has to count it as there: its last heartbeat that has reached the store, and its lease."""
    sound_since: datetime = MIDNIGHT
    said_goodbye: bool = False

    def count_as_there(self, heard_at: datetime, now: datetime) -> None:
        """The store is told now that it was heard then."""
        if now > self.sound_until:
            self.sound_since = now
        self.sound_until = max(self.sound_until, heard_at + timedelta(seconds=self.lease_seconds))


class Day:
    """Plays a day, and notes in `violations` whatever must not be."""

    def __init__(self, rng: random.Random, *, instances: int, hours: float, share: float = PROTECT_SHARE) -> None:
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.now = MIDNIGHT
        self._rng = rng
        self._ends = MIDNIGHT + timedelta(hours=hours)
        self._events: list[tuple[datetime, int, Callable[[], None]]] = []
        self._number = 0
        self._store = Store()
        self._replicas = [Replica(name, self._store, rng.random, share, self._resume) for name in ("one", "two")]
        self._resumed_at = MIDNIGHT
        self._kept: dict[str, set[Place]] = {replica.name: set() for replica in self._replicas}
        self._shown: dict[Key, int] = {}
        self._silenced: Counter[str] = Counter()
        self._services: dict[str, list[Process]] = {}
        for number in range(instances):
            service = f"s{number // OF_A_SERVICE:03}"
            lease = self._lease_of(number // OF_A_SERVICE, -(-instances // OF_A_SERVICE))
            process = Process((service, "default", f"i{number:04}"), f"z{number % 3}", lease)
            self._services.setdefault(service, []).append(process)
        self._processes = [process for processes in self._services.values() for process in processes]
        self._by_key = {process.key: process for process in self._processes}

    def play(self) -> None:
        """All of it; then everything heals, and within the longest lease all is well again."""
        for replica in self._replicas:
            self._turn(replica)
        for process in self._processes:
            self._in(self._rng.uniform(0, 60), self._coming_alive(process))
        self._in(120, self._check_some)
        for seconds, fault in (
            (24 * HOUR / len(self._processes), self._crash),
            (300, self._change_state),
            (600, self._drain),
            (900, self._cut_some_from_one_hub),
            (1_200, self._silence_a_service),
            (HOUR, self._cut_a_hub_from_the_store),
            (HOUR, self._kill_a_hub),
            (3 * HOUR, self._kill_both_hubs),
        ):
            self._again_and_again(seconds, fault)
        self._in(HOUR, self._kill_both_hubs)  # even on a short day
        self._run_until(self._ends)
        self._run_until(self._ends + timedelta(hours=1.2))  # most heals by itself
        self._heal()
        self._run_until(self.now + timedelta(seconds=1.1 * LEASES[-1][0]))
        self._check_that_all_is_well()

    # Time

    def _in(self, seconds: float, event: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + timedelta(seconds=seconds), self._number, event))

    def _again_and_again(self, seconds: float, fault: Callable[[], None]) -> None:
        def happen() -> None:
            if self.now < self._ends:
                fault()
                self._in(self._rng.expovariate(1 / seconds), happen)

        self._in(600 + self._rng.expovariate(1 / seconds), happen)

    def _run_until(self, end: datetime) -> None:
        while self._events and self._events[0][0] <= end:
            self.now, _, event = heapq.heappop(self._events)
            event()
            self.counts["events"] += 1
        self.now = end

    # Hubs

    def _turn(self, replica: Replica) -> None:
        """What a hub does about once a second."""
        if replica.is_up and replica.is_connected:
            replica.look(self.now)
            self._write(replica)
            self._watch_kept(replica)
        self._in(TURN_SECONDS * self._rng.uniform(0.8, 1.0), lambda: self._turn(replica))

    def _resume(self, deaf_since: datetime) -> None:
        """Nobody could hear them for a while: leases that ran out meanwhile begin anew."""
        self._resumed_at = self.now
        self.counts["leases began anew"] += 1
        for process in self._processes:
            if process.sound_until > deaf_since:
                process.count_as_there(self.now, self.now)

    def _write(self, replica: Replica) -> None:
        for beat in replica.write():
            process = self._by_key[beat.key]
            if beat.generation == process.generation:
                process.count_as_there(beat.seen_at, self.now)

    def _kill_a_hub(self) -> None:
        self._stop(self._rng.choice(self._replicas), self._rng.uniform(1, 60))

    def _kill_both_hubs(self) -> None:
        for replica in self._replicas:
            self._stop(replica, self._rng.uniform(1, HOUR))

    def _stop(self, replica: Replica, seconds: float) -> None:
        if replica.is_up:
            self.counts["hubs killed"] += 1
            replica.kill()
            self._in(seconds, replica.start)

    def _cut_a_hub_from_the_store(self) -> None:
        replica = self._rng.choice(self._replicas)
        if replica.is_connected:
            self.counts["hubs cut from the store"] += 1
            replica.is_connected = False
            self._in(self._rng.uniform(1, 1_200), lambda: setattr(replica, "is_connected", True))

    # Instances

    def _coming_alive(self, process: Process) -> Callable[[], None]:
        process.life += 1
        life = process.life

        def register() -> None:
            if process.life == life:
                process.is_alive = True
                process.state = HealthState.HEALTHY
                self._register(process)

        return register

    def _register(self, process: Process) -> None:
        secret = f"{process.key[2]} {process.life} {self._rng.random()}"
        replica = self._reachable(process)
        try:
            if replica is None:
                raise StoreUnavailable("nobody answers")
            row = replica.register(process.key, secret, process.lease_seconds, process.zone, self.now)
        except StoreUnavailable:
            self._later(process, self._register, RETRY_SECONDS)
            return
        self.counts["registrations"] += 1
        self._late_heartbeat(process)
        process.secret, process.generation, process.heard_at = secret, row.generation, self.now
        process.said_goodbye = False
        process.count_as_there(self.now, self.now)
        process.sound_since = self.now
        self._later(process, self._beat, 0.1)

    def _beat(self, process: Process) -> None:
        replica = self._reachable(process)
        try:
            if replica is None:
                raise StoreUnavailable("nobody answers")
            replica.beat(process.key, process.generation, process.secret, process.state, self.now)
        except StoreUnavailable:
            self._later(process, self._beat, min(RETRY_SECONDS, process.lease_seconds / 6))
        except NotFound:
            self._later(process, self._register, 1.0)
        except HubError as error:
            self._violated(f"{process.key[2]} is refused, which is the current incarnation: {error!r}")
        else:
            self.counts["heartbeats"] += 1
            process.heard_at = self.now
            self._later(process, self._beat, process.lease_seconds * self._rng.uniform(0.6, 0.85))

    def _later(self, process: Process, what: Callable[[Process], None], seconds: float) -> None:
        life = process.life

        def go_on() -> None:
            if process.is_alive and process.life == life:
                what(process)

        self._in(seconds, go_on)

    def _reachable(self, process: Process) -> Replica | None:
        found = [replica for replica in self._replicas if replica.is_loaded and not process.cut_from[replica.name]]
        return self._rng.choice(found) if found else None

    def _late_heartbeat(self, process: Process) -> None:
        """Somewhere on the way there is one of the incarnation before, and one that somebody forges."""
        generation, secret = process.generation, process.secret
        if generation == 0 or self._rng.random() < 0.5:
            return

        def arrive() -> None:
            replica, row = self._rng.choice(self._replicas), self._store.rows[process.key]
            knows = replica.is_fresh(self.now) and self.now - row.registered_at > KNOWN_WITHIN
            for told, by in ((generation, secret), (row.generation, "forged")):
                try:
                    replica.beat(process.key, told, by, HealthState.UNHEALTHY, self.now)
                except HubError:
                    self.counts["heartbeats refused"] += 1
                else:
                    # Who has not heard of the next incarnation takes it; the store, which has, does not.
                    if knows or by == "forged":
                        self._violated(f"a heartbeat of another incarnation of {process.key[2]} was taken")

        self._in(self._rng.uniform(0, 30), arrive)

    # What goes wrong with instances

    def _crash(self) -> None:
        process = self._rng.choice(self._processes)
        if not process.is_alive:
            return
        self.counts["crashes"] += 1
        process.is_alive = False
        process.life += 1
        if self._rng.random() < 0.2:
            self._say_goodbye(process)
        kind = self._rng.random()
        if kind < 0.9:
            self._in(self._rng.uniform(1, 30 if kind < 0.5 else 2 * HOUR), self._coming_alive(process))

    def _say_goodbye(self, process: Process) -> None:
        connected = [replica for replica in self._replicas if replica.is_loaded and replica.is_connected]
        row = self._store.rows.get(process.key)
        if connected and row is not None and row.deregistered_at is None:
            process.said_goodbye = True
            self._rng.choice(connected).fleet.put(self._store.deregister(process.key, self.now))

    def _change_state(self) -> None:
        process = self._rng.choice(self._processes)
        process.state = self._rng.choice([HealthState.UNHEALTHY, HealthState.DEGRADED, HealthState.DRAINING])
        self._in(self._rng.uniform(60, HOUR), lambda: setattr(process, "state", HealthState.HEALTHY))

    def _drain(self) -> None:
        key = self._rng.choice(self._processes).key
        if key in self._store.rows and any(replica.is_up and replica.is_connected for replica in self._replicas):
            self._store.drain(key, Drain("ops", self.now))
            self.counts["drains"] += 1
            self._in(self._rng.uniform(60, HOUR), lambda: self._undrain(key))

    def _undrain(self, key: Key) -> None:
        self._store.drain(key, None)

    def _cut_some_from_one_hub(self) -> None:
        name, service = self._rng.choice(self._replicas).name, self._rng.choice(list(self._services))
        self._cut(self._services[service], {name}, self._rng.uniform(60, HOUR))

    def _silence_a_service(self) -> None:
        """A network fails: most of a service's instances, or all, reach no hub for a while."""
        service = self._rng.choice(list(self._services))
        processes = self._services[service]
        is_whole = self._rng.random() < 0.5
        if not is_whole:
            processes = self._rng.sample(processes, self._rng.randrange(1, len(processes)))
        self._silenced[service] += is_whole
        # Not for so long that they are forgotten.
        seconds = min(processes[0].lease_seconds * self._rng.uniform(1.1 if is_whole else 0.5, 2), 1.1 * HOUR)
        self._cut(processes, {replica.name for replica in self._replicas}, seconds)
        self._in(seconds, lambda: self._silenced.subtract({service: is_whole}))
        self._in(seconds - 1, lambda: self._check_service(service))

    def _cut(self, processes: list[Process], names: set[str], seconds: float) -> None:
        self.counts["partitions"] += 1
        for process in processes:
            process.cut_from.update(names)

        def heal() -> None:
            for process in processes:
                process.cut_from.subtract(names)

        self._in(seconds, heal)

    def _heal(self) -> None:
        for replica in self._replicas:
            replica.is_connected = True
            if not replica.is_up:
                replica.start()
        for process in self._processes:
            process.state = HealthState.HEALTHY
            if not process.is_alive:
                self._in(self._rng.uniform(0, 60), self._coming_alive(process))
        for key, row in list(self._store.rows.items()):
            if row.drain is not None:
                self._store.drain(key, None)

    # What must hold

    def _violated(self, sentence: str) -> None:
        self.violations.append(f"{self.now:%H:%M:%S.%f} {sentence}")

    def _check_some(self) -> None:
        for service in self._rng.sample(list(self._services), min(3, len(self._services))):
            self._check_service(service)
        if self.now < self._ends:
            self._in(self._rng.uniform(10, 50), self._check_some)

    def _check_service(self, service: str) -> None:
        self.counts["checks"] += 1
        for replica in self._replicas:
            if replica.is_loaded:
                members = {member.instance.key: member for member in replica.members(service, self.now)}
                for process in self._services[service]:
                    self._check_process(replica, process, members.get(process.key))
                self._check_routing(replica, service, list(members.values()))
        self._check_agreement(service)

    def _check_process(self, replica: Replica, process: Process, member: Member | None) -> None:
        name, is_fresh = f"{process.key[2]} at hub {replica.name}", replica.is_fresh(self.now)
        if process.generation == 0 or process.said_goodbye:
            return
        # A hub tells of what was written two seconds ago, or, where it is cut off, of what was when it last looked.
        is_there = process.sound_until > self.now and process.sound_since <= replica.as_of(self.now) - 2 * KNOWN_WITHIN
        if is_there and member is None and is_fresh:
            self._violated(f"{name} is there, and is not listed")
        is_expired = member is not None and member.state is HealthState.EXPIRED
        if is_there and member is not None and is_expired and member.instance.generation == process.generation:
            moments = replica.as_of(self.now), lease_ends(member.instance), process.sound_until
            told = "as of {:%H:%M:%S.%f} its lease ended {:%H:%M:%S.%f}, and not before {:%H:%M:%S.%f}".format(*moments)
            self._violated(f"{name} has sent its heartbeats in time, and is expired: {told}")
        if not is_fresh or member is None:
            return
        heard_at = max(process.heard_at, self._resumed_at)
        if self.now > heard_at + timedelta(seconds=process.lease_seconds) + KNOWN_WITHIN:
            if member.state is not HealthState.EXPIRED and not member.is_kept:
                self._violated(f"{name} is silent, and is {member.state}")
            if self.now > heard_at + timedelta(seconds=process.lease_seconds) + REMEMBERED_FOR + KNOWN_WITHIN:
                self._violated(f"{name} has been silent for an hour, and is listed")
        if member.instance.generation < self._shown.get(process.key, 0):
            self._violated(f"{name} went back to generation {member.instance.generation}")
        if self.now - member.instance.registered_at > KNOWN_WITHIN:
            self._shown[process.key] = member.instance.generation

    def _check_routing(self, replica: Replica, service: str, members: list[Member]) -> None:
        best = next((state for state in CALLED if any(member.state is state for member in members)), None)
        try:
            routed = replica.route((service, "default"), self._rng.choice(POLICIES), self.now)
        except NoInstance:
            if best is not None:
                self._violated(f"hub {replica.name} names nobody of {service}, of which one is {best}")
            if self._silenced[service] and self._was_well(service):
                self._violated(
                    f"the list of {service} went empty at hub {replica.name}, all of which fell silent at once"
                )
            return
        if routed.state is not best:
            self._violated(f"hub {replica.name} names {routed.instance.instance_id}, which is {routed.state}")

    def _was_well(self, service: str) -> bool:
        """Whether enough of it could be called before it fell silent, which is not so long ago that it is forgotten."""
        rows = [self._store.rows[process.key] for process in self._services[service] if process.generation]
        alive = [row for row in rows if self._by_key[row.key].is_alive and last_state(row) in CALLABLE]
        known = [row for row in alive if is_remembered(row, self.now)]
        return len(known) > 0.8 * len(self._services[service])

    def _check_agreement(self, service: str) -> None:
        if not all(replica.is_loaded and replica.is_connected for replica in self._replicas):
            return
        for replica in (*self._replicas, *self._replicas):
            replica.look(self.now)
            self._write(replica)
        told = [
            [(member.instance, member.state, member.is_kept) for member in replica.members(service, self.now)]
            for replica in self._replicas
        ]
        if told[0] != told[1]:
            self._violated(f"the hubs do not agree about {service}")

    def _watch_kept(self, replica: Replica) -> None:
        places = set(replica.fleet.kept)
        for place in places - self._kept[replica.name]:
            self.counts["services kept"] += 1
            rows = [self._store.rows[process.key] for process in self._services[place[0]] if process.generation]
            able = [row for row in rows if last_state(row) in CALLABLE and row.deregistered_at is None]
            silent = sum(self.now - row.leased_at >= timedelta(seconds=0.45 * row.lease_seconds) for row in able)
            if silent < LEAST or silent <= 0.9 * PROTECT_SHARE * len(able):
                self._violated(f"{place[0]} is kept, of which {silent} of {len(able)} are silent")
        self._kept[replica.name] = places

    def _check_that_all_is_well(self) -> None:
        for replica in self._replicas:
            for service, processes in self._services.items():
                states = {member.instance.instance_id: member.state for member in replica.members(service, self.now)}
                wrong = [process.key[2] for process in processes if states.get(process.key[2]) != HealthState.HEALTHY]
                if wrong:
                    self._violated(f"all is healed, and at hub {replica.name} these are not healthy: {wrong[:5]}")
            if replica.fleet.kept:
                self._violated(f"all is healed, and hub {replica.name} keeps {replica.fleet.kept}")

    def _lease_of(self, service: int, services: int) -> int:
        place, covered = (service + 0.5) / services, 0.0
        for seconds, share in LEASES:
            covered += share
            if place < covered:
                return seconds
        return LEASES[-1][0]
