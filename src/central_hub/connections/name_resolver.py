"""Names of hosts to addresses, so that a name server that does not answer holds up nobody else."""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Final

MAX_AT_ONCE: Final = 64


class NameResolver:
    """Looks each name up once at a time, in threads of its own: those of the event loop are few, and for everybody."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Future[list[str]]] = {}

    async def addresses(self, host: str) -> list[str]:
        """The addresses of a name, in the order in which they are to be tried. Raises OSError (of which gaierror)."""
        found = self._running.get(host)
        if found is None:
            if len(self._running) >= MAX_AT_ONCE:
                raise TimeoutError("too many names are being looked up")
            found = self._running[host] = self._begin(host)
        return await asyncio.shield(found)

    def _begin(self, host: str) -> asyncio.Future[list[str]]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[str]] = loop.create_future()

        def end(addresses: list[str], error: OSError | None) -> None:
            self._running.pop(host, None)
            if future.cancelled():
                return
            if error is None:
                future.set_result(addresses)
            else:
                future.set_exception(error)
                future.exception()  # whoever asked may have stopped waiting

        def work() -> None:
            addresses: list[str] = []
            error: OSError | None = None
            try:
                found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
                addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
            except OSError as failure:
                error = failure
            except UnicodeError:
                error = socket.gaierror(socket.EAI_NONAME, "not a name")
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(end, addresses, error)

        # A daemon: a name that hangs must not keep the hub from stopping.
        threading.Thread(target=work, name="resolve", daemon=True).start()
        return future
