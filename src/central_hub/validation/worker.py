"""The process that holds documents against schemas, so that whatever takes too long or too much ends there.

Native code cannot be interrupted from within: the operating system ends the process when it has used its processor
time, and whoever asked takes that for the answer. It reads requests from stdin and writes answers to stdout, each a
length of four bytes (big-endian) and so many bytes.

    request    the schema, as it was registered; then {"document": …, "inherited": […]}, or null to only compile it
    answer     {"violations": [{pointer, keyword, message}]}, or {"unusable": {pointer, message, exceeds_limit}}
"""

import hashlib
import json
import os
import resource
import signal
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, BinaryIO, Final

from central_hub.validation.compiled import Compiled, compile_schema
from central_hub.validation.schema import Unusable

CPU_SECONDS: Final = 0.2
"""For a schema to compile, and for a document to be held against it."""
MEMORY_BYTES: Final = 2 * 1024**3
KEPT_BYTES: Final = 8 * 1024**2
"""So much schema text, at most, is kept compiled."""


class Worker:
    """Answers requests, and remembers the schemas it was asked about last."""

    def __init__(self) -> None:
        self._compiled: OrderedDict[bytes, tuple[int, Compiled | Unusable]] = OrderedDict()
        self._kept_bytes = 0

    def answer(self, schema: bytes, request: Any) -> dict[str, Any]:
        """What is said to a request."""
        compiled = self.compile(schema)
        if isinstance(compiled, Unusable):
            return unusable(compiled)
        if request is None:
            return {"violations": []}
        with limited_cpu():
            found = compiled.violations(request["document"], request["inherited"])
        return {"violations": [asdict(violation) for violation in found]}

    def compile(self, schema: bytes) -> Compiled | Unusable:
        """The schema, ready; or why it is not."""
        name = hashlib.sha256(schema).digest()
        if name not in self._compiled:
            value = json.loads(schema)
            compiled: Compiled | Unusable
            with limited_cpu():
                try:
                    compiled = compile_schema(value)
                except Unusable as unusable:
                    compiled = unusable
            self._compiled[name] = (len(schema), compiled)
            self._kept_bytes += len(schema)
            while self._kept_bytes > KEPT_BYTES and len(self._compiled) > 1:
                _, (size, _) = self._compiled.popitem(last=False)
                self._kept_bytes -= size
        self._compiled.move_to_end(name)
        return self._compiled[name][1]


def unusable(found: Unusable) -> dict[str, Any]:
    """The answer where a schema cannot be used."""
    return {"unusable": {"pointer": found.pointer, "message": found.sentence, "exceeds_limit": found.exceeds_limit}}


@contextmanager
def limited_cpu() -> Iterator[None]:
    """End this process when the block takes more processor time than it may."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)


def serve(answer: Callable[[bytes, Any], dict[str, Any]]) -> None:
    """Answer until nobody asks any more."""
    # An interrupt from the terminal is for the hub, which ends this process by closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    while (schema := _read(sys.stdin.buffer)) is not None:
        request = json.loads(_read(sys.stdin.buffer) or b"null")
        try:
            answered = json.dumps(answer(schema, request)).encode()
        except (MemoryError, RecursionError):
            os.abort()  # as native code ends, which runs out of the same
        sys.stdout.buffer.write(struct.pack(">I", len(answered)) + answered)
        sys.stdout.buffer.flush()


def _limit(what: int, value: int) -> None:
    _, most = resource.getrlimit(what)
    try:
        resource.setrlimit(what, (value, most))
    except (ValueError, OSError):
        return  # a system that does not know this limit, or has a lower one


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(4)
    return None if len(head) < 4 else stream.read(struct.unpack(">I", head)[0])


if __name__ == "__main__":
    serve(Worker().answer)
