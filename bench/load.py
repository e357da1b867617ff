"""The load generator: a process with one request under way on each of its connections.

`python -m bench.load` takes a `Load` as JSON on standard input and prints `Seen` as JSON. Blocking calls on plain
sockets are the cheapest that Python has: what is measured shall be the server.
"""

import itertools
import json
import re
import selectors
import socket
import sys
import time
from dataclasses import asdict, dataclass
from typing import Final

COUNTER: Final = "@counter"
"""In a request: replaced by a number of as many digits, another one each time."""

_CONTENT_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]+)\r\n")
_END_OF_HEAD: Final = b"\r\n\r\n"


@dataclass(frozen=True)
class Load:
    """What to send where, one request text for each connection, and the status that every answer must have."""

    port: int
    requests: list[str]
    seconds: float
    status: int
    first_number: int = 10_000_000


@dataclass(frozen=True)
class Seen:
    """What came back. `busy` is the share of the time that the generator itself needed: near 1 it was the limit."""

    answers: int
    seconds: float
    p50_ms: float
    p99_ms: float
    busy: float


def request(method: str, path: str, headers: dict[str, str], body: str = "") -> str:
    """An HTTP/1.1 request as it is sent."""
    fields = {"Host": "127.0.0.1", **headers}
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body.encode()))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}"


class _Connection:
    def __init__(self, load: Load, text: str, numbers: "itertools.count[int]") -> None:
        self.socket = socket.create_connection(("127.0.0.1", load.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self._status = str(load.status).encode()
        self._parts = [part.encode() for part in text.split(COUNTER)]
        self._numbers = numbers
        self._missing_bytes = 0

    def send(self) -> None:
        payload = self._parts[0] if len(self._parts) == 1 else (b"%d" % next(self._numbers)).join(self._parts)
        self.sent_at = time.perf_counter()
        self.socket.sendall(payload)

    def receive(self, buffer: bytearray) -> bool:
        """Take what is there; whether the answer is complete."""
        size = self.socket.recv_into(buffer)
        if size == 0:
            raise ConnectionError("the server closed a connection")
        if self._missing_bytes == 0:
            end = buffer.find(_END_OF_HEAD, 0, size) + len(_END_OF_HEAD)
            if end < len(_END_OF_HEAD) or buffer[9:12] != self._status:
                raise AssertionError(f"unexpected answer: {bytes(buffer[:size])!r}")
            length = _CONTENT_LENGTH.search(buffer, 0, end)
            self._missing_bytes = end + (int(length[1]) if length else 0)
        self._missing_bytes -= size
        return self._missing_bytes == 0


def drive(load: Load) -> Seen:
    """Send until the time is over, and at least one answer is there."""
    numbers = itertools.count(load.first_number)
    connections = [_Connection(load, text, numbers) for text in load.requests]
    buffer = bytearray(1 << 20)
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        busy_before, started = time.process_time(), time.perf_counter()
        for connection in connections:
            connection.send()
        while (now := time.perf_counter()) - started < load.seconds or not latencies:
            for key, _ in selector.select(load.seconds):
                connection = key.data
                if connection.receive(buffer):
                    latencies.append(time.perf_counter() - connection.sent_at)
                    connection.send()
        elapsed, busy = now - started, time.process_time() - busy_before
    latencies.sort()
    count = len(latencies)
    return Seen(
        answers=count,
        seconds=elapsed,
        p50_ms=latencies[count // 2] * 1000,
        p99_ms=latencies[count * 99 // 100] * 1000,
        busy=busy / elapsed,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(drive(Load(**json.load(sys.stdin))))))
