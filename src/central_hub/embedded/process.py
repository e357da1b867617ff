"""One server process: started as our child, waited for, ended by signals of growing force."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import IO, Final

import structlog

from central_hub.embedded.account import Account
from central_hub.errors import StartupRefused

READY_SECONDS: Final = 60.0
LOG_BYTES: Final = 8 * 1024 * 1024
_PROBE_EVERY_SECONDS: Final = 0.01
_LAST_WORDS_BYTES: Final = 4096
# Of PostgreSQL, and of nats-server before and after it has set up its log.
_ERROR_MARKS: Final = ("FATAL:", "PANIC:", "[FTL]", "nats-server:")

log = structlog.get_logger()


class NotReady(Exception):
    """The server does not answer yet."""


@dataclass(frozen=True, slots=True)
class Program:
    """A server: how it is started, how it is known to answer, how it is ended."""

    name: str
    argv: tuple[str, ...]
    directory: Path
    """Where it runs, as nothing else of its name does: by this its processes are found again."""
    account: Account | None
    log_path: Path
    stop_signals: tuple[tuple[Signals, float], ...]
    """From the gentlest on: a signal, and the seconds after which the next one follows. SIGKILL is always the last."""
    probe: Callable[[], Awaitable[None]]
    """Raises NotReady until the server answers, StartupRefused when it answers wrongly."""
    end_leftovers: Callable[[], Awaitable[None]]
    """Ends what runs without us: a server that a killed hub has left, or the children of a server that was killed."""


class ServerProcess:
    """A running child. Needs the running event loop."""

    def __init__(self, program: Program) -> None:
        self.program = program
        with open_log(program.log_path) as output:
            self._log_start = output.tell()
            self._process = start_child(program.argv, program.directory, program.account, output)
        self.pid = self._process.pid
        self.ended = exit_status(self._process)

    async def wait_until_ready(self) -> None:
        """Return when the server answers. Raises StartupRefused when it ends instead, or takes too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_SECONDS
        while True:
            reason = await self._not_ready()
            if self.ended.done():
                raise StartupRefused(
                    f"{self.program.name} ended with status {self.ended.result()} while starting:"
                    f" {self.last_words()} (more in {self.program.log_path})"
                )
            if not reason:
                return
            if loop.time() > deadline:
                raise StartupRefused(
                    f"{self.program.name} did not answer within {READY_SECONDS:.0f} s: {reason}"
                    f" (see {self.program.log_path})"
                )
            await asyncio.sleep(_PROBE_EVERY_SECONDS)

    async def _not_ready(self) -> str:
        try:
            await self.program.probe()
        except NotReady as error:
            return str(error) or "no answer"
        return ""

    async def end(self) -> None:
        """Ask the server to end, insist where it does not, and return when it has."""
        for signal, patience_seconds in self.program.stop_signals:
            self._process.send_signal(signal)
            done, _ = await asyncio.wait({self.ended}, timeout=patience_seconds)
            if done:
                return
            log.warning("server_does_not_end", server=self.program.name, pid=self.pid, after_signal=signal.name)
        self._process.kill()
        await asyncio.wait({self.ended})

    def last_words(self) -> str:
        """Why the server ended, by its log: the last line that names an error, else the last line."""
        with self.program.log_path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - _LAST_WORDS_BYTES, self._log_start if self._log_start <= length else 0))
            lines = file.read().decode("utf-8", "replace").splitlines()
        errors = [line for line in lines if any(mark in line for mark in _ERROR_MARKS)]
        return (errors or lines or ["it said nothing"])[-1].strip()


def start_child(
    argv: tuple[str, ...], directory: Path, account: Account | None, output: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a program under an account, out of reach of the terminal: Ctrl-C is for the hub, which then ends it.

    Raises StartupRefused when it cannot be run.
    """
    try:
        return subprocess.Popen(
            argv,
            cwd=directory,
            # The environment of whoever starts the hub (PGDATA, PGPORT, LC_ALL …) must not decide how a server runs.
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=0o077,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
    except (OSError, subprocess.SubprocessError) as error:
        under = "" if account is None else f" as the user with id {account.uid}"
        raise StartupRefused(f"{argv[0]} cannot be run{under}: {error}") from error


def exit_status(process: subprocess.Popen[bytes]) -> "asyncio.Future[int]":
    """The exit status, once there is one; the process is waited for at once, whichever event loop runs.

    Not asyncio's own subprocesses: uvloop's cannot start one under another account.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def tell(status: int) -> None:
        if not ended.done():
            ended.set_result(status)

    def wait() -> None:
        status = process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            loop.call_soon_threadsafe(tell, status)

    threading.Thread(target=wait, name=f"wait-for-{process.pid}", daemon=True).start()
    return ended


def open_log(path: Path) -> IO[bytes]:
    """The log at its end, kept from growing for ever. A server that appends goes on writing where it was cut."""
    bound_log(path)
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "wb", buffering=0)
    file.seek(0, os.SEEK_END)
    return file


def bound_log(path: Path) -> None:
    """Move what a full log says to `<name>.1`. Lines written in that instant are lost."""
    if path.is_file() and path.stat().st_size > LOG_BYTES:
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)
