"""Hold documents against the schemas of many consumers at once, some of which are broken or hostile."""

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson

from central_hub.errors import HubError, LimitExceeded, StoreUnavailable
from central_hub.validation.checker import SchemaChecker
from central_hub.validation.violations import Violation

LANES: Final = 2
_TOGETHER: Final = 25
_TOGETHER_BYTES: Final = 1024 * 1024
_KEPT_VERDICTS: Final = 500_000
"""Verdicts, and pointers in them: some name a thousand keys."""
_KEPT_SCHEMAS: Final = 4_096

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Consumer:
    """A schema to hold a document against, and the keys (JSON Pointers) that need not be in the document."""

    schema_hash: str
    schema: str
    supplied: tuple[str, ...] = ()

    @property
    def name(self) -> tuple[str, tuple[str, ...]]:
        return self.schema_hash, self.supplied


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a consumer would make of a document. `unusable` says why its schema tells nothing."""

    violations: tuple[Violation, ...] = ()
    unknown: tuple[str, ...] = ()
    unusable: str | None = None

    @property
    def accepts(self) -> bool:
        return self.unusable is None and not self.violations


class _Verdicts:
    """What was said last, by schema, keys supplied, and document."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, tuple[str, ...], str], Verdict] = OrderedDict()
        self._size = 0

    def get(self, key: tuple[str, tuple[str, ...], str]) -> Verdict | None:
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: tuple[str, tuple[str, ...], str], verdict: Verdict) -> None:
        self._forget(self._kept.pop(key, None))
        self._kept[key] = verdict
        self._size += _size(verdict)
        while self._size > _KEPT_VERDICTS:
            self._forget(self._kept.popitem(last=False)[1])

    def _forget(self, verdict: Verdict | None) -> None:
        self._size -= 0 if verdict is None else _size(verdict)


