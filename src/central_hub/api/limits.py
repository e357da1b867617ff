"""What a connection may cost: time, bytes and places. uvicorn bounds none of them.

A peer that is slow, silent or endless is let go after a bounded time, and never makes the hub remember more than a
bounded number of bytes; an honest one notices nothing. What is refused here is refused before any application code
runs, so it is answered without asking for a token.
"""

import asyncio
import math
import random
import socket
import sys
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import httptools
import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from central_hub.api.problems import problem_body, problem_headers
from central_hub.api.security_headers import HEADERS
from central_hub.errors import HeaderTooLarge, HubError, MalformedRequest, RequestTimeout, TooManyConnections

if sys.platform == "linux":
    import fcntl
    import termios

log = structlog.get_logger()

_TICK_SECONDS: Final = 0.5
_WATCHED_AT_ONCE: Final = 500
_LATEST_RETRY_SECONDS: Final = 5
_PROGRESS_BYTES: Final = 4096
"""Who takes less than this in the time of a stall takes nothing."""
_FRAMING: Final = frozenset((b"host", b"expect", b"transfer-encoding", b"content-length"))


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of one connection, and the number of them. A timeout takes effect up to a second late."""

    max_connections: int = 4096
    """More get 503 and are closed."""
    head_seconds: float = 8.0
    """From the connection, or from the last response, to the end of the next request's header: idle time included."""
    crowded_head_seconds: float = 1.0
    """The same after a response while more than half of the connections are taken: an idle one keeps others out."""
    head_bytes: int = 32 * 1024
    """Request line and header fields together; more get 431."""
    body_seconds: float = 8.0
    """From the end of the header to the end of the body, at most."""
    body_grace_seconds: float = 3.0
    body_bytes_per_second: int = 16 * 1024
    """After the grace the body must have come at this rate on average, or the request gets 408."""
    stall_seconds: float = 30.0
    """A peer that takes nothing of what is waiting for it is dropped after this; an event stream's reader as well."""
    linger_seconds: float = 1.0
    """How long input is read and thrown away after an early answer, so that closing does not destroy the answer."""
    linger_bytes: int = 4 * 1024 * 1024
    pipelined_requests: int = 64
    """Requests that wait for the answer to the one before them."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol within `limits`."""

    # Not in the instance's dictionary: with so many names that would lose its fast form.
    __slots__ = (
        "_body_bytes",
        "_body_since",
        "_chunk_bytes",
        "_deadline",
        "_early_answer",
        "_fault",
        "_has_body",
        "_head_bytes",
        "_host",
        "_is_dismissed",
        "_is_draining",
        "_is_leaving",
        "_is_reading_head",
        "_may_keep_alive",
        "_progress_at",
        "_running",
        "_unsent_bytes",
        "_wire_bytes",
    )

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()

    @classmethod
    def within(cls, limits: ConnectionLimits) -> type[Self]:
        """The protocol class with other limits, for `uvicorn.Config(http=…)`."""
        return type(cls.__name__, (cls,), {"limits": limits})

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # A connection waits for a header, then for a body, then for the application, which may take any time.
        self._deadline = math.inf
        self._is_reading_head = True
        self._host: bytes | None = None
        self._has_body = False
        self._fault = ""
        self._chunk_bytes = 0
        self._head_bytes = 0
        self._wire_bytes = 0
        self._body_bytes = 0
        self._body_since = 0.0
        self._may_keep_alive = True
        self._is_draining = False
        self._is_leaving = False
        self._is_dismissed = False
        self._unsent_bytes = 0
        self._progress_at = 0.0
        self._running: RequestResponseCycle | None = None
        self._early_answer = _EarlyAnswer(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        _forget_vanished_peers(transport, self.limits.stall_seconds)
        self._progress_at = self.loop.time()
        self._deadline = self._progress_at + self.limits.head_seconds
        if len(self.connections) > self.limits.max_connections:
            # Whoever is told the same second comes with all the others again.
            seconds = random.randint(1, _LATEST_RETRY_SECONDS)  # noqa: S311 - spreads load
            retry = {"Retry-After": str(seconds)}
            self._refuse(TooManyConnections("all connections are taken: try again in a moment", headers=retry))

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell_running()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self._is_draining = True
        self._may_keep_alive = False
        super().shutdown()
        self._is_dismissed = self.transport.is_closing() and self.scheme == "https"

    def data_received(self, data: bytes) -> None:
        if self._is_leaving:
            self._wire_bytes += len(data)
            if self._wire_bytes > self.limits.linger_bytes:
                self.transport.abort()
            return
        self._chunk_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # RFC 9110, section 7.8: a server may ignore it; the answer closes the connection
        except httptools.HttpParserError as error:
            cause = error.__context__  # what a callback of the parser raised
            self._refuse(
                cause if isinstance(cause, HubError) else MalformedRequest("the request is not valid HTTP/1.1")
            )
            return
        if self._is_reading_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.head_bytes:
                self._refuse(self._head_too_large())
        else:
            self._wire_bytes += len(data)
            # Chunks of one byte take six; extensions and trailers without end would take memory in the parser.
            if self._wire_bytes > 2 * self.limits.head_bytes + 8 * self._body_bytes:
                self._refuse(MalformedRequest("the chunked body has more framing than content"))

    def on_header(self, name: bytes, value: bytes) -> None:
        # Fields that come after a chunked body (trailers) would join a header that was judged already.
        if self._is_reading_head:
            name = name.lower()
            if name in _FRAMING:
                self._note(name, value)
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        upgrades = self.parser.should_upgrade()
        has_body, self._has_body = self._has_body, False
        self._check_head(upgrades, has_body)
        super().on_headers_complete()
        if not self.pipeline:
            self._running = self.cycle
        if upgrades:
            self.cycle.keep_alive = False
        if has_body:
            self._expect_body(self.cycle)

    def _expect_body(self, cycle: RequestResponseCycle) -> None:
        self._is_reading_head = False
        self._wire_bytes, self._body_bytes = -self._chunk_bytes, 0
        self._start_body_clock()
        # Until the body is there, an answer is an early one, and the connection ends with it.
        self._may_keep_alive = cycle.keep_alive and not self._is_draining
        cycle.keep_alive = False
        cycle.transport = self._early_answer  # type: ignore[assignment]

    def _start_body_clock(self) -> None:
        self._body_since = self.loop.time()
        self._deadline = self._body_since + self.limits.body_grace_seconds

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        limits = self.limits
        earned_seconds = limits.body_grace_seconds + self._body_bytes / limits.body_bytes_per_second
        self._deadline = self._body_since + min(limits.body_seconds, earned_seconds)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = -self._chunk_bytes  # what came together with the end of this request does not count
        self._deadline = math.inf
        if not self._is_reading_head:
            self._is_reading_head = True
            if not self.cycle.response_started:
                self.cycle.keep_alive = self._may_keep_alive
                self.cycle.transport = self.transport
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As in uvicorn, but for its timer for idle connections: the watchdog does that."""
        self.server_state.total_requests += 1
        if self._is_leaving or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._running, app = self.pipeline.pop()
            self._start_asgi_task(self._running, app)
            if not self._is_reading_head:
                self._start_body_clock()
        else:
            is_crowded = len(self.connections) > self.limits.max_connections / 2
            self._deadline = self.loop.time() + (
                self.limits.crowded_head_seconds if is_crowded else self.limits.head_seconds
            )

    def _should_upgrade(self) -> bool:
        return False

    def leave(self) -> None:
        """Close the connection in a way that lets the peer read the answer, even while it is still sending.

        Closing with unread input makes the kernel send a reset, which destroys what the peer has not read yet.
        """
        self._stop_listening(until=self.loop.time() + self.limits.linger_seconds)
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            if self._host is not None:
                self._fault = "the request has more than one Host"
            self._host = value
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        else:
            self._has_body = True
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                self._fault = "chunked is the only Transfer-Encoding that is understood"

    def _check_head(self, upgrades: bool, has_body: bool) -> None:
        if self._head_bytes + self._chunk_bytes > self.limits.head_bytes:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.limits.head_bytes:
                raise self._head_too_large()
        if self.url[:1] != b"/" and not _names_the_same_host(self.url, self._host):
            self._fault = "the request target must be a path"
        elif upgrades and has_body:
            # The parser takes the body of such a request for the next request.
            self._fault = "the protocol cannot be changed here: send the request without Upgrade"
        elif len(self.pipeline) >= self.limits.pipelined_requests:
            self._fault = "too many requests wait for the answer to the one before them"
        if self._fault:
            raise MalformedRequest(self._fault)
        self._host = None

    def _head_too_large(self) -> HubError:
        return HeaderTooLarge(f"request line and header may have {self.limits.head_bytes} bytes at most")

    def watch(self, now: float) -> None:
        """Look whether the peer keeps to its times. The server calls it every half second."""
        unsent = self.transport.get_write_buffer_size()
        # What TLS hands on is not seen here: that it does not block is progress, and the kernel has its own limit.
        if (
            unsent == 0
            or unsent <= self._unsent_bytes - _PROGRESS_BYTES
            or (self.scheme == "https" and not self.flow.write_paused)
        ):
            self._progress_at, self._unsent_bytes = now, unsent
        else:
            self._unsent_bytes = max(self._unsent_bytes, unsent)
        if now - self._progress_at > self.limits.stall_seconds or self._is_dismissed:
            self.transport.abort()
        elif self.flow.read_paused and not self._is_leaving:
            # The application is not ready for more of the body: not the peer's fault.
            self._body_since += _TICK_SECONDS
            self._deadline += _TICK_SECONDS
        elif now >= self._deadline and not self.transport.is_closing():
            self._time_out()

    def _time_out(self) -> None:
        if self._is_leaving:
            self._dismiss()
        elif not self._is_reading_head:
            self._refuse(RequestTimeout("the body did not arrive in time"))
        elif self._unsent_bytes or _queued_in_kernel(self.transport):
            self._deadline += _TICK_SECONDS  # still taking the last answer, so not idle yet
        else:
            self._dismiss()

    def _dismiss(self) -> None:
        self.transport.close()
        # TLS would wait half a minute for the peer's farewell, and read on: it gets until the next look.
        self._is_dismissed = self.scheme == "https"

    def _refuse(self, error: HubError) -> None:
        """Answer with the error and leave; an answer to an earlier request comes before that, and is the last."""
        log.debug("request_refused", status=error.status, detail=error.detail)
        running = self._running
        if running is None or running.response_complete:
            self._leave_with(error)
        elif running is self.cycle and not self._is_reading_head:
            self._tell_running()
            if running.response_started:
                self.transport.close()
            else:
                self._leave_with(error)
        else:
            self._stop_listening(until=math.inf)
            running.keep_alive = False
            running.transport = self._early_answer  # type: ignore[assignment]

    def _leave_with(self, error: HubError) -> None:
        self.transport.write(self._answer(error))
        self.leave()

    def _stop_listening(self, *, until: float) -> None:
        self._is_leaving = True
        self._wire_bytes = 0
        self._deadline = until
        self.flow.resume_reading()

    def _tell_running(self) -> None:
        # uvicorn tells the last request only: a stream with another request queued behind it would run for ever.
        if self._running is not None:
            self._running.disconnected = not self._running.response_complete
            self._running.waiting_for_100_continue = False
            self._running.message_event.set()

    def _answer(self, error: HubError) -> bytes:
        body = problem_body(error)
        headers = [
            *self.server_state.default_headers,
            *((name.encode(), value.encode("latin-1", "replace")) for name, value in problem_headers(error).items()),
            *HEADERS,
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        return STATUS_LINE[error.status] + b"".join(b"%s: %s\r\n" % header for header in headers) + b"\r\n" + body


class _EarlyAnswer:
    """What an answer is written to while its request is still arriving: closing means leaving in good manner."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: BoundedHttpProtocol) -> None:
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self._protocol.leave()


class BoundedServer(uvicorn.Server):
    """uvicorn's server, which looks after its connections, and has a bound on TLS handshakes: they take place before
    there is a protocol that could be looked after."""

    handshake_seconds: ClassVar[float] = 5.0
    accepted_at_once: ClassVar[int] = 16

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it is time to stop."""
        watchdog = asyncio.create_task(self._watch(), name="watchdog")
        try:
            await super().serve(sockets)
        finally:
            watchdog.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on `sockets`, which must be bound already."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        loop, config = asyncio.get_running_loop(), self.config

        def protocol() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        tls: dict[str, Any] = {}
        if config.ssl is not None:
            tls = {"ssl": config.ssl, "ssl_handshake_timeout": self.handshake_seconds}
        # uvloop takes one connection of a listener in each turn of its loop, and turns are long when there is much to
        # do: callers would give up before they are heard. Each duplicate of the listener takes one more.
        self.servers = [
            await loop.create_server(protocol, sock=listener.dup(), backlog=config.backlog, **tls)
            for listener in sockets or ()
            for _ in range(self.accepted_at_once)
        ]
        self.started = True

    async def _watch(self) -> None:
        """One timer for all connections: thousands of timers would cost more than the requests."""
        loop, connections = asyncio.get_running_loop(), self.server_state.connections
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            for number, connection in enumerate(tuple(connections), start=1):
                if isinstance(connection, BoundedHttpProtocol) and connection in connections:
                    connection.watch(loop.time())
                if number % _WATCHED_AT_ONCE == 0:
                    await asyncio.sleep(0)  # others go on in between


def _names_the_same_host(url: bytes, host: bytes | None) -> bool:
    # RFC 9112, section 3.2.2: a server must take the absolute form. It overrides Host, which is what is checked here.
    scheme, _, rest = url.partition(b"://")
    return scheme.lower() in (b"http", b"https") and host is not None and rest.startswith(host + b"/")


def _queued_in_kernel(transport: asyncio.Transport) -> bool:
    """Whether the peer has not acknowledged all that was sent. False where the platform cannot tell."""
    if sys.platform != "linux":
        return False
    connection = transport.get_extra_info("socket")
    return any(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))


def _forget_vanished_peers(transport: asyncio.Transport, seconds: float) -> None:
    """Let the kernel give up on a peer that acknowledges nothing; by itself it tries for a quarter of an hour."""
    if sys.platform == "linux":
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
