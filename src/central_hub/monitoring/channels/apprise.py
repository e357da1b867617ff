"""Tells of alerts by whatever Apprise speaks: chats, e-mail, telephones (https://github.com/caronc/apprise).

Its URLs are credentials, and it logs them, as the libraries beneath it do: none of what they log is let through. Where
it connects to is its own affair: addresses are not looked at as those of webhooks are.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import structlog

from central_hub.monitoring.channels.channel import NotDelivered
from central_hub.monitoring.notification import Event, Notification
from central_hub.monitoring.rules import ChannelType, Severity

TIMEOUT_SECONDS: Final = 12.0
MAX_AT_ONCE: Final = 16
"""A thread cannot be ended from outside: those that hang are counted."""
_TELL_URLS: Final = ("apprise", "requests", "urllib3")
_KINDS: Final = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}

log = structlog.get_logger()


class AppriseThreads:
    """The threads in which Apprise works, of all channels together: it knows no `await`."""

    def __init__(self) -> None:
        self._running = 0

    async def run(self, work: Callable[[], None]) -> None:
        """Do it in a thread of its own. Raises NotDelivered: as `work` does, and where it takes too long."""
        if self._running >= MAX_AT_ONCE:
            raise NotDelivered(f"{MAX_AT_ONCE} others are still being sent by Apprise")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def end(failure: NotDelivered | None) -> None:
            self._running -= 1
            if future.done():
                return
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)

        def in_thread() -> None:
            failure: NotDelivered | None = None
            try:
                work()
            except NotDelivered as error:
                failure = error
            except Exception as error:  # noqa: BLE001 - told without a traceback
                # What a plugin raises is its own affair; its message may quote the URL.
                log.warning("apprise_failed", error=type(error).__name__)
                failure = NotDelivered(f"Apprise failed with {type(error).__name__}")
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(end, failure)

        self._running += 1
        # A daemon: one that hangs must not keep the hub from stopping.
        threading.Thread(target=in_thread, name="apprise", daemon=True).start()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await future
        except TimeoutError:
            raise NotDelivered(f"Apprise did not deliver it within {TIMEOUT_SECONDS:g} s") from None


class AppriseChannel:
    """Its URL is looked up for each attempt, and kept nowhere."""

    type = ChannelType.APPRISE

    def __init__(
        self,
        options: Mapping[str, Any],
        reveal: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        threads: AppriseThreads,
    ) -> None:
        self._options = options
        self._reveal = reveal
        self._threads = threads

    async def send(self, notification: Notification) -> None:
        try:
            url = self._reveal(self._options).get("url")
        except ValueError as error:
            raise NotDelivered(f"not sent: {error}") from None
        if not isinstance(url, str):
            raise NotDelivered("not sent: url must be a URL of Apprise")
        await self._threads.run(lambda: _notify(url, notification))


def _notify(url: str, notification: Notification) -> None:
    _quieten()
    try:
        import apprise  # here: it is an extra, and slow to load
    except ImportError:
        raise NotDelivered("Apprise is not installed: pip install 'central-hub[monitoring]'") from None
    # In memory: a cache on the disk would hold credentials.
    speaker = apprise.Apprise(asset=apprise.AppriseAsset(app_id="Central Hub", storage_mode="memory"))
    if not speaker.add(url):
        raise NotDelivered("not sent: Apprise does not understand the url")
    if len(speaker) != 1:
        # Where one of them fails, those that did not would get it again with every attempt.
        raise NotDelivered("not sent: url names several services; make a channel of each")
    for service in speaker:
        # By default Apprise leaves a long text as it is, and services refuse it: rather its beginning than nothing.
        if service.overflow_mode == apprise.OverflowMode.UPSTREAM:
            service.overflow_mode = apprise.OverflowMode.TRUNCATE
    if not speaker.notify(
        body=notification.body, title=notification.title, notify_type=_kind(notification), body_format="text"
    ):
        raise NotDelivered("Apprise could not deliver it")


def _quieten() -> None:
    # Not by their levels: Apprise raises its own while it notifies.
    for name in _TELL_URLS:
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def _kind(notification: Notification) -> str:
    return "success" if notification.event is Event.RESOLVED else _KINDS[notification.severity]
