"""Processes of the demonstration, and what they print."""

import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SERVICE: Final = "polygon-historical-downloader"
PATIENCE_SECONDS: Final = 25.0


class StepFailed(Exception):
    """Something that should have happened did not. The message says what."""


class Program:
    """A process of the demonstration. Its output is read all the time, so that it never waits for us."""

    def __init__(self, name: str, arguments: list[str | Path], environment: dict[str, str]) -> None:
        self.name = name
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            arguments,
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for the demonstration, which ends the others in order
        )
        self._has_ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, what: str, fits: Callable[[str], bool], *, after: int = 0) -> tuple[int, str]:
        """The first line from number `after` on that `fits`, with its number. Raises StepFailed."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        number = after
        with self._news:
            while True:
                for line in self.lines[number:]:
                    number += 1
                    if fits(line):
                        return number - 1, line
                if self._has_ended:
                    raise StepFailed(f"{self.name} ended before {what}")
                if not self._news.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise StepFailed(f"{self.name} did not come to {what} within {PATIENCE_SECONDS:.0f} s")

    @property
    def has_ended(self) -> bool:
        return self._has_ended

    def kill(self) -> None:
        """SIGKILL: it has no chance to say goodbye."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and insist where it does not."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(5)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._has_ended = True
            self._news.notify_all()


class Pilot(Program):
    """The service. It prints one JSON object per line."""

    def wait_for_event(
        self, what: str, fits: Callable[[dict[str, Any]], bool], *, after: int = 0
    ) -> tuple[int, dict[str, Any]]:
        number, line = self.wait_for(what, lambda line: fits(event_of(line)), after=after)
        return number, event_of(line)

    def count(self, event: str, *, after: int = 0) -> int:
        return sum(event_of(line).get("event") == event for line in self.lines[after:])


def event_of(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
