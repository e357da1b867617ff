"""When to ask the hub: on a poll, on proof that it has moved on, on suspicion, and again after a failure."""

import asyncio
import random
import time
from contextlib import suppress
from typing import Final

from central_hub_client.backoff import Backoff
from central_hub_client.errors import CentralHubError, HubUnreachable
from central_hub_client.held_config import HeldConfig
from central_hub_client.hub_api import HubApi
from central_hub_client.key_ring import KeyRing
from central_hub_client.wire import Position

# A change concerns many instances at once: they spread their questions over this long.
JITTER_SECONDS: Final = 0.4
POLL_JITTER: Final = 0.2
_NEVER: Final = float("inf")


class Refresher:
    """Keeps what is held up to date by asking. One request at a time, whoever wants it."""

    def __init__(self, held: HeldConfig, api: HubApi, keys: KeyRing, *, poll_seconds: float) -> None:
        self._held = held
        self._api = api
        self._keys = keys
        self._poll_seconds = poll_seconds
        self._one_at_a_time = asyncio.Lock()
        self._due_sooner = asyncio.Event()
        self._wanted: Position | None = None
        self._wanted_at = _NEVER
        self._suspected_at = _NEVER
        self._trust_again_at = 0.0
        self._poll_at = 0.0
        self._not_before = 0.0
        self._failures = Backoff()
        # Whoever can publish on the bus can make us suspicious: what certainly passes between two questions is what
        # bounds the harm.
        self._suspicions = Backoff(first_seconds=1.0, least=0.5)
        self.attempted = asyncio.Event()
        """Set once the hub was asked for the first time, whatever came of it."""
        self.reachable = asyncio.Event()
        """Set while something answers."""

    def want(self, position: Position) -> None:
        """The hub itself says that it has reached `position`."""
        if self._is_reached(position) or (self._wanted is not None and position <= self._wanted):
            return
        if self._wanted is None:
            self._wanted_at = time.monotonic() + _between(0.0, JITTER_SECONDS)
        self._wanted = position
        self._due_sooner.set()

    def suspect(self) -> None:
        """Somebody says that there is news, and cannot prove it."""
        if self._suspected_at == _NEVER:
            jitter = _between(0.0, JITTER_SECONDS)
            self._suspected_at = max(time.monotonic() + jitter, self._trust_again_at)
            self._due_sooner.set()

    def check(self) -> None:
        """A stream broke: ask whether the hub is still there. Many streams break at once when a replica goes."""
        self.reachable.clear()
        self._poll_at = time.monotonic() + _between(0.0, JITTER_SECONDS)
        self._due_sooner.set()

    async def run(self) -> None:
        while True:
            await self._until_due()
            if self._wanted is not None and self._is_reached(self._wanted):
                self._wanted, self._wanted_at = None, _NEVER
                continue
            now = time.monotonic()
            minimum = self._wanted if self._wanted_at <= now else None
            if self._suspected_at <= now:
                await self._ask_on_suspicion(minimum)
            else:
                await self.ask(minimum)

    async def ask(self, minimum: Position | None = None) -> None:
        """Ask now, and take what is answered. Errors end up in the status."""
        async with self._one_at_a_time:
            error: CentralHubError | None = None
            try:
                answer = await self._api.fetch_config(
                    self._held.service, self._held.environment, etag=self._held.etag, minimum=minimum
                )
                self._held.take_answer(answer, time.monotonic())
                error = self._held.error
            except CentralHubError as failure:
                error = failure
                self._held.fail(failure)
            now = time.monotonic()
            self._not_before = now + (error.retry_after_seconds or 0.0) if error is not None else 0.0
            if error is None and (self._wanted is None or self._is_reached(self._wanted)):
                self._failures.reset()
                self._wanted, self._wanted_at = None, _NEVER
                self._poll_at = now + self._poll_seconds * _between(1.0 - POLL_JITTER, 1.0)
            else:
                self._poll_at = now + self._failures.next()
                self._wanted_at = _NEVER if self._wanted is None else self._poll_at
            if isinstance(error, HubUnreachable):
                self.reachable.clear()
            else:
                self.reachable.set()
            self.attempted.set()

    async def _ask_on_suspicion(self, minimum: Position | None) -> None:
        self._suspected_at = _NEVER  # first: what is heard while the hub is asked may be newer than its answer
        before = self._held.object
        await self._keys.learn()  # what could not be believed may be signed with a new replica's key
        await self.ask(minimum)
        if self._held.object is not before:
            self._suspicions.reset()
        self._trust_again_at = time.monotonic() + self._suspicions.next()
        if self._suspected_at != _NEVER:
            self._suspected_at = max(self._suspected_at, self._trust_again_at)

    def _is_reached(self, position: Position) -> bool:
        return self._held.verified is not None and position <= self._held.verified

    async def _until_due(self) -> None:
        while (delay := self._due_at() - time.monotonic()) > 0:
            self._due_sooner.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._due_sooner.wait()

    def _due_at(self) -> float:
        return max(min(self._wanted_at, self._suspected_at, self._poll_at), self._not_before)


def _between(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 - spreads load, hides nothing
