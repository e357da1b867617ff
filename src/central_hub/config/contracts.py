"""Hold what a change leads to against the schemas of the builds that run it.

This replica knows what instances have told it at once, and within two seconds what they have told others.
"""

import asyncio
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from central_hub.config.conformance import OutOfTime
from central_hub.config.consumers import (
    Reason,
    common_keys,
    inputs_of,
    key_of,
    may_alter,
    places_of,
    reasons,
    supplied_by,
)
from central_hub.config.reach import Inputs, View
from central_hub.config.snapshot import Key
from central_hub.config.standing import Standing, refusal, undeclared_keys, warnings
from central_hub.connections.database import Database
from central_hub.errors import Finding, NotFound, StoreUnavailable
from central_hub.storage import consumer_schemas
from central_hub.storage.config_values import DocumentChange, Kind
from central_hub.storage.consumer_schemas import ConsumerKey, ConsumerSchema
from central_hub.storage.instance_values import Instance
from central_hub.validation.consumer_checker import Consumer, ConsumerChecker, Verdict
from central_hub_client.wire import GLOBAL, content_hash

TURN_SECONDS: Final = 0.8
NEWCOMERS_SECONDS: Final = 5.0
"""So long a write waits for consumers whose schemas nobody has tried before: any of them may be hostile. Whoever has
not answered by then has no say in this one; whoever has answered before is waited for."""
_WHATEVER_IS_MISSING: Final = ("",)

InstancesOf = Callable[[str], Sequence[Instance]]
"""The instances of a service that are spoken of now."""

