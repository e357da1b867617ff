"""Sends what is due to be told: at least once, with the same id, whichever replica does it.

A replica claims what it sends. It begins at once, and gives up long before the claim runs out; where it dies meanwhile,
another one claims it then. A replica that dies after the delivery and before it is written down is the one case in
which a receiver hears the same twice, and he knows that by the id.
"""

import asyncio
import random
import secrets
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.connections.database import Database
from central_hub.errors import NotFound, StoreUnavailable
from central_hub.monitoring import notification
from central_hub.monitoring.channels.channel import Channel, NotDelivered
from central_hub.monitoring.retrying import next_attempt
from central_hub.storage import notifications
from central_hub.storage.notification_values import Counted, Notification, NotificationState

LOOK_SECONDS: Final = 1.0
CLAIM_SECONDS: Final = 45.0
_SENDING_SHARE: Final = 1 / 3
"""Of the claim, what a channel may take. Those that wait for an answer give up by themselves before that."""
PER_CHANNEL: Final = 16
"""Of each channel so many are sent at once: one that hangs holds up nobody but itself."""
KEPT_FOR: Final = timedelta(days=30)
COUNT_SECONDS: Final = 10.0
_LONGEST_ERROR: Final = 500
_WRITES_AT_ONCE: Final = 4
_END_SECONDS: Final = 2.0

FindChannel = Callable[[str], Channel | None]
OnTold = Callable[[str, str], None]
"""Told of every attempt: the type of the channel, and `sent`, `failed` or `dead`."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a test: `reason` says why it was not delivered."""

    id: str
    delivered: bool
    reason: str | None = None


