"""What must hold of a recorded history. Pure: each check returns what is wrong, a sentence for each thing.

The checks know the contract and the audit log, and nothing of how the hub works.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from central_hub_client.wire import Position, content_hash
from tests.faults.audit_log import AuditLog, content_of, hash_of
from tests.faults.watchers import Event, Recording
from tests.faults.writers import Acknowledged, Recorder


class History:
    """What every config was at every revision, according to the log."""

    def __init__(self, log: AuditLog) -> None:
        self._entries: dict[tuple[str, str], list[tuple[int, dict[str, Any] | None]]] = {}
        for record in log.records:
            document = record.entry.service, record.entry.environment
            self._entries.setdefault(document, []).append((record.entry.revision, content_of(record)))

    @property
    def services(self) -> set[tuple[str, str]]:
        return {document for document in self._entries if document[0] != "_global"}

    def last_change(self, service: str, environment: str, revision: int) -> int | None:
        """The last commit up to `revision` that altered the effective config; None where there was none yet."""
        own = [entry for entry in self._own(service, environment, revision) if entry is not None]
        if not own:
            return None
        if any(content is not None for _, content in own):
            own += [entry for entry in self._own("_global", environment, revision) if entry is not None]
        return max(changed for changed, _ in own)

    def last_own_change(self, service: str, environment: str, revision: int) -> int | None:
        """The last commit up to `revision` of the document itself; None where there was none yet."""
        entry = self._own(service, environment, revision)[-1]
        return None if entry is None else entry[0]

    def document(self, service: str, environment: str, revision: int) -> dict[str, Any] | None:
        """The document itself as of `revision`; None where it was deleted or never was."""
        entry = self._own(service, environment, revision)[-1]
        return None if entry is None else entry[1]

    def effective(self, service: str, environment: str, revision: int) -> dict[str, Any] | None:
        """The effective config as of `revision`; None where it was deleted or never was."""
        own = [content for _, content in filter(None, self._own(service, environment, revision)) if content is not None]
        if not own:
            return None
        below = [content for _, content in filter(None, self._own("_global", environment, revision))]
        merged: dict[str, Any] = {}
        for layer in [*below, *own]:
            merged = _merge(merged, layer or {})
        return merged

    def _own(self, service: str, environment: str, revision: int) -> list[tuple[int, dict[str, Any] | None] | None]:
        environments = ["default"] if environment == "default" else ["default", environment]
        found = []
        for place in environments:
            entries = self._entries.get((service, place), [])
            found.append(next((entry for entry in reversed(entries) if entry[0] <= revision), None))
        return found


def log_violations(log: AuditLog) -> list[str]:
    """G3, G13: the chain verifies, no revision is missing or doubled, and the documents are what the log says."""
    found = [f"revision {flaw.revision} {flaw.sentence}" for flaw in log.flaws()]
    revisions = sorted({record.entry.revision for record in log.records})
    missing = sorted(set(range(1, log.head.revision + 1)) - set(revisions))
    if missing:
        found.append(f"{len(missing)} revisions are missing, the first is {missing[0]}")
    if revisions and revisions[-1] > log.head.revision:
        found.append(f"the log goes to {revisions[-1]}, its recorded head is {log.head}")
    found += [f"the document {service}@{place} is not what the log says" for service, place in log.differing]
    return found


def write_violations(log: AuditLog, recorder: Recorder) -> list[str]:
    """G1, G2: what was acknowledged is there as it was acknowledged; no key took effect twice; nothing went wrong."""
    found = list(recorder.unexpected)
    by_place = {
        (record.entry.revision, record.entry.service, record.entry.environment): record for record in log.records
    }
    for write in recorder.acknowledged:
        record = by_place.get((write.revision, write.service, write.environment))
        if record is None:
            found.append(f"acknowledged and lost: {write}")
        elif hash_of(record).removeprefix("sha256:")[:16] != write.hash_prefix:
            found.append(f"acknowledged as another content: {write}")
        elif write.status != "unchanged" and record.entry.reason != write.key:
            found.append(f"the revision acknowledged to {write.key} is that of {record.entry.reason}")
    events = Counter(record.entry.reason for record in log.records if record.entry.reason is not None)
    found += [f"the key {key} made {count} events" for key, count in events.items() if count > 1]
    return found


def reader_violations(log: AuditLog, seen: Sequence[tuple[int, int]]) -> list[str]:
    """G3: a reader that asks for what is newer than what it has seen has seen everything, in order, once."""
    found = []
    if list(seen) != sorted(set(seen)):
        found.append("the reader was given something twice or out of order")
    everything = {(record.entry.revision, record.entry.ordinal) for record in log.records}
    missed = sorted(everything - set(seen))
    if missed:
        found.append(f"the reader missed {len(missed)} of {len(everything)} events, the first is {missed[0][0]}")
    return found


def watch_violations(log: AuditLog, recording: Recording) -> list[str]:
    """G4, G6: the events are true, ordered, unique and atomic, over all connections; bookmarks tell the truth."""
    history = History(log)
    state = _WatchState()
    found: list[str] = []
    for event in recording.events:
        if event.connection != state.connection:
            state.reconnect(event.connection)
        if event.kind == "config":
            found += _event_violations(history, recording, state, event)
        reached = event.id if event.kind == "config" else event.position
        if reached is None:
            continue
        if reached < state.reached:
            found.append(f"{event.kind} {reached} came after {state.reached}: the stream went backwards")
        state.reached = reached
        if event.kind == "config":
            state.resumes_after = reached
        for service in recording.services:
            expected = history.last_change(service, recording.environment, reached.revision)
            if state.revisions.get(service) != expected:
                found.append(
                    f"at {event.kind} {reached} {service} should be at {expected}, the watcher was sent"
                    f" {state.revisions.get(service)}"
                )
    return found


def agreement_violations(
    log: AuditLog, answers: Mapping[str, Mapping[tuple[str, str], tuple[str, Mapping[str, Any]]]]
) -> list[str]:
    """G3: all replicas give the same ETag and the same object, and it is what the log says. By replica, by config."""
    history = History(log)
    found = []
    for (service, environment), (etag, told) in next(iter(answers.values())).items():
        for replica, configs in answers.items():
            if configs[service, environment] != (etag, told):
                found.append(f"{replica} does not agree about {service}@{environment}")
        if told["config"] != history.effective(service, environment, log.head.revision):
            found.append(f"{service}@{environment} is not what the log says")
        if told["revision"] != history.last_change(service, environment, log.head.revision):
            found.append(f"{service}@{environment} is said to be of revision {told['revision']}")
        if told["hash"] != content_hash(told["config"]):
            found.append(f"the hash of {service}@{environment} is wrong")
    return found


def lags(acknowledged: Iterable[Acknowledged], recording: Recording) -> list[float]:
    """For every acknowledged write: how long after its acknowledgement the watcher knew of it."""
    knew = [(event.id or event.position, event.at) for event in recording.events if event.kind != "config" or event.id]
    found, at = [], 0
    for write in sorted(acknowledged, key=lambda write: write.revision):
        while at < len(knew) and knew[at][0] < Position(write.epoch, write.revision):
            at += 1
        if at == len(knew):
            break
        found.append(max(0.0, knew[at][1] - write.at))
    return found


def longest_silence(recording: Recording) -> float:
    """The longest time within a connection in which nothing came, not even a bookmark."""
    pairs = zip(recording.events, recording.events[1:], strict=False)
    return max((after.at - before.at for before, after in pairs if before.connection == after.connection), default=0.0)


class _WatchState:
    """What a watcher knows while its recording is walked through."""

    def __init__(self) -> None:
        self.connection = 0
        self.reached = self.resumes_after = Position(0, 0)
        self.revisions: dict[str, int] = {}

    def reconnect(self, connection: int) -> None:
        # What was sent without an id is sent again, and a bookmark is nothing to resume after.
        self.connection = connection
        self.reached = self.resumes_after
        self.revisions = {
            service: revision for service, revision in self.revisions.items() if revision <= self.reached.revision
        }


def _event_violations(history: History, recording: Recording, state: _WatchState, event: Event) -> list[str]:
    service, revision = event.data["service"], event.data["revision"]
    name = f"event {event.position} of {service}"
    found = []
    if event.position <= state.resumes_after:
        found.append(f"{name} was sent again after {state.resumes_after}")
    before = state.revisions.get(service)
    if before is not None and revision <= before:
        found.append(f"{name} came after revision {before}")
    state.revisions[service] = revision
    if event.data["config"] != history.effective(service, recording.environment, revision):
        found.append(f"{name} is not the config of that revision")
    if event.data["hash"] != content_hash(event.data["config"]):
        found.append(f"{name} has a wrong hash")
    return found


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        merged[key] = _merge(lower, value) if isinstance(lower, dict) and isinstance(value, dict) else value
    return merged
