"""A client on an event loop of its own in a daemon thread: the same for a script, a forked worker, and inside another
event loop."""

import asyncio
import logging
import os
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, Protocol
from weakref import WeakSet

logger = logging.getLogger("central_hub_client")

JOIN_SECONDS: Final = 5.0


class Client(Protocol):
    """What runs here: it starts, keeps itself current in tasks of the loop, and ends."""

    service_name: str
    """For the log."""

    async def init_async(self, deadline_seconds: float) -> None: ...

    async def shutdown(self) -> None: ...


class _ConnectionLoop(asyncio.SelectorEventLoop):
    """Knows its connections, so that a forked child can let go of them. Every process waits for its own."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.transports: WeakSet[asyncio.BaseTransport] = WeakSet()
        super().__init__(self.selector)

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        transport, protocol = await super().create_connection(*args, **kwargs)
        self.transports.add(transport)
        return transport, protocol


class Background:
    """Runs one client until it is stopped. `on_ready` is called once it has started, whatever came of it."""

    def __init__(self, client: Client, deadline_seconds: float, on_ready: Callable[[], None]) -> None:
        self._client = client
        self._deadline_seconds = deadline_seconds
        self._on_ready = on_ready
        self._loop = _ConnectionLoop()
        self._ended: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="central-hub client", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def call(self, function: Callable[[], None]) -> None:
        """Run `function` on the client's loop, soon. Once it has ended, never."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            logger.debug("the client has ended already")

    def stop(self) -> None:
        """End the client and its thread. Does not wait."""
        self.call(self._loop.stop)

    def join(self, timeout_seconds: float = JOIN_SECONDS) -> None:
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_seconds)

    def abandon(self) -> None:
        """In a forked child: let go of what belongs to the parent, without a word to anybody.

        The parent's connections would stay open for as long as the child lives, and to take anything off the inherited
        selector would take it off the parent's. So each descriptor now leads nowhere, under the same number: whatever
        is collected later closes only that. Where it had ended before the fork, there is nothing left to let go of.
        """
        if self._loop.is_closed():
            return
        numbers = {self._loop.selector.fileno()} if hasattr(self._loop.selector, "fileno") else set()
        numbers |= {key.fd for key in (self._loop.selector.get_map() or {}).values()}
        for transport in list(self._loop.transports):
            if (connection := transport.get_extra_info("socket")) is not None:
                numbers.add(connection.fileno())
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in numbers:
            if number >= 0:
                os.dup2(nowhere, number, inheritable=False)
        os.close(nowhere)
        _abandoned.append(self)  # never collected: a loop that is, tidies up

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            starting = self._loop.create_task(self._start())
            self._loop.run_forever()
            starting.cancel()
            self._finish(self._client.shutdown())
            self._finish(self._loop.shutdown_asyncgens())
        except Exception:
            logger.exception("the client's thread failed: service=%s", self._client.service_name)
        finally:
            self._loop.close()
            self._on_ready()

    async def _start(self) -> None:
        try:
            await self._client.init_async(self._deadline_seconds)
        finally:
            self._on_ready()

    def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        self._loop.run_until_complete(asyncio.wait_for(work, JOIN_SECONDS))


_abandoned: list[Background] = []
