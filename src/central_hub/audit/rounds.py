"""Verifies the audit log again and again, from its first entry to its head, a bounded part at a time."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from central_hub.audit.chain import Flaw, Verifier
from central_hub.audit.log import AuditLog, AuditPage
from central_hub.errors import StoreUnavailable
from central_hub_client.wire import Position

STEP_SECONDS: Final = 10.0
PAGE: Final = 500
"""Entries that are read and hashed at a time; so many every ten seconds are not felt."""
PAUSE_SECONDS: Final = 600.0
"""Between two rounds."""

log = structlog.get_logger()


class AuditRounds:
    """What the last round has found. A round that a restore or another epoch got into begins anew."""

    def __init__(self, audit: AuditLog, clock: Callable[[], datetime], *, is_on_duty: Callable[[], bool]) -> None:
        """Works only while `is_on_duty`: one replica is enough."""
        self._audit = audit
        self._clock = clock
        self._is_on_duty = is_on_duty
        self._round = _Round()
        self.rounds = 0
        self.flaws: tuple[str, ...] = ()
        self.broken_since: datetime | None = None

    @property
    def is_known(self) -> bool:
        """Whether this replica has found out how the log is."""
        return self.rounds > 0 or self.broken_since is not None

    async def run(self) -> None:
        """Verify until cancelled."""
        while True:
            pause = STEP_SECONDS
            if not self._is_on_duty():
                # What was found out may be long past when the duty comes back.
                self._forget()
            else:
                try:
                    if await self.step():
                        pause = PAUSE_SECONDS
                except StoreUnavailable:
                    log.debug("audit_round_waits")
                except Exception:
                    # The top of a background loop: an entry that cannot even be read is to be told, and tried again.
                    log.exception("audit_round_failed")
            await asyncio.sleep(pause)

    async def step(self) -> bool:
        """Verify the next part; returns whether the round is over. Raises StoreUnavailable."""
        page = await self._audit.page(after=self._round.after, limit=PAGE)
        if self._round.is_of_another_history(page):
            self._round = _Round()
            return False
        await asyncio.to_thread(self._round.take, page)
        if not page.is_last:
            # What is wrong is known when it is found, what is right only at the end.
            if self._round.flaws:
                self._found(self._round.flaws)
            return False
        self._found(self._round.flaws)
        self.rounds += 1
        self._round = _Round()
        return True

    def _found(self, flaws: tuple[str, ...]) -> None:
        if flaws and self.broken_since is None:
            self.broken_since = self._clock()
            log.error("audit_log_broken", flaws=len(flaws), first=flaws[0])
        elif not flaws:
            self.broken_since = None
        self.flaws = flaws

    def _forget(self) -> None:
        self._round, self.rounds, self.flaws, self.broken_since = _Round(), 0, (), None


class _Round:
    def __init__(self) -> None:
        self._verifier = Verifier()
        self._differing: list[tuple[str, str]] = []
        self._history: tuple[str, int] | None = None
        self.after = (0, -1)

    @property
    def flaws(self) -> tuple[str, ...]:
        differing = (f"{service} in environment {name} is not what the log says" for service, name in self._differing)
        return (*map(_sentence, self._verifier.flaws), *differing)

    def is_of_another_history(self, page: AuditPage) -> bool:
        history = (page.head.hub_id, page.head.epoch)
        return self._history not in (None, history) or page.head.revision < self._verifier.position.revision

    def take(self, page: AuditPage) -> None:
        self._history = (page.head.hub_id, page.head.epoch)
        for record in page.records:
            self._verifier.take(record)
            self.after = (record.entry.revision, record.entry.ordinal)
        if page.is_last:
            recorded = Position(page.head.epoch, page.head.revision)
            self._verifier.finish(recorded_head=page.head.audit_head, recorded=recorded)
            self._differing = page.differing


def _sentence(flaw: Flaw) -> str:
    return f"revision {flaw.revision} {flaw.sentence}"
