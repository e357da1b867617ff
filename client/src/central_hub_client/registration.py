"""Tell the hub that this instance is there, what it runs, and when it goes.

Nothing waits for any of it: a hub that cannot be reached, or that refuses, is asked again in the background, and the
service goes on without.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from central_hub_client.backoff import Backoff
from central_hub_client.errors import CentralHubError, Forbidden, HubUnreachable, InvalidAnswer, NotFound
from central_hub_client.hub_api import HubApi
from central_hub_client.report import InstanceReport
from central_hub_client.wire import ErrorCode, is_instance_id

logger = logging.getLogger("central_hub_client")

LEASE_SECONDS: Final = 30
BEATS_PER_LEASE: Final = 3
"""Two heartbeats in a row may be lost before the instance counts as silent."""
NEWS_JITTER_SECONDS: Final = 0.5
"""A change concerns many instances at once: they spread what they have to say of it over this long."""
LEAST_PAUSE_SECONDS: Final = 0.5
LONGEST_BACKOFF_SECONDS: Final = 30.0
"""A hub that is back after any outage has its whole fleet back within a minute."""
RETRY_SPREAD: Final = 0.25
LEAST_SPREAD_SECONDS: Final = 1.0
MOST_SPREAD_SECONDS: Final = 5.0
"""Who is told when to come again comes up to that share of it later: others were told the same whole second."""
FAREWELL_SECONDS: Final = 2.0
DOUBT_SECONDS: Final = 60.0
"""How long a registration without an answer may still be carried out: by a hub that had much to do, or a proxy."""


@dataclass(frozen=True, slots=True)
class InstanceDescription:
    """What an instance says of itself: how it is reached, and what it is. None is left out."""

    host: str | None = None
    port: int | None = None
    protocol: str | None = None
    health_endpoint: str | None = None
    version: str | None = None
    build: str | None = None
    capabilities: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    weight: int | None = None
    zone: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in (None, (), {})}


@dataclass(frozen=True, slots=True)
class _Incarnation:
    instance_id: str
    generation: int
    secret: str = field(repr=False)
    lease_seconds: float


class Registration:
    """One instance at the hub: registered, renewed by heartbeats, registered again where the hub does not know it.

    `report` is called before every heartbeat, on the event loop; it must return at once. Another process
    that registers under the same name takes over: this one then stops reporting, says so in the log, and goes on
    serving. Use it from one event loop.
    """

    def __init__(
        self,
        api: HubApi,
        service: str,
        environment: str,
        instance_id: str,
        report: Callable[[], InstanceReport],
        *,
        description: InstanceDescription | None = None,
        lease_seconds: int = LEASE_SECONDS,
    ) -> None:
        self.is_fenced = False
        self.is_drained = False
        """Whether an operator drains this instance, as the hub said with the last heartbeat."""
        self._api = api
        self._service = service
        self._environment = environment
        self._instance_id = _fitting(instance_id)
        self._report = report
        self._description = description or InstanceDescription()
        self._lease_seconds = lease_seconds
        self._incarnation: _Incarnation | None = None
        self._told_keys: dict[str, list[str]] | None = None
        self._told_schema: str | None = None
        self._in_doubt_until = 0.0
        self._failure = ""
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_registered(self) -> bool:
        """Whether the hub knew this instance when it was last asked."""
        return self._incarnation is not None and not self.is_fenced

    def start(self) -> None:
        """Register and send heartbeats in the background of the running event loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"registration {self._service}")

    def report_soon(self) -> None:
        """Something in the report has changed: tell the hub before the next heartbeat is due."""
        self._news.set()

    async def stop(self) -> None:
        """Stop the heartbeats, and say goodbye for two seconds at most. The caller closes the `HubApi` after that."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        incarnation, self._incarnation = self._incarnation, None
        if incarnation is None or self.is_fenced:
            return
        # With the generation: a successor under the same name must not be taken along.
        query = {"environment": self._environment, "generation": str(incarnation.generation)}
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._api.tell("DELETE", self._path(incarnation), query, None)
        except (CentralHubError, TimeoutError) as error:
            logger.info("not deregistered, the lease runs out instead: service=%s: %s", self._service, error)

    async def _run(self) -> None:
        backoff = new_backoff()
        while not self.is_fenced:
            began = time.monotonic()
            try:
                self._news.clear()
                await self._turn()
            except CentralHubError as error:
                self._failed(error)
                await asyncio.sleep(pause_after(error, backoff))
            except Exception:  # the top of a background loop: a report that cannot be made must not end the heartbeats
                logger.exception("the heartbeat failed: service=%s", self._service)
                await asyncio.sleep(backoff.next())
            else:
                self._failure = ""
                backoff.reset()
                await self._pause(began)

    async def _turn(self) -> None:
        """Register where that is needed, and tell all there is to tell. Raises CentralHubError."""
        report = self._report()
        if self._incarnation is None:
            self._incarnation = await self._register(report)
        await self._tell_schema(self._incarnation, report)
        await self._beat(self._incarnation, report)

    async def _register(self, report: InstanceReport) -> _Incarnation:
        self._told_keys = self._told_schema = None
        self.is_drained = False
        body = {
            "name": self._service,
            "environment": self._environment,
            "instance_id": self._instance_id,
            "lease_seconds": self._lease_seconds,
            **self._description.to_json(),
        }
        if report.schema_hash is not None:
            body["schema_hash"] = report.schema_hash
        try:
            answer = await self._api.tell("POST", "/discovery/register", {}, body)
        except CentralHubError as error:
            if error.status is None or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                self._in_doubt_until = time.monotonic() + DOUBT_SECONDS
            raise
        incarnation = _read(answer, self._lease_seconds)
        if answer.get("schema_needed") is False:
            self._told_schema = report.schema_hash
        logger.info(
            "registered: service=%s environment=%s instance=%s generation=%d",
            self._service,
            self._environment,
            incarnation.instance_id,
            incarnation.generation,
        )
        return incarnation

    async def _tell_schema(self, incarnation: _Incarnation, report: InstanceReport) -> None:
        """Hand over the schema where the hub has not got it. One that it refuses does not keep us from heartbeats."""
        if report.schema is None or report.schema_hash == self._told_schema:
            return
        body = {"generation": incarnation.generation, "schema": dict(report.schema)}
        try:
            await self._api.tell("PUT", self._path(incarnation), {"environment": self._environment}, body)
        except (CentralHubError, ValueError) as error:  # ValueError: what JSON cannot spell
            if isinstance(error, CentralHubError) and error.status not in (400, 413, 422):
                raise
            logger.warning("the hub does not take the schema: service=%s: %s", self._service, error)
        self._told_schema = report.schema_hash

    async def _beat(self, incarnation: _Incarnation, report: InstanceReport) -> None:
        body: dict[str, Any] = {
            "service": self._service,
            "instance_id": incarnation.instance_id,
            "generation": incarnation.generation,
            "incarnation_secret": incarnation.secret,
            "state": report.state,
            **report.stance(),
        }
        keys = report.keys()
        if keys != self._told_keys:
            body["report"] = keys
        answer = await self._api.tell("POST", "/discovery/heartbeat", {}, body)
        self._told_keys = keys
        self._hear(answer)

    def _hear(self, answer: Any) -> None:
        is_drained = isinstance(answer, Mapping) and answer.get("drain") is True  # an older hub says nothing of it
        if is_drained is not self.is_drained:
            sentence = "an operator drains this instance" if is_drained else "this instance is no longer drained"
            logger.info("%s: service=%s instance=%s", sentence, self._service, self._instance_id)
        self.is_drained = is_drained

    def _failed(self, error: CentralHubError) -> None:
        if error.code == ErrorCode.STALE_GENERATION and time.monotonic() < self._in_doubt_until:
            # The successor is likely a registration of our own that was given up, and carried out after the next one.
            logger.info("a later registration was taken, registering again: service=%s: %s", self._service, error)
            self._incarnation = None
            return
        if error.code == ErrorCode.STALE_GENERATION:
            self.is_fenced = True
            logger.error(
                "another process runs as this instance, so this one no longer reports: service=%s instance=%s; give"
                " each process an instance_id of its own",
                self._service,
                self._instance_id,
            )
            return
        if self._incarnation is not None and isinstance(error, NotFound | Forbidden):
            # Its lease ran out long ago, or the hub's store was restored to where this incarnation was not there yet.
            logger.info("the hub does not know this instance, registering again: service=%s: %s", self._service, error)
            self._incarnation = None
        elif error.code != self._failure:
            # That nobody answers is said already by whoever asks for the configuration.
            level = logging.INFO if isinstance(error, HubUnreachable) else logging.WARNING
            meaning = "no heartbeat" if self._incarnation is not None else _why_unregistered(error)
            logger.log(level, "%s: service=%s code=%s: %s", meaning, self._service, error.code, error)
        self._failure = error.code

    async def _pause(self, began: float) -> None:
        """Wait until the next heartbeat is due, or until there is news."""
        lease = self._lease_seconds if self._incarnation is None else self._incarnation.lease_seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(lease / BEATS_PER_LEASE * _between(0.8, 1.0)):
                await self._news.wait()
                spread = _between(0.0, NEWS_JITTER_SECONDS)
                await asyncio.sleep(max(spread, began + LEAST_PAUSE_SECONDS - time.monotonic()))

    def _path(self, incarnation: _Incarnation) -> str:
        return f"/discovery/{self._service}/{quote(incarnation.instance_id, safe='')}"


def new_backoff() -> Backoff:
    """How long an instance waits between its attempts while there is no hub."""
    return Backoff(first_seconds=1.0, limit_seconds=LONGEST_BACKOFF_SECONDS, least=0.5)


def pause_after(error: CentralHubError, backoff: Backoff) -> float:
    """The seconds until the next attempt.

    A hub that turns away because too many come at once says when it has a place, and gives each another time: waiting
    longer for having been turned away before would leave that place empty.
    """
    if error.retry_after_seconds is None:
        return backoff.next()
    wished = error.retry_after_seconds
    wished += _between(0.0, min(max(LEAST_SPREAD_SECONDS, RETRY_SPREAD * wished), MOST_SPREAD_SECONDS))
    return wished if error.code == ErrorCode.RATE_LIMITED else max(backoff.next(), wished)


def _read(answer: Any, lease_seconds: float) -> _Incarnation:
    """What the hub answered to a registration. Raises InvalidAnswer."""
    try:
        instance_id, generation, secret = answer["instance_id"], answer["generation"], answer["incarnation_secret"]
        lease = answer.get("lease_seconds", lease_seconds)
    except (TypeError, KeyError, AttributeError) as error:
        raise InvalidAnswer("the answer to the registration lacks the incarnation") from error
    if not (isinstance(instance_id, str) and isinstance(secret, str) and is_instance_id(instance_id)):
        raise InvalidAnswer("the answer to the registration names no instance")
    if not (isinstance(generation, int) and isinstance(lease, int | float) and 1 <= lease <= 86_400):
        raise InvalidAnswer("the answer to the registration has no generation or no lease")
    return _Incarnation(instance_id, generation, secret, lease)


def _why_unregistered(error: CentralHubError) -> str:
    if isinstance(error, Forbidden):
        return "the token may not register this instance, so the hub does not show it; the service runs on"
    if isinstance(error, NotFound) or error.status == HTTPStatus.METHOD_NOT_ALLOWED:
        return "this hub keeps no list of instances, so it does not show this one; the service runs on"
    return "not registered yet"


def _fitting(name: str) -> str:
    """A name that the hub takes: a host's name may hold anything."""
    if is_instance_id(name):
        return name
    return re.sub(r"[^A-Za-z0-9._:@+-]", "-", f"i-{name}")[:200]


def _between(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 - spreads load, hides nothing
