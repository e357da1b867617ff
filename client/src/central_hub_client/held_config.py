"""The configuration that a service runs on: where it came from, how fresh it is, and what may take its place.

No I/O and no waiting, so nothing can come between a decision and its effect. Nothing but a better configuration, or a
deletion told by the hub itself, takes away what is held: not age, not errors, not silence.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from central_hub_client import layers
from central_hub_client.acceptance import (
    Decision,
    Heard,
    Known,
    Verdict,
    judge_answer,
    judge_bookmark,
    judge_message,
)
from central_hub_client.errors import CentralHubError, InvalidAnswer, NotFound
from central_hub_client.hub_api import Answer
from central_hub_client.last_known_good import Remembered
from central_hub_client.wire import Bookmark, ConfigObject, Position

logger = logging.getLogger("central_hub_client")


class Source(StrEnum):
    """Where the configuration in use came from."""

    HUB = "hub"
    LAST_KNOWN_GOOD = "last_known_good"
    STREAM = "stream"
    SEED = "seed"
    FILES = "files"
    DEFAULTS = "defaults"


@dataclass(frozen=True, slots=True)
class Status:
    """How fresh the configuration is. `stale` is a signal, never an action.

    `age_seconds` counts from when the configuration was last known to be the latest, None if it never was. `error` says
    why the last attempt to hear from the hub failed, as `<code>: <sentence>`, None if it succeeded; `error_code` is
    `unreachable`, `unavailable`, `invalid_answer`, `not_found`, `forbidden`, `unauthenticated`, `invalid_settings`, …
    """

    source: Source
    revision: int | None
    epoch: int | None
    age_seconds: float | None
    stale: bool
    error: str | None
    error_code: str | None


@dataclass(slots=True)
class Counts:
    """What happened so far: answers of the hub, requests without a usable one, configurations taken from the hub and
    from elsewhere."""

    fetches: int = 0
    failures: int = 0
    updates: int = 0
    fallbacks: int = 0


class HeldConfig:
    """One service's configuration in one environment.

    `now` is what a clock says that nobody sets (`time.monotonic`), so that ages survive every jump of the wall clock.
    Only what is kept on disk has wall time, in which ages survive restarts.
    """

    def __init__(
        self,
        service: str,
        environment: str,
        safe_defaults: Mapping[str, Any],
        *,
        fresh_seconds: float,
        on_change: Callable[[dict[str, Any]], None],
    ) -> None:
        self.service = service
        self.environment = environment
        self._safe_defaults = layers.merge([safe_defaults])
        self._fresh_seconds = fresh_seconds
        self._on_change = on_change
        self._object: ConfigObject | None = None
        self._source = Source.DEFAULTS
        self._confirmed_at: float | None = None
        self._hub_is_stale = False
        self._error: CentralHubError | None = None
        self.counts = Counts()
        self.verified: Position | None = None
        """The position up to which this is known to be the latest."""
        self.merged: dict[str, Any] = self._safe_defaults
        """What the service sees. Replaced as a whole, never altered."""

    @property
    def object(self) -> ConfigObject | None:
        return self._object

    @property
    def etag(self) -> str | None:
        """The condition to ask with."""
        return None if self._object is None or self._source is Source.SEED else self._object.etag

    @property
    def error(self) -> CentralHubError | None:
        return self._error

    @property
    def is_disputed(self) -> bool:
        """Whether the hub says that there is no such configuration as the one held. That alone takes nothing away: it
        may be a mistake on the way. If it was deleted, the event stream or a signed message says so."""
        return isinstance(self._error, NotFound) and self._object is not None and not self._object.deleted

    @property
    def known(self) -> Known:
        # A seed is a last resort without a place in the order: anything replaces it.
        held = None if self._source is Source.SEED else self._object
        return Known(
            self.service,
            self.environment,
            None if held is None else held.hub_id,
            None if held is None else held.position,
            None if held is None else held.hash,
            self.verified,
        )

    def status(self, now: float) -> Status:
        age = None if self._confirmed_at is None else max(0.0, now - self._confirmed_at)
        return Status(
            source=self._source,
            revision=None if self._object is None else self._object.revision,
            epoch=None if self._object is None else self._object.epoch,
            age_seconds=age,
            stale=self._source is not Source.HUB or age is None or age > self._fresh_seconds or self._hub_is_stale,
            error=None if self._error is None else f"{self._error.code}: {self._error.detail}",
            error_code=None if self._error is None else self._error.code,
        )

    def to_remember(self, now: float, *, wall: float) -> Remembered | None:
        """What a later run of the service may start from. A seed is there anyway."""
        if self._object is None or self._confirmed_at is None or self._source is Source.SEED:
            return None
        return Remembered(self._object, wall - (now - self._confirmed_at))

    def restore(self, remembered: Remembered, now: float, *, wall: float) -> None:
        """Start from what an earlier run of the service left. The hub's own answer is never replaced by it."""
        if self._object is not None:
            return
        self._replace(remembered.object, Source.LAST_KNOWN_GOOD)
        self.counts.fallbacks += 1
        # A file from the future was written before the wall clock was set back.
        self._confirmed_at = now - max(0.0, wall - remembered.confirmed_at)

    def inherit(self, other: "HeldConfig") -> None:
        """Start from what another of this process held: never from less."""
        if other._object is not None:
            self._replace(other._object, other._source if other._source is Source.SEED else Source.LAST_KNOWN_GOOD)
            self._confirmed_at = other._confirmed_at
            self.verified = other.verified

    def plant(self, seed: ConfigObject) -> None:
        """Fall back on a seed where there is nothing better."""
        if self._object is None:
            self._replace(seed, Source.SEED)
            self.counts.fallbacks += 1
            self.verified = None

    def take_answer(self, answer: Answer, now: float) -> Decision:
        """The hub answered a request for the configuration."""
        received = answer.received
        self.counts.fetches += 1
        if received is None:
            decision = Decision(Verdict.IGNORE, "it is held already")
        else:
            decision = judge_answer(self.known, received)
            if decision.verdict is Verdict.FETCH:  # an answer that says "ask" leads nowhere
                decision = Decision(Verdict.REFUSE, decision.reason)
            self._act(decision, received, Source.HUB)
        if decision.verdict is not Verdict.REFUSE:
            self._forgive()
        if received is None or self._holds(received):
            self._hub_is_stale = answer.is_stale
            self._confirm(answer.applied, now)
        return decision

    def take_event(self, received: ConfigObject, now: float) -> Decision:
        """An object came over the hub's event stream."""
        decision = judge_answer(self.known, received)
        self._act(decision, received, Source.HUB)
        if self._holds(received):
            self._forgive()
            self._confirm(received.position, now)
        return decision

    def take_event_bookmark(self, bookmark: Bookmark, now: float) -> Heard:
        """The event stream told how far it has got: everything up to there has been delivered."""
        heard = judge_bookmark(self.known, bookmark)
        if heard is Heard.PRESENT and self._error is None:
            self._confirm(bookmark.position, now)
        return heard

    def take_message(self, received: ConfigObject, now: float) -> Decision:
        """A signed object came over the bus."""
        decision = judge_message(self.known, received)
        self._act(decision, received, Source.HUB)
        if decision.verdict is Verdict.APPLY:
            self._confirm(received.position, now)
        return decision

    def take_last_message(self, received: ConfigObject, now: float) -> Decision:
        """The signed object that the bus keeps as the last of its subject, read while no hub answers."""
        decision = judge_message(self.known, received, is_last_of_subject=True)
        self._act(decision, received, Source.STREAM)
        if decision.verdict is Verdict.APPLY:
            self._confirmed_at = now
        return decision

    def take_bus_bookmark(self, bookmark: Bookmark, now: float) -> Heard:
        """A signed bookmark came over the bus. Unlike on a stream, messages before it may have been lost."""
        heard = judge_bookmark(self.known, bookmark)
        if heard is Heard.PRESENT and bookmark.position == self.verified:
            self._confirm(bookmark.position, now)
        return heard

    def fail(self, error: CentralHubError) -> None:
        """Asking the hub failed. What is held stays."""
        self.counts.failures += 1
        if self._error is None or self._error.code != error.code:
            logger.warning(
                "no news from the hub: service=%s code=%s detail=%s running_on=%s",
                self.service,
                error.code,
                error.detail,
                self._source,
            )
        self._error = error

    def forget_verified(self) -> None:
        """The hub no longer knows the place we were at: the next stream starts from its current state."""
        self.verified = None

    def _act(self, decision: Decision, received: ConfigObject, source: Source) -> None:
        if decision.verdict is Verdict.REFUSE:
            self.fail(InvalidAnswer(f"the configuration was not applied: {decision.reason}"))
        if decision.verdict is not Verdict.APPLY:
            return
        if decision.resync and self._object is not None:
            logger.warning(
                "the history was replaced (%s): service=%s old=%s new=%s",
                decision.reason,
                self.service,
                self._object.position,
                received.position,
            )
        self._replace(received, source)
        if source is Source.HUB:
            self.counts.updates += 1
        else:
            self.counts.fallbacks += 1
        logger.info(
            "configuration applied: service=%s environment=%s position=%s source=%s deleted=%s",
            self.service,
            self.environment,
            received.position,
            source,
            received.deleted,
        )

    def _replace(self, received: ConfigObject, source: Source) -> None:
        self._object = received
        self._source = source
        self.verified = received.position
        self.merged = layers.merge([self._safe_defaults, received.config or {}])
        self._on_change(self.merged)

    def _holds(self, received: ConfigObject) -> bool:
        held = self._object
        return held is not None and (held.hub_id, held.position, held.hash) == (
            received.hub_id,
            received.position,
            received.hash,
        )

    def _forgive(self) -> None:
        if self._error is not None:
            logger.info("the hub is heard again: service=%s", self.service)
            self._error = None

    def _confirm(self, applied: Position | None, now: float) -> None:
        if self._object is None or self._source is Source.SEED:
            return
        self._source = Source.HUB
        self._confirmed_at = now
        if applied is not None and applied.epoch == self._object.epoch:
            self.verified = max(applied, self.verified or applied)
