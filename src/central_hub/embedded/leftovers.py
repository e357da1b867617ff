"""Ends processes that a killed hub, or a killed PostgreSQL, has left behind."""

import time
from collections.abc import Collection
from pathlib import Path
from signal import Signals
from typing import Final

import structlog

_LOOK_EVERY_SECONDS: Final = 0.02
# More than one: a process may start another after it was looked for and before it is killed.
_LAST_ROUNDS: Final = 3 * ((Signals.SIGKILL, 5.0),)

log = structlog.get_logger()


def end_processes(names: Collection[str], directory: Path, stop_signals: tuple[tuple[Signals, float], ...]) -> None:
    """End the processes with one of these names that run in a directory. Blocks.

    The working directory tells a server of ours from any other without relying on a pid, which may have been given to
    somebody else since. A server that has children is asked to end them itself.
    """
    import psutil  # of the extra `embedded`, without which the hub must still be importable

    def is_alive(process: psutil.Process) -> bool:
        try:
            # A zombie has ended; whoever started it just has not asked yet.
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def is_ours(process: psutil.Process) -> bool:
        try:
            return process.name() in names and is_alive(process) and process.cwd() == str(directory)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    for signal, patience_seconds in (*stop_signals, *_LAST_ROUNDS):
        processes = [process for process in psutil.process_iter() if is_ours(process)]
        if not processes:
            return
        pids = {process.pid for process in processes}
        for process in processes:
            try:
                if signal == Signals.SIGKILL or process.ppid() not in pids:
                    log.warning("ending_leftover", server=process.name(), pid=process.pid, signal=signal.name)
                    process.send_signal(signal)
            except psutil.NoSuchProcess:
                continue
        deadline = time.monotonic() + patience_seconds
        while any(is_alive(process) for process in processes) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_SECONDS)
