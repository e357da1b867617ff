"""Push: the hub's event stream by default, NATS where asked for. Polling (`refresh.py`) is the net under both.

The only module of the client that knows NATS, and it loads `nats` with the first connection.
"""

import asyncio
import contextlib
import importlib
import logging
import time
from typing import TYPE_CHECKING, Final

from central_hub_client import strict_json
from central_hub_client.acceptance import Heard, Verdict
from central_hub_client.backoff import Backoff
from central_hub_client.blocking import run_blocking
from central_hub_client.errors import CentralHubError, HistoryGone, InvalidAnswer
from central_hub_client.held_config import HeldConfig
from central_hub_client.hub_api import MAX_ANSWER_BYTES, SILENCE_SECONDS, HubApi, read_config_object
from central_hub_client.key_ring import KeyRing
from central_hub_client.refresh import Refresher
from central_hub_client.wire import (
    BOOKMARK_SUBJECT,
    DEFAULT_ENVIRONMENT,
    STREAM,
    Bookmark,
    ConfigObject,
    update_subject,
)

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

logger = logging.getLogger("central_hub_client")

CONNECT_SECONDS: Final = 2.0
SESSION_START_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 1.0
KEYS_SECONDS: Final = 300.0
PENDING_MESSAGES: Final = 1024


class Bus:
    """Updates over NATS. A message that is signed and fits is applied; any other is at most a reason to ask the hub."""

    def __init__(self, servers: tuple[str, ...], held: HeldConfig, refresher: Refresher, keys: KeyRing) -> None:
        self._servers = servers
        self._held = held
        self._refresher = refresher
        self._keys = keys
        self._heard_at = time.monotonic()
        self._silenced = asyncio.Event()
        self.looked = asyncio.Event()
        """Set once the bus was asked for what it keeps, whatever came of it."""

    @property
    def is_alive(self) -> bool:
        """Whether a hub was heard lately that this client can believe. At first, for as long, it is presumed."""
        return time.monotonic() - self._heard_at < SILENCE_SECONDS

    async def silence(self) -> None:
        """Wait until no believable hub is heard."""
        while (left := self._heard_at + SILENCE_SECONDS - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._silenced.wait()

    async def run(self) -> None:
        """Stay connected for ever; each connection is a new client, since a closed one stays closed."""
        try:
            await run_blocking(_load)
        except ImportError:
            logger.exception("no updates over NATS: it needs `pip install central-hub-client[nats]`")
            self._fall_silent()
            return
        from nats.aio.client import Client
        from nats.errors import Error as NatsError

        backoff = Backoff()
        self._heard_at = time.monotonic()
        self._silenced.clear()
        while True:
            client = Client()
            since = time.monotonic()
            try:
                await self._session(client)
            except (NatsError, OSError, TimeoutError) as error:
                # Only the class: the text could repeat a server's URL with its credentials.
                logger.info("the bus was lost: service=%s error=%s", self._held.service, type(error).__name__)
            finally:
                # AssertionError: of a client that never got as far as to connect.
                with contextlib.suppress(NatsError, OSError, TimeoutError, AssertionError):
                    async with asyncio.timeout(CONNECT_SECONDS):
                        await client.close()
            self._fall_silent()
            if time.monotonic() - since > SILENCE_SECONDS:
                backoff.reset()
            await asyncio.sleep(backoff.next())

    def _fall_silent(self) -> None:
        self._heard_at = -SILENCE_SECONDS
        self._silenced.set()
        self.looked.set()

    async def _session(self, client: "Client") -> None:
        from nats.errors import SlowConsumerError

        lost = asyncio.Event()

        async def closed() -> None:
            lost.set()

        async def failed(error: Exception) -> None:
            logger.debug("the bus complains: error=%s", type(error).__name__)
            if isinstance(error, SlowConsumerError):
                self._refresher.suspect()  # a message was dropped: too large, or one too many; it may have been news

        async with asyncio.timeout(SESSION_START_SECONDS):
            await client.connect(
                servers=list(self._servers),
                name=f"central-hub-client {self._held.service}",
                # The reconnect loop is ours: it backs off with jitter, and it survives a client that closed for good.
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=int(CONNECT_SECONDS),
                closed_cb=closed,
                error_cb=failed,
            )
        if not self._keys.keys:
            await self._keys.learn()
        await self._subscribe(client)
        await self._look(client)
        while not lost.is_set():
            await self._keys.learn(unless_within_seconds=KEYS_SECONDS)  # that of a replica that is gone must not stay
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SILENCE_SECONDS):
                    await lost.wait()
            if self._held.is_disputed:
                await self._look(client)
            if not lost.is_set() and not self.is_alive:
                await client.flush(timeout=int(CONNECT_SECONDS))  # raises where silence means that nobody is there

    async def _subscribe(self, client: "Client") -> None:
        service, environment = self._held.service, self._held.environment
        # An environment without documents of its own is told through `default`, which may be both.
        updates = {update_subject(service, environment), update_subject(service, DEFAULT_ENVIRONMENT)}
        handlers = [*((subject, self._take_update) for subject in updates), (BOOKMARK_SUBJECT, self._take_bookmark)]
        for subject, handler in handlers:
            await client.subscribe(
                subject, cb=handler, pending_msgs_limit=PENDING_MESSAGES, pending_bytes_limit=MAX_ANSWER_BYTES
            )

    async def _look(self, client: "Client") -> None:
        """Where no hub answers, or it does not know what is held, the last message of the subject is the best news."""
        from nats.errors import NoRespondersError

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REQUEST_SECONDS):
                await self._refresher.attempted.wait()
        if not self._refresher.reachable.is_set() or self._held.is_disputed:
            subject = update_subject(self._held.service, self._held.environment)
            with contextlib.suppress(NoRespondersError, TimeoutError):
                last = await client.request(f"$JS.API.DIRECT.GET.{STREAM}.{subject}", timeout=REQUEST_SECONDS)
                received = await self._believable(last)
                if received is not None:
                    self._held.take_last_message(received, time.monotonic())
        self.looked.set()

    async def _take_update(self, message: "Msg") -> None:
        received = await self._believable(message)
        if received is None:
            self._refresher.suspect()
        elif self._held.take_message(received, time.monotonic()).verdict is Verdict.FETCH:
            self._refresher.want(received.position)

    async def _take_bookmark(self, message: "Msg") -> None:
        if not self._keys.trusts(message.data, message.headers):
            self._refresher.suspect()
            return
        bookmark = Bookmark.from_json(strict_json.parse(message.data))
        match self._held.take_bus_bookmark(bookmark, time.monotonic()):
            case Heard.PRESENT:
                self._heard_at = time.monotonic()
                self._silenced.clear()
                self._refresher.want(bookmark.position)
            case Heard.OTHER_HISTORY:
                self._refresher.suspect()

    async def _believable(self, message: "Msg") -> ConfigObject | None:
        """The object that a trusted key signed, None for anything else."""
        if not self._keys.trusts(message.data, message.headers):
            return None
        try:
            return await read_config_object(message.data)
        except InvalidAnswer:
            return None


