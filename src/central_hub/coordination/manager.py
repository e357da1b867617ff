"""Registers instances and takes their heartbeats: the database is asked once a second, not once a heartbeat."""

import asyncio
import random
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.connections.database import Database
from central_hub.coordination import registry
from central_hub.coordination.changes import Changes
from central_hub.coordination.fleet import Fleet, Member, Place
from central_hub.coordination.news import News
from central_hub.coordination.routing import Routed, Router, would_leave_nobody
from central_hub.errors import HubError, LastInstance, NotFound, StaleGeneration, StoreUnavailable
from central_hub.security.tokens import sha256
from central_hub.storage import consumer_schemas, hearing, instances
from central_hub.storage.hearing import LONGEST_PAUSE
from central_hub.storage.instance_values import Beat, Check, Description, Drain, Instance, Key, Report, Stance
from central_hub.store_clock import StoreClock
from central_hub_client.routing.policy import Policy
from central_hub_client.strict_json import canonical
from central_hub_client.wire import HealthState, Position, content_hash

TURN_SECONDS: Final = 0.7
"""Between two writes of heartbeats. Another replica hears of one within two turns, which is below two seconds."""
BATCH: Final = 2_000

Covers = Callable[[str, str], bool]
"""Whether a service in an environment lies in the caller's scope. What does not is to him as if it were not there."""
Listener = Callable[[], None]
OnApplied = Callable[[Instance, Position, datetime], None]
"""Told of an instance, as it was known so far, that now runs another revision."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Registered:
    """A new incarnation. The secret is told this once; `schema_needed` where only its hash was told, and is unknown."""

    instance: Instance
    secret: str
    schema_needed: bool


@dataclass(frozen=True, slots=True)
class Model:
    """The JSON Schema of the settings model that an instance runs: itself, or only its hash."""

    hash: str
    content: str | None

    @classmethod
    def of(cls, schema: dict[str, Any] | None, schema_hash: str | None) -> "Model | None":
        if schema is not None:
            return cls(content_hash(schema), canonical(schema).decode())
        return None if schema_hash is None else cls(schema_hash, None)


@dataclass(frozen=True, slots=True)
class DrainOrder:
    """What an operator, the name of whose token is `by`, wants of an instance: out of routing, or back into it.

    With `force` the last one that can be called is drained as well.
    """

    drain: bool
    by: str
    reason: str | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a heartbeat says that it is from, and what is to prove it."""

    service: str
    instance_id: str
    generation: int
    secret_sha256: bytes = field(repr=False)


