"""Writes that wait for their turn are committed together: one lock, one flush of the disk, a revision for each.

A replica commits one batch at a time. Whoever comes meanwhile is in the next, so the longer a commit takes the more
of them share the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

import structlog

from central_hub.errors import HubError

MOST_AT_ONCE: Final = 64


class Claiming(Protocol):
    """Something to commit. Two that claim the same are never committed together, but in the order they came."""

    @property
    def claims(self) -> frozenset[Hashable]: ...


T = TypeVar("T", bound=Claiming)
R = TypeVar("R")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[T, R]):
    item: T
    result: "asyncio.Future[R]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class CommitQueue(Generic[T, R]):
    """Hands what waits to `commit_all`, which answers for each item with its result or with why it was refused."""

    def __init__(self, commit_all: Callable[[Sequence[T]], Awaitable[Sequence[R | HubError]]]) -> None:
        self._commit_all = commit_all
        self._waiting: list[_Waiting[T, R]] = []
        self._worker: asyncio.Task[None] | None = None

    async def commit(self, item: T) -> R:
        """Wait for the item's turn and its result. Raises the HubError of its refusal, and what `commit_all` raises.

        Being cancelled gives up the answer, not the commit.
        """
        waiting: _Waiting[T, R] = _Waiting(item)
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="commits")
        return await waiting.result

    async def _work(self) -> None:
        while self._waiting:
            await self._settle(self._take())

    def _take(self) -> list[_Waiting[T, R]]:
        together: list[_Waiting[T, R]] = []
        left: list[_Waiting[T, R]] = []
        claimed: set[Hashable] = set()
        for waiting in self._waiting:
            is_free = len(together) < MOST_AT_ONCE and claimed.isdisjoint(waiting.item.claims)
            (together if is_free else left).append(waiting)
            claimed |= waiting.item.claims
        self._waiting = left
        return together

    async def _settle(self, together: Sequence[_Waiting[T, R]]) -> None:
        try:
            results: Sequence[R | Exception] = await self._commit_all([waiting.item for waiting in together])
        except HubError as error:
            results = [error] * len(together)
        except Exception as error:  # it is raised to whoever asked
            log.exception("commit_failed", writes=len(together))
            if len(together) > 1:
                # One of them cannot be stored: it must not take the others with it.
                for waiting in together:
                    await self._settle([waiting])
                return
            results = [error]
        for waiting, result in zip(together, results, strict=True):
            if waiting.result.done():
                continue  # nobody waits for it any more
            if isinstance(result, Exception):
                waiting.result.set_exception(result)
            else:
                waiting.result.set_result(result)
