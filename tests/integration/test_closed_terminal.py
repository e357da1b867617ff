"""`central-hub up` in a terminal that is closed: what Ctrl-C stops is stopped."""

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from tests.integration.embedded_hub import data_directory

CENTRAL_HUB = Path(sys.executable).with_name("central-hub")
SECONDS = 90


def test_a_closed_terminal_leaves_no_server_behind() -> None:
    with data_directory() as directory:
        ours, theirs = pty.openpty()
        hub = subprocess.Popen(
            [CENTRAL_HUB, "up", "--port", "0", "--data-dir", directory],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)
        try:
            _read_until(ours, b"Ctrl-C stops it")
            assert len(_servers(directory)) >= 2
            os.close(ours)
            hub.wait(SECONDS)
        finally:
            hub.kill()
            left = _servers(directory)
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        assert (hub.returncode, left) == (0, [])


def _take_terminal() -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _read_until(terminal: int, wanted: bytes) -> None:
    said = b""
    while wanted not in said:
        said += os.read(terminal, 65_536)


def _servers(directory: Path) -> list[psutil.Process]:
    """What runs with the data directory in its command line, the hub itself apart."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if (line := process.info["cmdline"])
        and any(str(directory) in argument for argument in line)
        and not any(argument.endswith("central-hub") for argument in line)
    ]
