"""Which revision an instance runs on, and whether its last runs on it ended without a word.

A revision that kills its instance must not be what the next start begins with. What makes it so is decided by the pure
methods of `RunRecord`; `CrashRecord` keeps one in a file beside the generations of the same process.
"""

import json
import logging
import os
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from central_hub_client.wire import ConfigObject

logger = logging.getLogger("central_hub_client")

CRASHES: Final = 2
WINDOW_SECONDS: Final = 60.0
REASON: Final = f"it crashed this instance {CRASHES} times within {WINDOW_SECONDS:g} seconds"

REMEMBERED: Final = 10
"""Revisions in quarantine: more than there are generations on disk."""

_FILE: Final = "run.json"


class Revision(NamedTuple):
    """A revision of one hub's history."""

    hub_id: str
    epoch: int
    revision: int


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The runs of one build. Times are seconds since the epoch.

    `running` is the revision in use, None after an end in good order. `candidate` is one that has not yet proved
    itself, `proven` the last that has: by running for `WINDOW_SECONDS`, by being replaced before it crashed, or, where
    runs are short, by one that ended in good order, as long before the next. `crashes` are the runs on the candidate
    that ended without a word, `ended_at` is when one on it last ended in good order. `quarantined` are the revisions
    given up, the last first.
    """

    build: str = ""
    running: Revision | None = None
    candidate: Revision | None = None
    proven: Revision | None = None
    crashes: tuple[float, ...] = ()
    ended_at: float | None = None
    quarantined: tuple[Revision, ...] = ()

    @property
    def is_on_trial(self) -> bool:
        return self.candidate is not None and self.running == self.candidate

    def begun(self, build: str, now: float) -> Self:
        """A process starts. Of another build nothing is held against the revision: it may well be able to run it."""
        if build != self.build:
            return type(self)(build=build)
        if self.candidate is None or not self.is_on_trial:
            has_proved_itself = self.ended_at is not None and now - self.ended_at > WINDOW_SECONDS
            return replace(self.settled() if has_proved_itself else self, running=None)
        crashes = (*(at for at in self.crashes if 0 <= now - at <= WINDOW_SECONDS), now)
        if len(crashes) < CRASHES or self.proven is None:  # without one before, it may be the build that crashes
            return replace(self, running=None, crashes=crashes, ended_at=None)
        quarantined = (self.candidate, *self.quarantined)[:REMEMBERED]
        return replace(self, running=None, candidate=None, crashes=(), ended_at=None, quarantined=quarantined)

    def running_on(self, revision: Revision) -> Self:
        """The process is about to use this revision. A start may well begin with the proven one, on its way to the
        candidate."""
        if revision in (self.candidate, self.proven):
            return replace(self, running=revision)
        is_innocent = self.is_on_trial or not self.crashes
        proven = self.candidate if self.candidate is not None and is_innocent else self.proven
        return replace(self, running=revision, candidate=revision, proven=proven, crashes=(), ended_at=None)

    def settled(self) -> Self:
        """The process has run on the candidate for long enough."""
        return replace(self, candidate=None, proven=self.candidate, crashes=(), ended_at=None)

    def ended(self, now: float) -> Self:
        """The process ends in good order, or is told to."""
        return replace(self, running=None, ended_at=now if self.is_on_trial else self.ended_at)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Raises TypeError, ValueError and KeyError for what this never wrote."""
        revisions = {
            name: None if content[name] is None else Revision(*content[name])
            for name in ("running", "candidate", "proven")
        }
        quarantined = tuple(Revision(*each) for each in content["quarantined"])
        crashes = tuple(float(at) for at in content["crashes"])
        return cls(**(content | revisions | {"quarantined": quarantined, "crashes": crashes}))


class CrashRecord:
    """The record of this process. Until `open` was called, and where nothing can be written, it holds nothing against
    any revision. Methods block for a moment, may be called in any thread, and never raise."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._record = RunRecord()
        self._since = 0.0
        self._writing = threading.Lock()

    def open(self, directory: Path, build: str) -> None:
        """Find out how the last run ended. `directory` is held by this process."""
        with self._writing:
            self._path = directory / _FILE
            try:
                self._record = RunRecord.from_json(json.loads(self._path.read_bytes()))
            except FileNotFoundError:
                pass
            except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
                logger.warning("%s is not used: %s", self._path, error)
            begun = self._record.begun(build, time.time())
            if len(begun.quarantined) and begun.quarantined != self._record.quarantined:
                logger.error("revision %s is not used again: %s", begun.quarantined[0].revision, REASON)
            self._note(begun)

    @property
    def is_on_trial(self) -> bool:
        """Whether `settle` will have something to note."""
        return self._record.is_on_trial

    def is_quarantined(self, received: ConfigObject) -> bool:
        return _revision(received) in self._record.quarantined

    def running_on(self, received: ConfigObject) -> None:
        """Call it before `received` is used: what it does to the process may leave no time later."""
        with self._writing:
            record = self._record.running_on(_revision(received))
            if record != self._record:
                self._since = time.monotonic()
                self._note(record)

    def settle(self) -> None:
        """To be called now and then."""
        with self._writing:
            if self._record.is_on_trial and time.monotonic() - self._since >= WINDOW_SECONDS:
                self._note(self._record.settled())

    def close(self, *, in_good_order: bool) -> None:
        """The process is about to end, or to leave the directory to another."""
        with self._writing:
            if in_good_order and self._record.running is not None:
                self._note(self._record.ended(time.time()))
            self._path = None

    def _note(self, record: RunRecord) -> None:
        self._record = record
        if self._path is None:
            return
        beside = self._path.with_suffix(".tmp")
        try:
            # Not flushed to the disk: it is the process that may die here, not the machine.
            with os.fdopen(
                os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as file:
                json.dump(asdict(record), file)
            beside.replace(self._path)
        except OSError as error:
            logger.warning("how this run ends is not recorded: %s", error)
            self._path = None


def _revision(received: ConfigObject) -> Revision:
    return Revision(received.hub_id, received.epoch, received.revision)
