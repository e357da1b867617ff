"""NATS: looked for in the background and for ever, used when it is there, never waited for."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoServersError, SlowConsumerError
from nats.js import JetStreamContext
from nats.js.api import DeliverPolicy, DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from central_hub.connections.link import Link
from central_hub_client.backoff import Backoff
from central_hub_client.wire import STREAM, UPDATE_SUBJECTS

ACKNOWLEDGEMENT_SECONDS: Final = 1.0
CONNECT_TIMEOUT_SECONDS: Final = 2
LONGEST_WAIT_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 2.0
_CLUSTER_COPIES: Final = 3

log = structlog.get_logger()

Received = Callable[[str, bytes, Mapping[str, str]], None]
"""Told of a message: subject, payload, headers."""


class Bus:
    """One connection to NATS, made anew whenever it is lost."""

    def __init__(
        self, servers: list[str], link: Link, *, on_message: Received, on_connected: Callable[[], Awaitable[None]]
    ) -> None:
        """`link` is told how the connection is."""
        self._servers = servers
        self._link = link
        self._on_message = on_message
        self._on_connected = on_connected
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._broken = asyncio.Event()

    @property
    def is_answering(self) -> bool:
        """Whether the last exchange with the server succeeded: a frozen server is connected but does not answer."""
        return self._link.ok is True

    @property
    def is_connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._task = asyncio.create_task(self._stay_connected(), name="bus")

    async def stop(self) -> None:
        """Send what is waiting and close."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._close()

    async def publish_stored(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> bool:
        """Publish and wait until the stream has it. False when it is not known to have it."""
        if self._client is None or not self._client.is_connected:
            return False
        try:
            stored = await self._client.jetstream().publish(
                subject, payload, timeout=ACKNOWLEDGEMENT_SECONDS, stream=STREAM, headers=dict(headers)
            )
        except (NatsError, APIError, TimeoutError, OSError) as error:
            self._failed(error)
            return False
        self._link.works()
        # A duplicate is acknowledged and dropped, and whoever took this message's id may have sent anything.
        return not stored.duplicate

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """Publish to whoever listens now, without waiting."""
        if self._client is None or not self._client.is_connected:
            return
        try:
            await self._client.publish(subject, payload, headers=dict(headers))
        except (NatsError, OSError) as error:
            self._failed(error)

    async def publish_taken(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> bool:
        """Publish to whoever listens now, and wait until the server has it. False when it is not known to have it."""
        if self._client is None or not self._client.is_connected:
            return False
        try:
            await self._client.publish(subject, payload, headers=dict(headers))
            # What answers this has read what was sent before it.
            await self._client.flush(timeout=int(ACKNOWLEDGEMENT_SECONDS))
        except (NatsError, TimeoutError, OSError) as error:
            self._failed(error)
            return False
        self._link.works()
        return True

    async def last_messages(self, received: Received) -> None:
        """Hand over the last message of every subject of the stream, and return when all have been. Raises OSError."""
        context = self._context()
        try:
            subscription = await context.subscribe(
                UPDATE_SUBJECTS, stream=STREAM, ordered_consumer=True, deliver_policy=DeliverPolicy.LAST_PER_SUBJECT
            )
            try:
                consumer = await subscription.consumer_info()
                # By now some may have been sent already.
                remaining = (consumer.num_pending or 0) + (consumer.delivered.consumer_seq if consumer.delivered else 0)
                while remaining:
                    message = await subscription.next_msg(timeout=ACKNOWLEDGEMENT_SECONDS)
                    received(message.subject, message.data, message.headers or {})
                    remaining = message.metadata.num_pending
            finally:
                await subscription.unsubscribe()
        except (NatsError, APIError, TimeoutError) as error:
            self._failed(error)
            raise ConnectionError(str(error)) from error

    async def stream_state(self) -> tuple[object, ...]:
        """What differs as soon as anything was added to the stream or taken from it. Raises OSError."""
        context = self._context()
        try:
            stream = await context.stream_info(STREAM)
        except (NatsError, APIError, TimeoutError) as error:
            self._failed(error)
            raise ConnectionError(str(error)) from error
        self._link.works()
        return stream.created, stream.state.first_seq, stream.state.last_seq, stream.state.messages

    async def _stay_connected(self) -> None:
        # This loop is the only one that connects: the one of nats-py knows no jitter, and gives up on some errors.
        backoff = Backoff(first_seconds=0.25, limit_seconds=LONGEST_WAIT_SECONDS, least=0.5)
        while True:
            self._broken.clear()
            since = time.monotonic()
            try:
                await self._connect()
                await self._until_broken()
            except (NatsError, APIError, OSError, TimeoutError) as error:
                self._failed(error)
            except Exception:
                log.exception("bus_failed")
            await self._close()
            if time.monotonic() - since > 2 * LONGEST_WAIT_SECONDS:
                # A connection that breaks soon after it was made, again and again, is no reason to hurry.
                backoff.reset()
            await asyncio.sleep(backoff.next())

    async def _connect(self) -> None:
        self._client = Client()
        await self._client.connect(
            servers=self._servers,
            name="central-hub",
            no_echo=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            ping_interval=5,
            max_outstanding_pings=2,
            error_cb=self._on_error,
            closed_cb=self._on_closed,
        )
        await self._client.subscribe(UPDATE_SUBJECTS, cb=self._deliver)
        await self._ensure_stream()
        self._link.works()
        log.info("bus_connected")
        await self._on_connected()

    async def _until_broken(self) -> None:
        while self.is_connected and not self._broken.is_set():
            # Nobody tells us of a connection that is being closed while what was sent on it does not get through.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._broken.wait()
        if self.is_answering:
            self._failed(ConnectionError("the connection was lost"))

    async def _ensure_stream(self) -> None:
        assert self._client is not None  # noqa: S101 - called with a connection only
        config = StreamConfig(
            name=STREAM,
            subjects=[UPDATE_SUBJECTS],
            max_msgs_per_subject=1,
            discard=DiscardPolicy.OLD,
            storage=StorageType.FILE,
            allow_direct=True,
            # As short as the server allows: an announcement that is repeated must get through.
            duplicate_window=0.1,
            num_replicas=_CLUSTER_COPIES if len(self._servers) >= _CLUSTER_COPIES else 1,
        )
        context = self._client.jetstream()
        try:
            await context.add_stream(config)
        except APIError:
            # It is there with another configuration: bring it to ours.
            await context.update_stream(config)

    def _context(self) -> JetStreamContext:
        if self._client is None:
            raise ConnectionError("not connected")
        return self._client.jetstream()

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await client.close()
        except (NatsError, OSError, TimeoutError) as error:
            log.warning("bus_close_failed", error=type(error).__name__)
        except AssertionError:
            pass  # it never got as far as to connect

    async def _deliver(self, message: Msg) -> None:
        self._on_message(message.subject, message.data, message.headers or {})
        # Messages that wait are handed over without a pause: in a flood of them requests must have their turn.
        await asyncio.sleep(0)

    async def _on_error(self, error: Exception) -> None:
        self._failed(error)

    async def _on_closed(self) -> None:
        self._broken.set()

    def _failed(self, error: BaseException) -> None:
        # Where no server is left to try, what was wrong with the last of them says more.
        if not isinstance(error, NoServersError) and self._link.fails(_sentence(error)):
            log.warning("bus_lost", error=self._link.reason)
        if isinstance(error, NoStreamResponseError | NotFoundError | SlowConsumerError):
            # The stream is gone, or messages were dropped unread: begin anew, with a stream and a look at what it has.
            self._broken.set()


def _sentence(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error).removeprefix("nats: ") or type(error).__name__
