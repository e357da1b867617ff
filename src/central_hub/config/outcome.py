"""What came of a transaction, as its author is told. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from central_hub.config.effect import Foreseen
from central_hub.config.plan import Retry, Transaction, Write
from central_hub.config.snapshot import own_representation
from central_hub.errors import Finding, IdempotencyMismatch, Warned
from central_hub.storage.config_values import Action, Document, DocumentChange, Head, Kind
from central_hub.storage.idempotency import Remembered
from central_hub_client.wire import Position

_STATUS: Final = {Action.CREATED: "created", Action.DELETED: "deleted"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transaction did: what its author is told, the ETag of a single document, and how far the log has come."""

    answer: Mapping[str, Any]
    etag: str
    position: Position
    foreseen: Foreseen | None = None
    """Of a transaction that was only tried."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one write did: its change, or None; the document before, and as it is now."""

    write: Write
    change: DocumentChange | None
    before: Document | None
    now: Document | None
    warnings: tuple[Finding, ...] = ()
    managed_by: str | None = None


def outcome_of(
    transaction: Transaction,
    results: Sequence[Result],
    head: Head,
    *,
    common: Sequence[Finding] = (),
    is_trial: bool = False,
) -> Outcome:
    """The answer: about the one document, or about all of them in the order in which they were named.

    `common` are warnings of what all of them come to together.
    """
    updates = [_answer(transaction, result, head, is_trial=is_trial) for result in results]
    announced = not is_trial
    if transaction.is_single:
        (update,) = updates
        etag = update.pop("etag")
        update["warnings"] += [warning.to_json() for warning in common]
        return Outcome({**update, "announced": announced}, etag, head.position)
    changed = any(result.change is not None for result in results)
    answer = {
        "status": "valid" if is_trial else "updated" if changed else "unchanged",
        "revision": max(update["revision"] for update in updates),
        "epoch": head.epoch,
        "updates": [{"kind": result.write.kind, **update} for result, update in zip(results, updates, strict=True)],
        "warnings": [
            {**warning, "service": update["service"], "environment": update["environment"]}
            for update in updates
            for warning in update["warnings"]
        ]
        + [warning.to_json() for warning in common],
        "announced": announced,
    }
    return Outcome(answer, "", head.position)


def same_answer(retry: Retry | None, answered: Remembered) -> Outcome:
    """The answer that was given before. Raises IdempotencyMismatch where another question is asked."""
    if retry is None or answered.request_hash != retry.request_hash:
        raise IdempotencyMismatch("this Idempotency-Key came with another request before; take a new key for each")
    answer = json.loads(answered.response)
    return Outcome(answer, answered.etag, Position(answer["epoch"], answer["revision"]))


def _answer(transaction: Transaction, result: Result, head: Head, *, is_trial: bool) -> dict[str, Any]:
    write, change, now = result.write, result.change, result.now
    return {
        "status": "valid" if is_trial else _status(result),
        "service": write.service,
        "environment": write.environment,
        "version": change.version if change is not None else now.version if now is not None else "",
        "revision": 0 if now is None else now.revision,
        "epoch": head.epoch,
        "changes": [] if change is None else change.changes,
        "warnings": [warning.to_json() for warning in _warnings(transaction, result)],
        "etag": "" if now is None else own_representation(now, head.hub_id, head.epoch).etag,
    }


def _status(result: Result) -> str:
    if result.change is None:
        return "unchanged"
    if result.change.kind is Kind.SCHEMA:
        was_there = result.before is not None and result.before.config is not None
        return "deleted" if result.change.config is None else "updated" if was_there else "created"
    return _STATUS.get(result.change.action, "updated")


def _warnings(transaction: Transaction, result: Result) -> list[Finding]:
    if result.change is None:
        return []
    manager = result.managed_by
    if manager is None or manager == transaction.managed_by:
        return list(result.warnings)
    return [
        Finding(
            "",
            Warned.MANAGED_DOCUMENT,
            f"is managed by {manager}: what is applied from its files next takes this change back; change the file too",
        ),
        *result.warnings,
    ]
