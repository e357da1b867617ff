"""A peer that says exactly what a test tells it to, byte by byte, over a real socket."""

import json
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class RawAnswer:
    """An HTTP response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class RawPeer:
    """One connection to 127.0.0.1."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, *, receive_buffer: int | None = None) -> None:
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(20)
        plain.connect(("127.0.0.1", port))
        self._socket = plain if tls is None else tls.wrap_socket(plain, server_hostname="127.0.0.1")
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_until_closed(self, piece: bytes, seconds: float, *, pause: float = 0.0) -> int:
        """Send again and again until the server has closed the connection; how many bytes went out."""
        sent, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self._socket.sendall(piece)
            except OSError:
                return sent
            sent += len(piece)
            time.sleep(pause)
        raise AssertionError(f"the connection still takes input after {seconds} s and {sent} bytes")

    def receive(self, size: int) -> bytes:
        return self._socket.recv(size)

    def answer(self) -> RawAnswer:
        """The next response. It must carry its length."""
        head = self._until(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
        fields = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in fields}
        length = int(headers["content-length"])
        while len(self._received) < length:
            self._more()
        body, self._received = self._received[:length], self._received[length:]
        return RawAnswer(int(status_line.split()[1]), headers, body)

    def seconds_until_closed(self) -> float:
        """Wait until the server ends the connection; how long that took."""
        started = time.monotonic()
        try:
            while self._socket.recv(65536):
                pass
        except (ConnectionError, ssl.SSLError):
            pass
        return time.monotonic() - started

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            self._more()
        head, _, self._received = self._received.partition(mark)
        return head + mark

    def _more(self) -> None:
        piece = self._socket.recv(65536)
        if not piece:
            raise ConnectionError(f"the connection ended after {self._received!r}")
        self._received += piece