class Notifier:
    """The sender of one replica. `counted` is how many the store had when it was last looked at."""

    def __init__(
        self,
        database: Database,
        own_id: str,
        find_channel: FindChannel,
        *,
        on_told: OnTold,
        claim_seconds: float = CLAIM_SECONDS,
    ) -> None:
        self._database = database
        self._own_id = own_id
        self._find_channel = find_channel
        self._on_told = on_told
        self._claim_seconds = claim_seconds
        self._send_seconds = claim_seconds * _SENDING_SHARE
        self._woken = asyncio.Event()
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        self._writing = asyncio.Semaphore(_WRITES_AT_ONCE)
        self._counted_at = float("-inf")
        self.counted = Counted(0, 0)

    def wake(self) -> None:
        """Something is due: look at once."""
        self._woken.set()

    async def run(self) -> None:
        """Send whatever is due, until cancelled. What is being sent then is left to other replicas at once."""
        try:
            while True:
                self._woken.clear()
                try:
                    await self._begin_due()
                    await self._count()
                except StoreUnavailable:
                    log.debug("notifications_wait")
                except Exception:
                    # The top of a background loop: one look that fails must not end all notifications.
                    log.exception("notifying_failed")
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._woken.wait()
        finally:
            await self._end()

    async def send_test(self, channel_name: str, *, by: str, hub: str) -> Tried:
        """Try a channel now, without the outbox. Raises NotFound where there is none of that name."""
        channel = self._find_channel(channel_name)
        if channel is None:
            raise NotFound(f"there is no channel {channel_name}")
        told = notification.for_test(secrets.token_hex(16), channel_name, hub, by=by, at=datetime.now(UTC))
        try:
            await _send(channel, told, self._send_seconds)
        except NotDelivered as failure:
            return Tried(told.id, False, failure.reason)
        return Tried(told.id, True)

    async def listed(self, state: NotificationState, *, limit: int) -> list[Notification]:
        """Those in a state, the newest first. Raises StoreUnavailable."""
        async with self._database.reading() as connection:
            return list(await notifications.latest(connection, state, limit=limit))

    async def find(self, notification_id: str) -> Notification | None:
        """One of them. Raises StoreUnavailable."""
        async with self._database.reading() as connection:
            return await notifications.find(connection, notification_id)

    async def redeliver(self, notification_id: str) -> Notification:
        """Have one sent that was given up, with the id that it had. One that is due is left as it is. Raises NotFound
        where there is none, or it was delivered; StoreUnavailable."""

        async def work(connection: AsyncConnection) -> Notification | None:
            again = await notifications.redeliver(connection, notification_id)
            return again or await notifications.find(connection, notification_id)

        found = await self._database.transaction(work)
        if found is None or found.state is NotificationState.SENT:
            raise NotFound(f"no notification {notification_id} was given up")
        self.wake()
        return found

    async def forget_old(self) -> None:
        """Remove what was sent or given up long ago."""
        await self._database.transaction(lambda connection: notifications.forget_old(connection, KEPT_FOR))

    async def _begin_due(self) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        claimed = await self._database.transaction(
            lambda connection: notifications.claim(
                connection, self._own_id, seconds=self._claim_seconds, per_channel=PER_CHANNEL, busy=self._busy
            )
        )
        if loop.time() - begun > self._claim_seconds - 2 * self._send_seconds:
            # The answer took so long that the claim could run out while it is sent.
            return
        for one in claimed:
            self._busy[one.channel] += 1
            self._sending[one.id] = asyncio.create_task(self._deliver(one), name="notification")

    async def _deliver(self, claimed: Notification) -> None:
        """Send one and write down what came of it."""
        channel = self._find_channel(claimed.channel)
        channel_type = "unknown" if channel is None else channel.type.value
        told = {"notification": claimed.id, "channel": claimed.channel, "attempt": claimed.attempts}
        try:
            try:
                if channel is None:
                    raise NotDelivered(f"there is no channel {claimed.channel} any more")
                await _send(channel, _read(claimed), self._send_seconds)
            except NotDelivered as failure:
                pause = (
                    next_attempt(claimed.attempts, random.random(), after_seconds=failure.after_seconds)  # noqa: S311
                    if failure.retry
                    else None
                )
                outcome = "dead" if pause is None else "failed"
                self._on_told(channel_type, outcome)
                if pause is None:
                    log.error("notification_given_up", **told, reason=failure.reason)
                else:
                    log.warning("notification_not_delivered", **told, reason=failure.reason, again_in=round(pause))
                await self._write(_failure(claimed, self._own_id, failure.reason, pause))
            else:
                self._on_told(channel_type, "sent")
                await self._write(lambda connection: notifications.sent(connection, claimed.id))
        finally:
            self._busy[claimed.channel] -= 1
            self._sending.pop(claimed.id, None)
            # There may be more for which there was no room.
            self.wake()

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[object]]) -> None:
        """Write it down, however long the store is away: until then it must not be claimed again here."""
        while True:
            try:
                async with self._writing:
                    await self._database.transaction(work)
            except StoreUnavailable:
                await asyncio.sleep(LOOK_SECONDS)
            except Exception:
                # The top of a background task. The claim runs out, and it is tried again.
                log.exception("notification_not_written")
                return
            else:
                return

    async def _count(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._counted_at < COUNT_SECONDS:
            return
        self._counted_at = now
        async with self._database.reading() as connection:
            self.counted = await notifications.count(connection)

    async def _end(self) -> None:
        if not self._sending:
            return
        # What was delivered is to be written down, if that is quick.
        _, late = await asyncio.wait(self._sending.values(), timeout=_END_SECONDS)
        ids = list(self._sending)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if ids:
            with suppress(StoreUnavailable):
                await self._database.transaction(
                    lambda connection: notifications.release(connection, ids, self._own_id)
                )


async def _send(channel: Channel, told: notification.Notification, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await channel.send(told)
    except TimeoutError:
        raise NotDelivered(f"not delivered within {seconds:g} s") from None
    except NotDelivered:
        raise
    except Exception as error:  # noqa: BLE001 - told without a traceback
        # A mistake of the hub. Where and what, but not the message: it may quote a URL, and that may be a credential.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        log.error("channel_failed", error=type(error).__name__, at=f"{frame.filename}:{frame.lineno}")
        raise NotDelivered(f"the hub made a mistake: {type(error).__name__}") from None


def _read(claimed: Notification) -> notification.Notification:
    try:
        return notification.read(claimed.payload)
    except ValueError as error:
        # Of another version of the hub, perhaps: one of that version may be there.
        raise NotDelivered(f"the payload cannot be read: {error}") from None


def _failure(
    claimed: Notification, own_id: str, reason: str, pause: float | None
) -> Callable[[AsyncConnection], Awaitable[object]]:
    again_after = None if pause is None else timedelta(seconds=pause)
    return lambda connection: notifications.failed(
        connection, claimed, own_id, error=reason[:_LONGEST_ERROR], again_after=again_after
    )
