"""Loses, doubles, delays and reorders messages of NATS: what a bus may do that promises nothing. Frame by frame."""

import random
import re
from collections import Counter

_PUSHED = re.compile(rb"H?MSG (config\.\S+) \S+ (?:\d+ )?(\d+)\r\n\Z")
_MESSAGE = re.compile(rb"H?MSG .* (\d+)\r\n\Z")


class Mangler:
    """A filter for what one connection receives. Only what is pushed is mangled; answers to requests pass."""

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
            end += int(message[1]) + 2
        if len(self._buffer) < end:
            return None
        frame, self._buffer = self._buffer[:end], self._buffer[end:]
        return frame

    def _mangle(self, frame: bytes) -> list[bytes]:
        # A message that is read from the stream has a subject for its acknowledgement, and does not match.
        if _PUSHED.match(frame[: frame.index(b"\r\n") + 2]) is None:
            return [frame]
        fate = self._rng.random()
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
