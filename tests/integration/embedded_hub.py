"""The part of a hub that these tests need, as a process of its own: starts the servers and waits for a signal.

    python -m tests.integration.embedded_hub DATA_DIRECTORY [USER_ID]

Prints `ready` when the servers answer, on uvloop as the hub does. With a user id it becomes that user first.
"""

import asyncio
import importlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import uvloop

from central_hub.embedded import EmbeddedServers
from central_hub.errors import StartupRefused

ROOT = Path(__file__).resolve().parents[2]
# What is imported late, by which time another user may not reach this interpreter's library any more.
_IMPORTED_LATE = ("encodings.ascii", "encodings.idna", "stringprep", "getpass", "ssl", "uuid", "platform", "psutil")


async def run(directory: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    servers = EmbeddedServers(directory)
    await servers.start()
    print("ready", flush=True)
    await stop.wait()
    await servers.stop()


def main() -> None:
    if len(sys.argv) > 2:
        for name in _IMPORTED_LATE:
            importlib.import_module(name)
        user_id = int(sys.argv[2])
        os.setgroups([])
        os.setgid(user_id)
        os.setuid(user_id)
    try:
        uvloop.run(run(Path(sys.argv[1])))
    except StartupRefused as error:
        sys.exit(f"refused: {error}")


class HubProcess:
    """A started hub, in a session of its own as from a terminal."""

    def __init__(self, directory: Path, user_id: int | None = None) -> None:
        self.directory = directory
        arguments = [str(directory)] if user_id is None else [str(directory), str(user_id)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.embedded_hub", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self._output = self.process.stdout
        self.said = b""

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while b"ready\n" not in self.said:
            readable, _, _ = select.select([self._output], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._output.fileno(), 65536) if readable else b""
            assert chunk, f"the hub did not become ready:\n{self.said.decode()}"
            self.said += chunk

    def end(self, signal_number: signal.Signals) -> int:
        """Signal the whole process group, as a terminal does, and return the exit status."""
        os.killpg(self.process.pid, signal_number)
        return self.exit_status()

    def exit_status(self) -> int:
        self.said += self._output.read()
        return self.process.wait(30)

    def kill(self) -> None:
        """End the hub, and it alone, without a chance to do anything about it."""
        self.process.kill()
        self.process.wait(30)


@contextmanager
def data_directory() -> Iterator[Path]:
    """A path for a data directory that is not there yet, removed afterwards.

    Not pytest's own: those lie in a directory that only its user may enter, and the servers of root are another user.
    """
    parent = Path(tempfile.mkdtemp(prefix="central-hub-test-"))
    parent.chmod(0o711)
    try:
        yield parent / "data"
    finally:
        for process in server_processes(parent):
            process.kill()
        shutil.rmtree(parent)


@contextmanager
def hub_process(directory: Path, user_id: int | None = None) -> Iterator[HubProcess]:
    """A hub that is killed at the end if it still runs."""
    hub = HubProcess(directory, user_id)
    try:
        yield hub
    finally:
        hub.kill()


def server_processes(directory: Path) -> list[psutil.Process]:
    """The programs that run in a data directory: servers and their children."""
    found = []
    for process in psutil.process_iter():
        try:
            inside = Path(process.cwd()).is_relative_to(directory.resolve())
            if inside and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def server_pid(directory: Path, name: str) -> int:
    """The process of a server: the one whose command line names the data directory."""
    (pid,) = {
        process.pid
        for process in server_processes(directory)
        if process.name() == name and any(str(directory.resolve()) in word for word in process.cmdline())
    }
    return pid


if __name__ == "__main__":
    main()
