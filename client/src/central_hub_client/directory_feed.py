"""Keeps lists of instances current: by the hub's stream of changes, and, where there is none, by asking every few
seconds; and remembers them on disk."""

import asyncio
import logging
import random
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from central_hub_client.backoff import Backoff
from central_hub_client.blocking import run_blocking
from central_hub_client.client_settings import ClientSettings
from central_hub_client.directory_stream import DirectoryStream
from central_hub_client.errors import CentralHubError
from central_hub_client.followed_list import FollowedList
from central_hub_client.held_instances import HeldInstances
from central_hub_client.hub_api import HubApi
from central_hub_client.refresh import JITTER_SECONDS
from central_hub_client.remembered_instances import RememberedInstances

logger = logging.getLogger("central_hub_client")

POLL_SECONDS: Final = 10.0
POLL_JITTER: Final = 0.2
FRESH_SECONDS: Final = 3 * POLL_SECONDS
AT_ONCE: Final = 8
DISK_SECONDS: Final = 1.0
REMEMBER_SECONDS: Final = 5.0
"""Between two writes of a list that a stream carries: instances may come and go many times a second."""
RESTART_SECONDS: Final = 5.0


class DirectoryFeed:
    """One run, from a start to its end, on one event loop. What it feeds outlives it."""

    def __init__(self, settings: ClientSettings, lists: Iterable[HeldInstances]) -> None:
        self.service_name = "directory"
        self._settings = settings
        self._api = HubApi(settings)
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._opened = asyncio.Event()
        self._lists = list(lists)
        self._followed: list[FollowedList] = []
        self._stream = DirectoryStream(self._api, self._followed)
        self._tasks: list[asyncio.Task[None]] = []

    async def init_async(self, deadline_seconds: float) -> None:
        """Start. Returns as soon as the hub was asked for every list, and after `deadline_seconds` whatever happens."""
        for problem in self._settings.problems:
            logger.error("a setting is left out: directory: %s", problem)
        for held in self._lists:
            self.follow(held)
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_seconds):
                await run_blocking(self._api.open, _who_asks(self._settings))
                self._opened.set()
                for followed in list(self._followed):
                    await followed.attempted.wait()
        self._opened.set()
        self._tasks.append(asyncio.get_running_loop().create_task(self._stream.run()))

    async def shutdown(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._api.close()

    def follow(self, held: HeldInstances) -> None:
        """Keep one more list current. Call it on the event loop."""
        followed = FollowedList(held)
        self._followed.append(followed)
        self._tasks.append(asyncio.get_running_loop().create_task(self._keep(followed)))

    async def _keep(self, followed: FollowedList) -> None:
        held = followed.held
        remembered = RememberedInstances(self._settings, held.service, held.environment)
        with suppress(TimeoutError):  # a disk that hangs must not keep us from asking
            async with asyncio.timeout(DISK_SECONDS):
                await _restore(held, remembered)
        await self._opened.wait()
        backoff = Backoff(first_seconds=0.5, limit_seconds=POLL_SECONDS, least=0.5)
        while True:
            try:
                pause = await self._ask(followed, backoff)
                if followed.answered.is_set():
                    await _remember(followed, remembered)
            except Exception:  # the top of a background loop: a bug in one round must not be the end of all news
                logger.exception("a list of instances was not brought up to date: service=%s", held.service)
                pause = RESTART_SECONDS
            followed.attempted.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await followed.carried.wait()
            if followed.carried.is_set():
                await _while_carried(followed, remembered)
                # Many streams break at once when a replica goes.
                await asyncio.sleep(random.uniform(0.0, JITTER_SECONDS))  # noqa: S311 - spreads load, hides nothing

    async def _ask(self, followed: FollowedList, backoff: Backoff) -> float:
        """Ask once; the seconds until the next time."""
        try:
            async with self._limit:
                instances = await self._api.fetch_instances(followed.held.service, followed.held.environment)
        except CentralHubError as error:
            if not followed.carried.is_set():
                followed.fail(error)
            return max(backoff.next(), error.retry_after_seconds or 0.0)
        backoff.reset()
        if not followed.carried.is_set():  # else a stream, which began meanwhile, knows better
            followed.take(instances)
        followed.answered.set()
        self._stream.answered()
        return POLL_SECONDS * random.uniform(1.0 - POLL_JITTER, 1.0)  # noqa: S311 - spreads load, hides nothing


async def _while_carried(followed: FollowedList, remembered: RememberedInstances) -> None:
    while followed.carried.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(REMEMBER_SECONDS):
                await followed.lost.wait()
        await _remember(followed, remembered)


async def _restore(held: HeldInstances, remembered: RememberedInstances) -> None:
    if (found := await run_blocking(remembered.read)) is not None:
        instances, written_at = found
        # Only what is on disk has wall time, in which an age survives a restart.
        held.restore(instances, time.monotonic() - max(0.0, time.time() - written_at))


async def _remember(followed: FollowedList, remembered: RememberedInstances) -> None:
    # What is kept against the hub's word is remembered already, as it was when the hub last knew.
    if followed.told is not None and not followed.held.is_kept:
        await run_blocking(remembered.write, followed.told)


def _who_asks(settings: ClientSettings) -> str:
    return settings.instance_id or socket.gethostname().encode("ascii", "replace").decode() or "unnamed"
