"""A fleet that comes back at once: a process that plays thousands of instances which all have to register again.

`python -m bench.storm` takes a `Storm` as JSON on standard input and prints `Landed` as JSON. Each instance registers,
sends heartbeats from then on, and waits after a refusal as the client library does. A few share a connection, as behind
a proxy: ten thousand that open one for each heartbeat are more than one core accepts.
"""

import asyncio
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import uvloop

from bench.load import request
from central_hub_client.backoff import Backoff
from central_hub_client.errors import Conflict, HubUnavailable, HubUnreachable, error_from
from central_hub_client.hub_api import ANSWER_SECONDS, CONNECT_SECONDS
from central_hub_client.registration import new_backoff, pause_after

INTERVAL_SECONDS: Final = 10.0
_LANDING_SECONDS: Final = 1.0
"""All of them come within this: who is told that it is unknown waits about so long before it registers again."""
SERVICES: Final = 20
_SHARING: Final = 5
"""Instances on one connection."""


@dataclass(frozen=True)
class Storm:
    """How many instances come to which hub. Those of a service share its name and `service`."""

    port: int
    headers: dict[str, str]
    instances: int
    service: str
    give_up_seconds: float = 120.0


@dataclass(frozen=True)
class Landed:
    """What came of it: when the last of them was registered and its first heartbeat was taken, and what it took."""

    instances: int
    seconds: float
    half_seconds: float
    answers: dict[str, int]
    """How often each status came; `lost` counts connections that brought none."""


class _Connection:
    """One that several instances ask on, one after another; opened anew where the hub has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._turn = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, message: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, header and body. Raises HubUnreachable."""
        async with self._turn:
            for is_again in (False, True):
                is_new = self._streams is None
                try:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        return await self._exchange(message)
                except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                    self.close()
                    # The hub may have let go of a connection that was idle: then on a new one.
                    if is_again or is_new or isinstance(error, TimeoutError):
                        raise HubUnreachable(str(error)) from error
        raise AssertionError("unreachable")

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, message: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            async with asyncio.timeout(CONNECT_SECONDS):
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(message)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.close()
        return int(status.split()[1]), headers, body


class _Play:
    """All instances together."""

    def __init__(self, storm: Storm) -> None:
        self._storm = storm
        self._landed_at: list[float] = []
        self._answers: Counter[str] = Counter()
        self._all_landed = asyncio.Event()
        self._connections = [_Connection(storm.port) for _ in range(max(1, storm.instances // _SHARING))]

    async def run(self) -> Landed:
        began = time.perf_counter()
        instances = [asyncio.create_task(self._live(number)) for number in range(self._storm.instances)]
        landing = asyncio.create_task(self._all_landed.wait())
        ended, _ = await asyncio.wait(
            {landing, *instances}, return_when=asyncio.FIRST_COMPLETED, timeout=self._storm.give_up_seconds
        )
        for instance in instances:
            instance.cancel()
        await asyncio.gather(*instances, return_exceptions=True)
        for connection in self._connections:
            connection.close()
        if ended != {landing}:
            reasons = [repr(instance.exception()) for instance in ended if instance is not landing]
            raise AssertionError(
                f"{len(self._landed_at)} of {self._storm.instances} came back: {dict(self._answers)} {reasons[:1]}"
            )
        landed = [at - began for at in self._landed_at]
        return Landed(
            instances=len(landed),
            seconds=landed[-1],
            half_seconds=landed[len(landed) // 2],
            answers=dict(self._answers),
        )

    async def _live(self, number: int) -> None:
        connection = self._connections[number % len(self._connections)]
        await asyncio.sleep(random.uniform(0, _LANDING_SECONDS))
        heartbeat = await self._register(connection, number)
        self._landed_at.append(time.perf_counter())
        if len(self._landed_at) == self._storm.instances:
            self._all_landed.set()
        while True:
            await asyncio.sleep(INTERVAL_SECONDS * random.uniform(0.8, 1.0))
            try:
                await self._until_taken(connection, heartbeat)
            except Conflict:
                heartbeat = await self._register(connection, number)

    async def _register(self, connection: _Connection, number: int) -> bytes:
        """Register and send the first heartbeat; that is the next one, too."""
        while True:
            made = await self._until_taken(connection, self._registration(number))
            heartbeat = self._heartbeat(number, made)
            try:
                await self._until_taken(connection, heartbeat)
            except Conflict:
                continue  # a registration that was given up was carried out after the next one
            return heartbeat

    async def _until_taken(self, connection: _Connection, message: bytes) -> Any:
        """The answer to a request that is sent again, as the client does, until the hub takes it."""
        backoff: Backoff = new_backoff()
        while True:
            try:
                return await self._ask(connection, message)
            except (HubUnavailable, HubUnreachable) as error:
                await asyncio.sleep(pause_after(error, backoff))

    async def _ask(self, connection: _Connection, message: bytes) -> Any:
        try:
            status, headers, body = await connection.ask(message)
        except HubUnreachable as error:
            self._answers["lost " + repr(error.__cause__)] += 1
            raise
        self._answers[str(status)] += 1
        if status == 200:
            return json.loads(body)
        if status not in (409, 429, 503):
            raise AssertionError(f"unexpected answer {status}: {body[:300]!r}")
        told = headers.get("retry-after")
        raise error_from(status, json.loads(body), retry_after_seconds=None if told is None else float(told))

    def _registration(self, number: int) -> bytes:
        body = {
            "name": self._service(number),
            "instance_id": f"{number:06}",
            "host": "10.0.0.1",
            "port": 8080,
            "version": "1.0.0",
            "labels": {"team": "bench"},
            "lease_seconds": 30,
        }
        return self._request("register", body)

    def _heartbeat(self, number: int, made: Mapping[str, Any]) -> bytes:
        body = {
            "service": self._service(number),
            "instance_id": f"{number:06}",
            "generation": made["generation"],
            "incarnation_secret": made["incarnation_secret"],
            "state": "healthy",
        }
        return self._request("heartbeat", body)

    def _service(self, number: int) -> str:
        return f"{self._storm.service}-{number % SERVICES}"

    def _request(self, what: str, body: Mapping[str, Any]) -> bytes:
        return request("POST", f"/api/v1/discovery/{what}", self._storm.headers, json.dumps(body)).encode()


async def play(storm: Storm) -> Landed:
    """Let it happen in a process of its own: what its instances cost must not look like the hub's slowness."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.storm", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(json.dumps(asdict(storm)).encode())
    if process.returncode != 0:
        raise AssertionError("the instances did not all come back: see above")
    return Landed(**json.loads(output))


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(_Play(Storm(**json.load(sys.stdin))).run()))))
