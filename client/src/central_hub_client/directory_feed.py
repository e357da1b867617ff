"""Keeps lists of instances current by asking the hub, each every few seconds, and remembers them on disk."""

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from central_hub_client import checked_file
from central_hub_client.backoff import Backoff
from central_hub_client.blocking import run_blocking
from central_hub_client.client_settings import ClientSettings
from central_hub_client.errors import CentralHubError
from central_hub_client.held_instances import HeldInstances
from central_hub_client.hub_api import HubApi
from central_hub_client.service_instance import ServiceInstance

logger = logging.getLogger("central_hub_client")

POLL_SECONDS: Final = 10.0
POLL_JITTER: Final = 0.2
FRESH_SECONDS: Final = 3 * POLL_SECONDS
AT_ONCE: Final = 8
DISK_SECONDS: Final = 1.0
RESTART_SECONDS: Final = 5.0
FOLDER: Final = "_directory"
"""In the cache directory, beside the services' own; no service can be called so."""


class DirectoryFeed:
    """One run, from a start to its end, on one event loop. What it feeds outlives it."""

    def __init__(self, settings: ClientSettings, lists: Iterable[HeldInstances]) -> None:
        self.service_name = "directory"
        self._settings = settings
        self._api = HubApi(settings)
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._opened = asyncio.Event()
        self._lists = list(lists)
        self._attempts: list[asyncio.Event] = []
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
                for attempted in self._attempts:
                    await attempted.wait()
        self._opened.set()

    async def shutdown(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._api.close()

    def follow(self, held: HeldInstances) -> None:
        """Keep one more list current. Call it on the event loop."""
        attempted = asyncio.Event()
        self._attempts.append(attempted)
        self._tasks.append(asyncio.get_running_loop().create_task(self._keep(held, attempted)))

    async def _keep(self, held: HeldInstances, attempted: asyncio.Event) -> None:
        with suppress(TimeoutError):  # a disk that hangs must not keep us from asking
            async with asyncio.timeout(DISK_SECONDS):
                await self._restore(held)
        await self._opened.wait()
        backoff = Backoff(first_seconds=0.5, limit_seconds=POLL_SECONDS, least=0.5)
        while True:
            try:
                pause = await self._ask(held, backoff)
            except Exception:  # the top of a background loop: a bug in one round must not be the end of all news
                logger.exception("a list of instances was not brought up to date: service=%s", held.service)
                pause = RESTART_SECONDS
            attempted.set()
            await asyncio.sleep(pause)

    async def _ask(self, held: HeldInstances, backoff: Backoff) -> float:
        """Ask once; the seconds until the next time."""
        try:
            async with self._limit:
                instances = await self._api.fetch_instances(held.service, held.environment)
        except CentralHubError as error:
            held.fail(error, time.monotonic())
            return max(backoff.next(), error.retry_after_seconds or 0.0)
        backoff.reset()
        has_changed = held.take(instances, time.monotonic())
        if not held.is_kept:  # else it is remembered already, as it was when the hub last knew
            await run_blocking(self._remember, held.service, held.environment, instances if has_changed else None)
        return POLL_SECONDS * random.uniform(1.0 - POLL_JITTER, 1.0)  # noqa: S311 - spreads load, hides nothing

    async def _restore(self, held: HeldInstances) -> None:
        path = self._path(held.service, held.environment)
        found = None if path is None else await run_blocking(checked_file.read, path, self._remembered)
        if found is not None:
            instances, written_at = found
            # Only what is on disk has wall time, in which an age survives a restart.
            held.restore(instances, time.monotonic() - max(0.0, time.time() - written_at))

    def _remembered(self, content: Any, written_at: float) -> tuple[list[ServiceInstance], float]:
        if content["hub_url"] != self._settings.hub_url:
            raise ValueError("it is of another hub")
        return [ServiceInstance.from_json(value) for value in content["instances"]], written_at

    def _remember(self, service: str, environment: str, instances: list[ServiceInstance] | None) -> None:
        """Keep the list, or note that it is still right. Shared by all processes of this machine that ask for the same:
        the last one writes."""
        path = self._path(service, environment)
        if path is None:
            return
        try:
            if instances is None:
                with suppress(FileNotFoundError):
                    os.utime(path)
            elif checked_file.make_private(path.parent):
                told = [instance.to_json() for instance in instances]
                checked_file.write(path, {"hub_url": self._settings.hub_url, "instances": told})
        except OSError as error:
            logger.warning("the list of instances is not kept: service=%s: %s", service, error)

    def _path(self, service: str, environment: str) -> Path | None:
        cache = self._settings.cache_dir
        return None if cache is None else cache / FOLDER / environment / f"{service}.json"


def _who_asks(settings: ClientSettings) -> str:
    return settings.instance_id or socket.gethostname().encode("ascii", "replace").decode() or "unnamed"