def _load() -> None:
    """Load what takes a tenth of a second to load: in a thread, for the sake of the event loop."""
    for name in ("cryptography.hazmat.primitives.asymmetric.ed25519", "nats.aio.client"):
        importlib.import_module(name)


async def follow_events(held: HeldConfig, api: HubApi, refresher: Refresher, bus: Bus | None) -> None:
    """Follow the hub's event stream for ever, while the bus (if any) is silent.

    Whenever the stream breaks, ask first, then resume where it broke. One that breaks soon after it began does not show
    that the hub is well: a fleet must not rush at a hub that ends every stream.
    """
    backoff = Backoff()
    while True:
        retry_after = 0.0
        await refresher.reachable.wait()
        if bus is not None:
            await bus.silence()
        since = time.monotonic()
        try:
            async with contextlib.aclosing(api.watch(held.service, held.environment, after=held.verified)) as events:
                async for event in events:
                    if time.monotonic() - since > SILENCE_SECONDS:
                        backoff.reset()
                    if not _take_event(held, refresher, event) or (bus is not None and bus.is_alive):
                        break
        except HistoryGone as error:
            logger.warning("the event stream cannot be resumed, starting anew: service=%s: %s", held.service, error)
            held.forget_verified()
        except CentralHubError as error:
            logger.info("the event stream broke: service=%s code=%s: %s", held.service, error.code, error)
            retry_after = error.retry_after_seconds or 0.0
        refresher.check()
        await asyncio.sleep(max(backoff.next(), retry_after))


def _take_event(held: HeldConfig, refresher: Refresher, event: ConfigObject | Bookmark) -> bool:
    """False where the stream tells another history than the one followed: it must be opened again from its start."""
    if isinstance(event, Bookmark):
        if held.take_event_bookmark(event, time.monotonic()) is Heard.OTHER_HISTORY:
            held.forget_verified()
            return False
    elif held.take_event(event, time.monotonic()).verdict is Verdict.FETCH:
        refresher.want(event.position)
    return True
