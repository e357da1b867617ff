"""What a bad network does to messages of NATS: loses them, doubles them, changes their order. Frame by frame."""

import random
import re
from collections import Counter

_MESSAGE = re.compile(rb"(?:MSG|HMSG) (\S+) \S+ .*?(\d+)\r\n\Z")


class Mangler:
    """A filter for what comes from the server on one connection. Everything but messages passes as it is."""

    def __init__(self, rng: random.Random, counts: Counter[str]) -> None:
        self._rng = rng
        self._counts = counts
        self._buffer = b""
        self._held: list[bytes] = []

    def __call__(self, chunk: bytes) -> bytes:
        self._buffer += chunk
        passed = []
        while (frame := self._next_frame()) is not None:
            passed += self._mangle(frame)
        return b"".join(passed)

    def _next_frame(self) -> bytes | None:
        end = self._buffer.find(b"\r\n") + 2
        if end < 2:
            return None
        message = _MESSAGE.match(self._buffer[:end])
        if message is not None:
            end += int(message[2]) + 2
        if len(self._buffer) < end:
            return None
        frame, self._buffer = self._buffer[:end], self._buffer[end:]
        return frame

    def _mangle(self, frame: bytes) -> list[bytes]:
        message = _MESSAGE.match(frame[: frame.index(b"\r\n") + 2])
        if message is None:
            return [frame]
        # Of the answers to the hub's own requests some are lost as well; nearly all, and it would never be connected.
        fate = self._rng.random() * (1 if message[1].startswith(b"config.") else 10)
        if fate < 0.3:
            self._counts["lost"] += 1
            return []
        if fate < 0.5:
            self._counts["doubled"] += 1
            return [frame, frame]
        if fate < 0.7:
            self._counts["late"] += 1
            self._held.append(frame)
            return []
        held, self._held = self._held, []
        return [frame, *reversed(held)]