_Instances = dict[ConsumerKey, list[Instance]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the consumers say to changes: what was looked at, and what their author should know."""

    inputs: frozenset[Inputs] = frozenset()
    warnings: tuple[Finding, ...] = ()
    """Of the configs that all of the changes lead to."""
    undeclared: Mapping[Key, tuple[Finding, ...]] = field(default_factory=dict)
    """Of each document, the changed keys that no build declares."""

    def of_change(self, change: DocumentChange) -> tuple[Finding, ...]:
        """What is to be said of one of the changes by itself."""
        return self.undeclared.get(change.key, ()) if change.kind is Kind.DOCUMENT else ()


NOTHING_ASKED: Final = Agreement()


class Contracts:
    """The schemas that instances report, and what they make of a change."""

    def __init__(
        self,
        database: Database,
        checker: ConsumerChecker,
        instances_of: InstancesOf,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.clock = clock
        self._database = database
        self._checker = checker
        self._instances_of = instances_of
        self._known: dict[Key, dict[ConsumerKey, ConsumerSchema]] = {}
        self._contents: dict[str, str] = {}
        self._versions: defaultdict[Key, int] = defaultdict(int)
        self._unasked: set[Key] = set()
        self._position = 0
        self._turn = asyncio.Lock()

    async def run(self, present: Callable[[], View]) -> None:
        """Follow what instances report, and ask newcomers about the present, until cancelled."""
        while True:
            await asyncio.sleep(TURN_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311 - jitter
            try:
                await self.catch_up()
                while self._unasked:
                    # What takes long with a newcomer shall not be the next writer's to wait for.
                    await self.standings(present(), self._unasked.pop())
            except StoreUnavailable as error:
                log.debug("contracts_wait", reason=error.detail)
            except Exception:
                # The top of a background loop: one odd schema must not keep the others from being heard.
                log.exception("contracts_failed")

    async def catch_up(self) -> None:
        """Read what was reported since, anywhere. Raises StoreUnavailable; what is known stays."""
        async with self._turn:
            position, self._position = self._position, 0  # after a failure: everything
            async with self._database.reading() as connection:
                changed, upcoming = await consumer_schemas.changed_since(connection, position)
                new = {consumer.schema_hash for consumer in changed} - self._contents.keys()
                contents = await consumer_schemas.contents(connection, new) if new else {}
            self._contents |= contents
            if position == 0:
                self._known.clear()
            altered: set[Key] = set()
            for consumer in changed:
                place = (consumer.service, consumer.environment)
                there = self._known.setdefault(place, {})
                if there.get(consumer.key) != consumer:
                    there[consumer.key] = consumer
                    altered.add(place)
            for place in altered:
                self._versions[place] += 1
            self._unasked |= altered
            self._position = upcoming

    async def require(
        self,
        view: View,
        changes: Collection[DocumentChange],
        *,
        forced: Collection[Key] = (),
        known: Container[Inputs] | None = None,
        deadline: float = math.inf,
    ) -> Agreement:
        """Raise ContractViolation for what builds would refuse that accept the present.

        What changes of `forced` documents lead to is made all the same.

        What is `known` from an earlier agreement is not looked at again. After `deadline`, on the monotonic clock,
        nobody is waited for: OutOfTime.
        """
        documents = [change for change in changes if change.kind is Kind.DOCUMENT]
        places = places_of(self._known, documents)
        if not places:
            return NOTHING_ASKED
        after = view.after(documents)
        inputs: set[Inputs] = set()
        standings: list[Standing] = []
        for place in places:
            found = inputs_of(after, place, self._versions[place])
            inputs.add(found)
            if known is not None and found in known:
                continue
            if time.monotonic() > deadline:
                raise OutOfTime
            standings += await self.standings(view, place, after, deadline=deadline)
        objecting = [standing for standing in standings if standing.objections]
        forcing = [change for change in documents if change.key in forced]
        held = [standing for standing in objecting if not any(may_alter(change, standing.place) for change in forcing)]
        if held:
            raise refusal(held)
        undeclared = {
            change.key: tuple(undeclared_keys(change, standings)) for change in documents if change.service != GLOBAL
        }
        return Agreement(frozenset(inputs), tuple(warnings(standings, objecting)), undeclared)

    async def standings(
        self, view: View, place: Key, after: View | None = None, *, deadline: float = math.inf
    ) -> list[Standing]:
        """What the consumers of a place make of its config in `view`, and of the one in `after`.

        Only those that count, and none where the config stays as it is. Raises StoreUnavailable, and OutOfTime where
        somebody has not answered by the `deadline`.
        """
        present = view.effective(*place)
        proposed = None if after is None else after.effective(*place)
        present_hash = content_hash(present or {})
        proposed_hash = None if proposed is None else content_hash(proposed)
        if after is not None and (proposed_hash is None or (present is not None and proposed_hash == present_hash)):
            return []
        counting = [(consumer, reason) for consumer, reason in self._reasons(place) if reason.counts]
        if not counting:
            return []
        instances = self._instances(place)
        documents = [(present or {}, present_hash)]
        if proposed is not None and proposed_hash is not None:
            documents.append((proposed, proposed_hash))
        asked = {consumer.key: self._asked(consumer, instances, present) for consumer, _ in counting}
        await self._judge(asked, documents, deadline)
        if present is not None and (remembered := await self._remembered_keys(asked, instances, documents)):
            asked |= remembered
            await self._judge(asked, documents, deadline)
        return [
            Standing(
                consumer,
                reason,
                tuple(instance.instance_id for instance in instances.get(consumer.key, ())),
                self._checker.known(asked[consumer.key], present_hash),
                None if proposed_hash is None else self._checker.known(asked[consumer.key], proposed_hash),
            )
            for consumer, reason in counting
        ]

    def passed_over(self, place: Key) -> list[Standing]:
        """The consumers of a place that are known and do not count."""
        return [
            Standing(consumer, reason, (), None, None) for consumer, reason in self._reasons(place) if not reason.counts
        ]

    async def pin(self, service: str, environment: str, builds: Sequence[str], by: str) -> None:
        """Let these builds count, and what runs, in the place of what was seen. None: forget the pins.

        Raises NotFound, and changes nothing, where a build has told no schema.
        """
        at = self.clock()

        async def work(connection: Any) -> None:
            found = await consumer_schemas.pin(connection, service, environment, builds, at=at)
            if missing := sorted(set(builds) - set(found)):
                raise NotFound(
                    f"no schema of {service} in environment {environment} is known of build {', '.join(missing)}: run"
                    " it once, or send its schema along"
                )

        await self._database.transaction(work)
        log.info("consumers_pinned", service=service, environment=environment, builds=list(builds), by=by)
        await self.catch_up()

    async def tell(self, service: str, environment: str, build: str, *, schema_hash: str, content: str) -> None:
        """Keep the schema of a build that no instance has told yet. Raises StoreUnavailable."""
        await self._database.transaction(
            lambda connection: consumer_schemas.record(
                connection,
                service,
                environment,
                build,
                schema_hash=schema_hash,
                content=content,
                at=self.clock(),
            )
        )

    async def retire(self, service: str, environment: str, build: str, *, schema_hash: str | None, by: str) -> int:
        """Let a build count no more, until an instance registers as it. Returns how many schemas. Raises NotFound."""
        at = self.clock()
        count = await self._database.transaction(
            lambda connection: consumer_schemas.retire(
                connection, service, environment, build, schema_hash=schema_hash, at=at
            )
        )
        if count == 0:
            raise NotFound(f"{service} in environment {environment} has told no such schema of build {build!r}")
        log.info("consumer_retired", service=service, environment=environment, build=build, by=by)
        await self.catch_up()
        return count

    def _reasons(self, place: Key) -> list[tuple[ConsumerSchema, Reason]]:
        return reasons(self._known.get(place, {}).values(), self._instances(place).keys(), self.clock())

    def _instances(self, place: Key) -> _Instances:
        found: _Instances = {}
        for instance in self._instances_of(place[0]):
            if instance.environment == place[1] and (key := key_of(instance)) is not None:
                found.setdefault(key, []).append(instance)
        return found

    def _asked(self, consumer: ConsumerSchema, instances: _Instances, present: dict[str, Any] | None) -> Consumer:
        content = self._contents[consumer.schema_hash]
        if present is None:
            # There is nothing yet: whoever waits for his first config misses all that he requires.
            return Consumer(consumer.schema_hash, content, _WHATEVER_IS_MISSING)
        return Consumer(consumer.schema_hash, content, supplied_by(instances.get(consumer.key, ())) or ())

    async def _judge(
        self, asked: dict[ConsumerKey, Consumer], documents: Sequence[tuple[dict[str, Any], str]], deadline: float
    ) -> None:
        if deadline < math.inf:
            for document, document_hash in documents:
                seconds = max(0.0, deadline - time.monotonic())
                if not await self._checker.judge_within(asked.values(), document, document_hash, seconds=seconds):
                    raise OutOfTime
            return
        known = [consumer for consumer in asked.values() if self._checker.has_answered(consumer)]
        newcomers = [consumer for consumer in asked.values() if not self._checker.has_answered(consumer)]
        for document, document_hash in documents:
            await self._checker.judge(known, document, document_hash)
        for document, document_hash in documents if newcomers else ():
            if not await self._checker.judge_within(newcomers, document, document_hash, seconds=NEWCOMERS_SECONDS):
                log.warning("consumers_have_not_answered", consumers=len(newcomers))
                break

    async def _remembered_keys(
        self,
        asked: dict[ConsumerKey, Consumer],
        instances: _Instances,
        documents: Sequence[tuple[dict[str, Any], str]],
    ) -> dict[ConsumerKey, Consumer]:
        """Those that refuse something and of which nobody is there to say what it supplies, with their last word."""
        silent = [
            key
            for key, consumer in asked.items()
            if supplied_by(instances.get(key, ())) is None
            and any(_refuses(self._checker.known(consumer, document_hash)) for _, document_hash in documents)
        ]
        if not silent:
            return {}
        async with self._database.reading() as connection:
            found = await consumer_schemas.local_keys(connection, silent[0][0])
        return {key: replace(asked[key], supplied=common_keys(found.get(key, []))) for key in silent}


def _refuses(verdict: Verdict | None) -> bool:
    return verdict is not None and bool(verdict.violations)
