"""Watchers that write down every event, with when it came, and go on where they were after every disconnection."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2
import orjson

from central_hub_client.wire import Position
from tests.wire.waiting import until


@dataclass(frozen=True)
class Event:
    """One server-sent event as it came."""

    kind: str
    data: dict[str, Any]
    id: Position | None
    at: float
    connection: int

    @property
    def position(self) -> Position:
        return Position(self.data["epoch"], self.data["revision"])


@dataclass
class Recording:
    """Everything that one watcher was sent, over all of its connections."""

    services: list[str]
    environment: str
    events: list[Event] = field(default_factory=list)
    connections: int = 0
    refusals: list[tuple[int, str]] = field(default_factory=list)

    @property
    def configs(self) -> list[Event]:
        return [event for event in self.events if event.kind == "config"]

    def last(self, service: str) -> Event | None:
        return next((event for event in reversed(self.configs) if event.data["service"] == service), None)

    def knows(self, position: Position) -> float | None:
        """When the watcher first knew of everything up to `position`."""
        return next((event.at for event in self.events if _reaches(event, position)), None)

    def reached(self, position: Position) -> bool:
        return self.knows(position) is not None


class Follower(Protocol):
    """Whoever follows a hub until cancelled."""

    async def follow(self) -> None: ...


@asynccontextmanager
async def following(*followers: Follower) -> AsyncIterator[None]:
    """They follow during the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(follower.follow()) for follower in followers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


class Watcher:
    """Follows services on one replica after another, by Last-Event-ID or by `after`."""

    def __init__(
        self,
        replicas: Sequence[httpx2.AsyncClient],
        rng: random.Random,
        services: list[str],
        *,
        environment: str = "default",
        reconnect_after: float | None = None,
    ) -> None:
        """`reconnect_after`: hang up by oneself after about so many seconds."""
        self.recording = Recording(services, environment)
        self._replicas = replicas
        self._rng = rng
        self._reconnect_after = reconnect_after
        self._last_id: str | None = None

    async def reaches(self, position: Position, *, within: float = 10.0) -> float:
        """Wait until the watcher has been told of everything up to `position`; returns how many seconds that took."""
        return await until(lambda: self.recording.reached(position), within=within)

    async def follow(self) -> None:
        """Follow until cancelled."""
        while True:
            patience = None if self._reconnect_after is None else self._rng.uniform(0, 2 * self._reconnect_after)
            try:
                async with asyncio.timeout(patience):
                    await self._connect(self._rng.choice(self._replicas))
            except TimeoutError:
                continue
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(0.05)

    async def _connect(self, replica: httpx2.AsyncClient) -> None:
        headers: dict[str, str] = {}
        params: dict[str, Any] = {"service": self.recording.services, "environment": self.recording.environment}
        if self._last_id is not None:
            place, name = self._rng.choice([(headers, "Last-Event-ID"), (params, "after")])
            place[name] = self._last_id
        async with opened(replica, params, headers) as answer:
            if answer.status_code != 200:
                await answer.aread()
                self.recording.refusals.append((answer.status_code, orjson.loads(answer.content)["code"]))
                if answer.status_code == 410:
                    self._last_id = None
                return
            self.recording.connections += 1
            async for event in events(answer, self.recording.connections):
                self.recording.events.append(event)
                if event.id is not None:
                    self._last_id = str(event.id)


@asynccontextmanager
async def opened(
    replica: httpx2.AsyncClient, params: dict[str, Any], headers: dict[str, str]
) -> AsyncIterator[httpx2.Response]:
    """A stream. Ten seconds without a byte, bookmarks included, end it."""
    timeout = httpx2.Timeout(10, connect=2)
    async with replica.stream("GET", "/api/v1/config/watch", params=params, headers=headers, timeout=timeout) as answer:
        yield answer


async def events(answer: httpx2.Response, connection: int = 0) -> AsyncIterator[Event]:
    """The events of an open stream; an event that was cut off is none."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        identity = Position.parse(fields["id"], current_epoch=0) if "id" in fields else None
        yield Event(fields["event"], orjson.loads(fields["data"]), identity, time.monotonic(), connection)
        fields = {}


def _reaches(event: Event, position: Position) -> bool:
    # An event without an id has companions of its batch still to come.
    if event.kind == "bookmark":
        return event.position >= position
    return event.id is not None and event.id >= position