class CoordinationManager:
    """The fleet of this hub; this replica's view of it is at most two seconds behind every other's."""

    def __init__(
        self,
        database: Database,
        clock: StoreClock,
        *,
        on_applied: OnApplied,
        protect_share: float,
    ) -> None:
        self.clock = clock
        self._on_applied = on_applied
        self._fleet = Fleet(protect_share)
        self.news = News(self._fleet.changes)
        self._told = 0
        self._listeners: list[Listener] = []
        self._known_until = datetime.max.replace(tzinfo=UTC)
        self._router = Router(random.random)
        self._database = database
        self._position = 0
        self._looks = 0
        self._told_kept: frozenset[Place] = frozenset()
        self._turn = asyncio.Lock()

    @property
    def is_loaded(self) -> bool:
        """Whether the instances that the store has are known."""
        return self._looks > 0

    @property
    def fleet(self) -> Fleet:
        """The instances as this replica knows them. Raises StoreUnavailable until they are loaded."""
        if not self.is_loaded:
            raise StoreUnavailable("the hub is starting: the instances are not loaded yet")
        return self._fleet

    @property
    def changes(self) -> Changes:
        """What has changed in the fleet since this replica started."""
        return self._fleet.changes

    def listen(self, listener: Listener) -> None:
        """Call `listener` when the fleet has changed: at once where this replica was told so, else within a turn."""
        self._listeners.append(listener)

    @property
    def as_of(self) -> datetime:
        """The moment that states are told of: now, or, while the store is not reached, when it was last.

        What other replicas hear is not known meanwhile: a lease that would run out now may have been renewed there.
        """
        return min(self.clock(), self._known_until)

    @property
    def is_stale(self) -> bool:
        """Whether states are told as they were a while ago."""
        return self._known_until < self.clock()

    @property
    def unwritten(self) -> int:
        """How many instances have heartbeats that the store has not been told of."""
        return self._fleet.unwritten

    @property
    def remembered(self) -> int:
        """How many instances are spoken of."""
        return self._fleet.count(self.clock())

    async def register(
        self,
        service: str,
        environment: str,
        instance_id: str | None,
        description: Description,
        model: Model | None,
        *,
        lease_seconds: int,
    ) -> Registered:
        """Begin a new incarnation, and fence the one of the same name. Raises StoreUnavailable."""
        key = (service, environment, instance_id or secrets.token_hex(8))
        secret = secrets.token_urlsafe(32)
        at = self.clock()

        async def work(connection: AsyncConnection) -> tuple[Instance, bool]:
            instance = await instances.register(
                connection,
                key,
                description,
                secret_sha256=sha256(secret),
                schema_hash=None if model is None else model.hash,
                lease_seconds=lease_seconds,
                at=at,
            )
            return instance, model is None or await self._record(connection, instance, model)

        instance, is_known = await self._database.transaction(work)
        self._learn(instance)
        log.info(
            "instance_registered",
            service=service,
            environment=environment,
            instance=instance.instance_id,
            generation=instance.generation,
        )
        return Registered(instance, secret, schema_needed=not is_known)

    async def prove(self, claim: Claim, covers: Covers) -> Instance:
        """The instance that the caller is, of those in his scope. Raises NotFound, StaleGeneration, Forbidden,
        StoreUnavailable."""
        try:
            return self.recognise(claim, covers)
        except HubError:
            # Another replica may know better: it may just have registered there.
            await self.catch_up()
            return self.recognise(claim, covers)

    def recognise(self, claim: Claim, covers: Covers) -> Instance:
        """The same by this replica's view alone, which may be two seconds old: right about whom it recognises."""
        candidates = (
            instance
            for instance in self.fleet.named(claim.service, claim.instance_id, self.clock())
            if covers(instance.service, instance.environment)
        )
        return registry.prove(candidates, claim.generation, claim.secret_sha256)

    def beat(self, instance: Instance, state: HealthState | None, stance: Stance | None, report: Report | None) -> None:
        """Take a heartbeat of an instance that has proved itself. It is written with the next turn."""
        beat = registry.heard(instance, Beat(instance.key, instance.generation, self.clock(), state, stance, report))
        self._fleet.beat(beat)
        self._tell()
        if beat.stance is not None and beat.stance.applied is not None:
            self._on_applied(instance, beat.stance.applied, beat.seen_at)

    def checked(self, instance: Instance, check: Check) -> None:
        """Take the result of a check of this incarnation. It is written with the next turn, and renews no lease."""
        self._fleet.beat(Beat(instance.key, instance.generation, instance.seen_at, check=check))
        self._tell()

    async def describe(
        self,
        instance: Instance,
        changes: dict[str, Any],
        model: Model | None,
        *,
        generation: int | None,
        order: DrainOrder | None = None,
    ) -> Registered:
        """Replace parts of what an instance says of itself, and take it out of routing or put it back.

        Raises StaleGeneration, NotFound, LastInstance, StoreUnavailable.
        """
        _fence(instance, generation)
        description = replace(instance.description, **changes)
        schema_hash = instance.schema_hash if model is None else model.hash

        async def work(connection: AsyncConnection) -> tuple[Instance, bool] | None:
            changed = None if order is None else await self._obey(connection, instance, order)
            # What is known here of the description may be two seconds old: it is written only where it is to change.
            if order is None or (changed is not None and (changes or model is not None)):
                changed = await instances.describe(
                    connection, instance.key, instance.generation, description, schema_hash=schema_hash
                )
            if changed is None:
                return None
            return changed, model is None or await self._record(connection, changed, model)

        found = await self._database.transaction(work)
        if found is None:
            raise _has_moved_on()
        self._learn(found[0])
        if order is not None:
            _note(found[0], order)
        # With the heartbeats that the store has not been told of.
        known = self._fleet.find(instance.key, self.clock()) or found[0]
        return Registered(known, "", schema_needed=not found[1])

    async def deregister(self, instance: Instance, *, generation: int | None) -> None:
        """End an instance. Raises StaleGeneration, NotFound, StoreUnavailable."""
        _fence(instance, generation)
        at = self.clock()
        gone = await self._database.transaction(
            lambda connection: instances.deregister(connection, instance.key, instance.generation, at=at)
        )
        if gone is None:
            raise _has_moved_on()
        self._learn(gone)
        log.info("instance_deregistered", service=instance.service, instance=instance.instance_id)

    async def find(self, key: Key) -> Instance:
        """A remembered instance, registered at whichever replica. Raises NotFound, StoreUnavailable."""
        found = self._fleet.find(key, self.clock())
        if found is None:
            await self.catch_up()
            found = self._fleet.find(key, self.clock())
        if found is None:
            raise NotFound(f"there is no instance {key[2]} of {key[0]} in environment {key[1]}")
        return found

    def member(self, instance: Instance) -> Member:
        """An instance as it counts now."""
        return self._fleet.as_member(instance, self.as_of)

    def route(
        self, service: str, environment: str, policy: Policy, *, key: str | None = None, zone: str | None = None
    ) -> Routed:
        """One instance to call, by this replica's view, which may be two seconds old. Raises NoInstance,
        StoreUnavailable."""
        return self._router.route(self.fleet, (service, environment), policy, key=key, zone=zone, now=self.as_of)

    async def run(self) -> None:
        """Write heartbeats and read those of the other replicas, until cancelled."""
        is_lost = False
        while True:
            await asyncio.sleep(TURN_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311 - jitter
            try:
                # Looking comes first: what keeps this replica from writing must not keep it from hearing of the others.
                await self.catch_up()
                await self.write()
                is_lost = False
            except StoreUnavailable as error:
                if not is_lost:
                    log.warning("heartbeats_wait", instances=self._fleet.unwritten, reason=error.detail)
                is_lost = True
            except Exception:
                # The top of a background loop: whatever happens, leases must go on being renewed.
                log.exception("heartbeats_failed")

    async def write(self) -> None:
        """Tell the store of the heartbeats taken so far. Raises StoreUnavailable; then they are kept."""
        async with self._turn:
            beats = self._fleet.take_unwritten()
            for start in range(0, len(beats), BATCH):
                try:
                    await self._write(beats[start : start + BATCH])
                except BaseException:
                    self._fleet.bring_back(beats[start:])
                    raise

    async def catch_up(self) -> None:
        """Look at what has changed in the store. Who asks while another waits to look shares that look.

        Raises StoreUnavailable; what is known stays.
        """
        wanted = self._looks + 1 + self._turn.locked()
        async with self._turn:
            if self._looks < wanted:
                await self._look()

    async def reload(self) -> None:
        """Read everything anew, whatever is known. Raises StoreUnavailable."""
        async with self._turn:
            self._position = 0
            await self._look()

    async def forget_old(self) -> None:
        """Remove the rows of instances long gone, and keep the schemas of those that are there. Raises
        StoreUnavailable."""
        now = self.clock()

        async def work(connection: AsyncConnection) -> None:
            await consumer_schemas.keep_seen(connection)
            await instances.forget_before(connection, now - registry.KNOWN_FOR)

        await self._database.transaction(work)
        self._fleet.forget()

    async def _write(self, beats: list[Beat]) -> None:
        for key, change in await self._database.transaction(lambda connection: instances.beat(connection, beats)):
            self._fleet.written(key, change)

    async def _look(self) -> None:
        position, self._position = self._position, 0  # after a failure: everything, it may be another store by then
        heard = await self._database.transaction(hearing.hear)
        self.clock.follow(heard.now)
        if heard.deaf_since is not None:
            log.warning("leases_begin_anew", deaf_since=heard.deaf_since.isoformat(), now=heard.now.isoformat())
        now = self.clock()
        async with self._database.reading() as connection:
            rows, upcoming = await instances.changed_since(
                connection,
                position,
                leased_since=now - registry.REMEMBERED_FOR - registry.LONGEST_LEASE,
                is_known=self._fleet.is_known,
            )
        self.news.gather()
        if position == 0:
            self._fleet.replace(rows)
        else:
            for row in rows:
                self._fleet.put(row)
        if heard.deaf_since is None or not self.is_loaded:
            self.news.skip()  # else it was this replica that let the leases begin anew
        self._position = upcoming
        self._known_until = now + LONGEST_PAUSE
        self._looks += 1
        self._fleet.advance(now)
        self._tell()
        self._tell_of_kept()

    def _learn(self, instance: Instance) -> None:
        """This replica was the first to be told, by the instance or for it."""
        self._fleet.put(instance)
        self.news.add(instance.key)
        self._tell()

    def _tell(self) -> None:
        if self._told != self._fleet.changes.last:
            self._told = self._fleet.changes.last
            for listener in self._listeners:
                listener()

    def _tell_of_kept(self) -> None:
        kept = self._fleet.kept
        for service, environment in kept.keys() - self._told_kept:
            log.warning(
                "instances_kept",
                service=service,
                environment=environment,
                instances=kept[service, environment],
                reason="too many fell silent at once: they stay listed as they were last known",
            )
        for service, environment in self._told_kept - kept.keys():
            log.info("instances_kept_no_longer", service=service, environment=environment)
        self._told_kept = frozenset(kept)

    async def _obey(self, connection: AsyncConnection, instance: Instance, order: DrainOrder) -> Instance | None:
        if not order.drain:
            return await instances.undrain(connection, instance.key, instance.generation)
        service, environment, instance_id = instance.key
        drained = await instances.drained(connection, service, environment)
        if not order.force and would_leave_nobody(self._undrained(service, environment, drained), instance_id):
            raise LastInstance(
                f"without {instance_id} no instance of {service} in environment {environment} could be called: start"
                " another one first, or force it"
            )
        drain = Drain(order.by, self.clock(), order.reason)
        return await instances.drain(connection, instance.key, instance.generation, drain)

    def _undrained(self, service: str, environment: str, drained: Collection[str]) -> list[Member]:
        """The instances but those that are drained, by what the store says of that: it may not be known here yet."""
        now = self.as_of
        return [
            self.fleet.as_member(replace(member.instance, drain=None), now)
            for member in self.fleet.members(service, now)
            if member.instance.environment == environment and member.instance.instance_id not in drained
        ]

    async def _record(self, connection: AsyncConnection, instance: Instance, model: Model) -> bool:
        return await consumer_schemas.record(
            connection,
            instance.service,
            instance.environment,
            instance.description.build or "",
            schema_hash=model.hash,
            content=model.content,
            at=self.clock(),
        )


def _fence(instance: Instance, generation: int | None) -> None:
    if generation is not None and generation < instance.generation:
        raise StaleGeneration("another process has registered under this instance's name since")


def _note(instance: Instance, order: DrainOrder) -> None:
    place = {
        "service": instance.service,
        "environment": instance.environment,
        "instance": instance.instance_id,
        "by": order.by,
    }
    if instance.drain is None:
        log.info("instance_undrained", **place)
    else:
        log.info("instance_drained", **place, reason=instance.drain.reason)


def _has_moved_on() -> StaleGeneration:
    return StaleGeneration("another process has registered under this instance's name meanwhile: look again")
