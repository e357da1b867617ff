"""Ask the worker processes, and replace those that an answer was too much for."""

import asyncio
import contextlib
import signal
import struct
import sys
from collections.abc import Iterable
from typing import Any, Final

import orjson
import structlog

from central_hub.errors import Finding, HubError, InvalidRequest, LimitExceeded, StoreUnavailable
from central_hub.validation.violations import Violation
from central_hub.validation.worker import CPU_SECONDS

WORKERS: Final = 2
ANSWER_SECONDS: Final = 10.0
"""Far more than a worker may compute: a machine may be busy, or a process stopped."""
_OUT_OF_SOMETHING: Final = frozenset({signal.SIGPROF, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGKILL})
"""What ends a worker that takes too much time, stack or memory."""

log = structlog.get_logger()


class SchemaChecker:
    """Holds documents against schemas, in processes of its own: nothing that is asked here can hold up an event loop.

    They are started when they are needed first.
    """

    def __init__(self, workers: int = WORKERS, *, program: str = "central_hub.validation.worker") -> None:
        self._program = program
        self._turns = asyncio.Semaphore(workers)
        self._idle: list[asyncio.subprocess.Process] = []
        self._running: set[asyncio.subprocess.Process] = set()

    async def compile(self, schema: bytes) -> None:
        """Make sure that a schema (JSON text) can be used. Raises InvalidRequest and LimitExceeded."""
        _violations(await self.ask(schema, b"null"))

    async def check(self, schema: bytes, config: dict[str, Any], *, inherited: Iterable[str]) -> list[Violation]:
        """What a usable schema finds wrong with a config, at most a hundred things. Raises LimitExceeded.

        Keys of the config that are `inherited` count only where the schema declares them.
        """
        return _violations(await self.ask(schema, orjson.dumps({"document": config, "inherited": list(inherited)})))

    async def stop(self) -> None:
        """End the processes."""
        for process in list(self._running):
            await self._end(process)
        self._idle.clear()

    async def ask(self, schema: bytes, request: bytes) -> dict[str, Any]:
        """What a process answers. Raises LimitExceeded where it ended over that, StoreUnavailable."""
        async with self._turns:
            process = self._idle.pop() if self._idle else await self._start()
            answer = None
            try:
                answer = await asyncio.wait_for(_exchange(process, schema, request), ANSWER_SECONDS)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise _ended(await process.wait()) from error
            except TimeoutError as error:
                raise StoreUnavailable("the check against the schema does not come to an end: try again") from error
            finally:
                if answer is None:
                    await self._end(process)
                else:
                    self._idle.append(process)
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        # -P: what lies in the directory that the hub was started in is no part of it.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", self._program),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._running.add(process)
        return process

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        self._running.discard(process)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _exchange(process: asyncio.subprocess.Process, schema: bytes, request: bytes) -> dict[str, Any]:
    assert process.stdin is not None  # noqa: S101 - a pipe
    assert process.stdout is not None  # noqa: S101 - a pipe
    for part in (schema, request):
        process.stdin.write(struct.pack(">I", len(part)))
        process.stdin.write(part)
    await process.stdin.drain()
    (length,) = struct.unpack(">I", await process.stdout.readexactly(4))
    answer: dict[str, Any] = orjson.loads(await process.stdout.readexactly(length))
    return answer


def _violations(answer: dict[str, Any]) -> list[Violation]:
    if (unusable := answer.get("unusable")) is not None:
        raise _unusable(**unusable)
    return [Violation(**violation) for violation in answer["violations"]]


def _ended(status: int) -> HubError:
    if -status in _OUT_OF_SOMETHING:
        return LimitExceeded(
            f"holding the config against the schema takes more than {CPU_SECONDS * 1000:.0f} ms, or more memory than"
            " there is for it: simplify the schema"
        )
    log.error("schema_worker_failed", status=status)
    return HubError("the process that checks schemas failed: the hub's log has its status")


def _unusable(pointer: str, message: str, *, exceeds_limit: bool) -> HubError:
    sentence = f"the schema cannot be used: {pointer or 'it'} {message}"
    if exceeds_limit:
        return LimitExceeded(sentence, errors=[Finding(pointer, "limit_exceeded", message)])
    return InvalidRequest(sentence, errors=[Finding(pointer, "invalid_request", message)])
