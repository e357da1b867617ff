"""infrastructure.yaml as it is now: read at the start, looked at every second, and taken over when all of it is right.

It is looked at by its contents and not by a watch: a mounted ConfigMap changes by a link far above it that points
somewhere else, and a file of a megabyte is read in a millisecond. A change counts once two looks in a row found the
same, so that a file that is being written is not read half.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from central_hub.connections.plain_file import read_file
from central_hub.errors import StartupRefused
from central_hub.monitoring.infrastructure import Infrastructure
from central_hub.monitoring.infrastructure_yaml import (
    MAX_BYTES,
    NO_RULES,
    WrongInfrastructure,
    read_infrastructure,
)
from central_hub.monitoring.rules import Rule

LOOK_SECONDS: Final = 1.0

log = structlog.get_logger()

Listener = Callable[[Infrastructure], None]


class InfrastructureFile:
    """The file, what it says, and what is wrong with it since. Without a path there is no infrastructure."""

    def __init__(
        self, path: Path | None, environment: Mapping[str, str], default_rules: Mapping[str, Rule] = NO_RULES
    ) -> None:
        self.path = path
        self.current = Infrastructure()
        self.error: str | None = None
        """Why the file as it is now does not count, a line for each reason; `current` is what it said before."""
        self._environment = environment
        self._default_rules = default_rules
        self._listeners: list[Listener] = []
        self._content: bytes | str | None = None
        self._seen: bytes | str | None = None

    @property
    def is_there(self) -> bool:
        """Whether there is any infrastructure to speak of."""
        return self.path is not None

    def listen(self, callback: Listener) -> None:
        """Call it with every infrastructure that is taken over after the start."""
        self._listeners.append(callback)

    def load(self) -> None:
        """Read the file for the first time. Raises StartupRefused with all that is wrong with it."""
        if self.path is None:
            return
        content = _content(self.path)
        if isinstance(content, str):
            raise StartupRefused(f"CENTRAL_HUB_INFRASTRUCTURE_FILE names {self.path}: {content}")
        try:
            self.current = self._read(content)
        except WrongInfrastructure as error:
            raise StartupRefused(f"{self.path} is not right:\n{error}") from error
        self._content = self._seen = content
        self._log_current()

    async def run(self) -> None:
        """Follow the file. Does not end."""
        if self.path is None:
            return
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look(self.path)
            except Exception:  # a listener of somebody else: the next change is to be taken over all the same
                log.exception("infrastructure_not_followed")

    async def _look(self, path: Path) -> None:
        content = await asyncio.to_thread(_content, path)
        has_settled, self._seen = content == self._seen, content
        if has_settled and content != self._content:
            self._content = content
            await self._take_over(content)

    async def _take_over(self, content: bytes | str) -> None:
        if isinstance(content, str):
            self._refuse(f"{content}; what it said before goes on")
            return
        try:
            found = await asyncio.to_thread(self._read, content)
        except WrongInfrastructure as error:
            self._refuse(str(error))
            return
        self.error = None
        is_new, self.current = found != self.current, found
        self._log_current()
        if is_new:
            for listener in self._listeners:
                listener(found)

    def _read(self, content: bytes) -> Infrastructure:
        return read_infrastructure(content, self._environment, self._default_rules)

    def _refuse(self, reasons: str) -> None:
        self.error = reasons
        log.error("infrastructure_refused", file=str(self.path), reasons=reasons.splitlines())

    def _log_current(self) -> None:
        found = self.current
        log.info(
            "infrastructure_read",
            file=str(self.path),
            components=len(found.components),
            services=len(found.services),
            rules=len(found.alerts.rules),
        )


def _content(path: Path) -> bytes | str:
    """What is in the file, or why it cannot be read."""
    try:
        return read_file(path, MAX_BYTES + 1)
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