class ConsumerChecker:
    """Knows what consumers make of documents, and remembers what it was asked.

    Its processes are not those of registered schemas. A schema that takes more time or memory than there is for one
    the first time that it is asked counts as unusable from then on: it is not asked again. One that has answered
    before is unusable for that document alone: whoever writes documents must not be able to silence it.
    """

    def __init__(self) -> None:
        # Each schema has its process, which has it ready.
        self._lanes = [SchemaChecker(workers=1, program="central_hub.validation.consumer_worker") for _ in range(LANES)]
        self._turns = [asyncio.Lock() for _ in range(LANES)]
        self._unfinished: set[asyncio.Task[None]] = set()
        self._verdicts = _Verdicts()
        self._hopeless: OrderedDict[str, str] = OrderedDict()
        self._asked: OrderedDict[str, None] = OrderedDict()

    def has_answered(self, consumer: Consumer) -> bool:
        """Whether its schema has been asked before, about whatever, and did no harm."""
        return consumer.schema_hash in self._asked

    def known(self, consumer: Consumer, document_hash: str) -> Verdict | None:
        """What is remembered of a consumer and a document; None where it has to be asked."""
        if (sentence := self._hopeless.get(consumer.schema_hash)) is not None:
            return Verdict(unusable=sentence)
        return self._verdicts.get((*consumer.name, document_hash))

    async def judge(self, consumers: Iterable[Consumer], document: dict[str, Any], document_hash: str) -> None:
        """Ask whatever is not known yet, so that it is `known`. Raises StoreUnavailable."""
        waiting = {consumer.name: consumer for consumer in self._unknown(consumers, document_hash)}
        lanes: list[list[Consumer]] = [[] for _ in self._lanes]
        for consumer in waiting.values():
            lanes[zlib.crc32(consumer.schema_hash.encode()) % LANES].append(consumer)
        await asyncio.gather(
            *(self._judge(number, some, document, document_hash) for number, some in enumerate(lanes) if some)
        )

    async def judge_within(
        self, consumers: Iterable[Consumer], document: dict[str, Any], document_hash: str, *, seconds: float
    ) -> bool:
        """The same, waiting for so long at most; whether that was enough. What takes longer goes on without us."""
        task = asyncio.create_task(self.judge(consumers, document, document_hash), name="newcomers")
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if done:
            task.result()
        else:
            task.add_done_callback(_forget)
        return bool(done)

    async def stop(self) -> None:
        """End the processes."""
        for task in self._unfinished:
            task.cancel()
        await asyncio.gather(*self._unfinished, return_exceptions=True)
        for lane in self._lanes:
            await lane.stop()

    async def _judge(
        self, number: int, consumers: Sequence[Consumer], document: dict[str, Any], document_hash: str
    ) -> None:
        lane, turn = self._lanes[number], self._turns[number]
        for batch in _batches(consumers):
            async with turn:
                some = self._unknown(batch, document_hash)  # somebody else may have asked meanwhile
                try:
                    verdicts = await _ask(lane, some, document) if some else []
                except StoreUnavailable:
                    raise
                except HubError:
                    verdicts = []
                for consumer, verdict in zip(some, verdicts, strict=False):
                    self._keep(consumer, document_hash, verdict)
            # One of them was too much, and took the process along: which one shows when each is asked alone, with
            # others in between.
            for consumer in self._unknown(some, document_hash):
                async with turn:
                    if self._unknown([consumer], document_hash):
                        self._keep(consumer, document_hash, await self._ask_alone(lane, consumer, document))

    def _unknown(self, consumers: Iterable[Consumer], document_hash: str) -> list[Consumer]:
        return [consumer for consumer in consumers if self.known(consumer, document_hash) is None]

    async def _ask_alone(self, lane: SchemaChecker, consumer: Consumer, document: dict[str, Any]) -> Verdict:
        try:
            [verdict] = await _ask(lane, [consumer], document)
        except LimitExceeded:
            sentence = "takes more time or memory to hold a config against than there is for it"
        except StoreUnavailable:
            raise
        except HubError as error:
            sentence = error.detail
        else:
            return verdict
        if not self.has_answered(consumer):
            _keep(self._hopeless, consumer.schema_hash, sentence, _KEPT_SCHEMAS)
        return Verdict(unusable=sentence)

    def _keep(self, consumer: Consumer, document_hash: str, verdict: Verdict) -> None:
        self._verdicts.keep((*consumer.name, document_hash), verdict)
        _keep(self._asked, consumer.schema_hash, None, _KEPT_SCHEMAS)


def _forget(task: asyncio.Task[None]) -> None:
    """Nobody waits for it any more: that the process could not be asked shows the next time."""
    if not task.cancelled():
        task.exception()


def _size(verdict: Verdict) -> int:
    return 1 + len(verdict.violations) + len(verdict.unknown)


def _keep(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)


async def _ask(lane: SchemaChecker, consumers: Sequence[Consumer], document: dict[str, Any]) -> list[Verdict]:
    schemas = orjson.dumps([consumer.schema for consumer in consumers])
    supplied = [consumer.supplied for consumer in consumers]
    answer = await lane.ask(schemas, orjson.dumps({"document": document, "supplied": supplied}))
    return [_verdict(**told) for told in answer["verdicts"]]


def _verdict(
    violations: Sequence[dict[str, str]] = (),
    unknown: Sequence[str] = (),
    unusable: dict[str, Any] | None = None,
) -> Verdict:
    if unusable is not None:
        return Verdict(unusable=f"cannot be used: {unusable['pointer'] or 'it'} {unusable['message']}")
    return Verdict(tuple(Violation(**violation) for violation in violations), tuple(unknown))


def _batches(consumers: Sequence[Consumer]) -> Iterable[Sequence[Consumer]]:
    batch: list[Consumer] = []
    size = 0
    for consumer in consumers:
        if batch and (len(batch) >= _TOGETHER or size + len(consumer.schema) > _TOGETHER_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(consumer)
        size += len(consumer.schema)
    if batch:
        yield batch
