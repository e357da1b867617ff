"""What a write comes to: from the document there is and the write asked for, to the change to store. Pure.

Raises the HubError of the first rule that the write breaks, in the order of the contract.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from central_hub.config import diff, guards
from central_hub.config.edits import Edit, next_version, require_existing
from central_hub.config.refusal import Refused, refusal_of_all
from central_hub.config.secret_check import check_schema_secrets, check_secrets
from central_hub.config.snapshot import own_representation
from central_hub.errors import Conflict, Finding, HubError, PreconditionRequired
from central_hub.storage.config_values import Action, Document, DocumentChange, Head, Key, Kind
from central_hub_client.references import normalised
from central_hub_client.wire import Position, content_hash

REMOVALS: Final = "removals"
DELTA: Final = "delta"
TYPE_REUSE: Final = "type_reuse"
CONTRACT: Final = "contract"
"""What may be allowed; `contract` only by who has the verb `force`, which was checked before."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What must hold of the document itself for a write to happen.

    `etags` is the list of an If-Match (`*` stands for any), `must_not_exist` an `If-None-Match: *`. A document that
    does not exist is at revision 0.
    """

    etags: tuple[str, ...] | None = None
    must_not_exist: bool = False
    expected: Position | None = None
    required_to_replace: bool = False


_NONE: Final = Preconditions()


@dataclass(frozen=True, slots=True)
class Retry:
    """An Idempotency-Key: the write is done once for (token, key), and the same answer given again."""

    token_id: str
    key: str
    request_hash: str


@dataclass(frozen=True, slots=True)
class Write:
    """One write of one document or schema, as it was asked for."""

    service: str
    environment: str
    edit: Edit
    version: str | None = None
    reason: str | None = None
    allow: frozenset[str] = frozenset()
    preconditions: Preconditions = field(default_factory=Preconditions)
    kind: Kind = Kind.DOCUMENT
    """What is written: the document, or the schema under the same name."""

    takes_back: bool = False
    """Whether this is a part of taking a whole revision back, also where that deletes."""

    @property
    def is_way_back(self) -> bool:
        """Whether this goes back to what was, which must be open at any time."""
        return self.takes_back or self.edit.action is Action.ROLLBACK

    @property
    def forces_contracts(self) -> bool:
        """Whether what runs is only heard."""
        return CONTRACT in self.allow or self.is_way_back

    @property
    def guards_types(self) -> bool:
        """Whether a deleted key may only come back as what it was."""
        return TYPE_REUSE not in self.allow and not self.is_way_back

    @property
    def key(self) -> Key:
        return self.kind, self.service, self.environment


@dataclass(frozen=True, slots=True)
class Transaction:
    """Writes that become one revision or nothing. Of each document and schema there is one at most."""

    writes: tuple[Write, ...]
    author: str
    retry: Retry | None = None
    dry_run: bool = False
    size_bytes: int = 0
    managed_by: str | None = None
    """Who looks after these documents from now on, from outside; None leaves that as it is."""
    is_single: bool = True
    """Whether it was asked for as the one write that it is, and is answered so."""

    @property
    def keys(self) -> list[Key]:
        return [write.key for write in self.writes]


def plan_all(
    transaction: Transaction, documents: Sequence[Document | None], head: Head
) -> tuple[DocumentChange | None, ...]:
    """What `plan` says of each write. Raises the HubError of the first rule that any of them breaks."""
    changes = _each(plan, transaction.writes, documents, [head] * len(documents))
    guards.check_labels(transaction.managed_by)
    return tuple(changes)


def guard_all(
    transaction: Transaction, documents: Sequence[Document | None], changes: Sequence[DocumentChange | None]
) -> None:
    """What `guard` says of each."""
    _each(guard, transaction.writes, documents, changes)


def _each(rule: Callable[..., T], writes: Sequence[Write], *of_each: Sequence[Any]) -> list[T]:
    done: list[T] = []
    refused: list[Refused] = []
    for write, *arguments in zip(writes, *of_each, strict=True):
        try:
            done.append(rule(write, *arguments))
        except HubError as error:
            if len(writes) == 1:
                raise
            refused.append((write.service, write.environment, error))
    if refused:
        raise refusal_of_all(refused)
    return done


def plan(write: Write, document: Document | None, head: Head) -> DocumentChange | None:
    """The change that `write` makes to `document`; None where it changes nothing.

    What the change leads to is checked next: against the schemas, and then by `guard`.
    """
    current = None if document is None else document.config
    require_existing(write.edit, current)
    try:
        check_preconditions(write.preconditions, document, head)
    except Conflict as conflict:
        conflict.extra["diff"] = _diff(write, current)
        raise
    try:
        proposed = write.edit.apply(current)
    except Conflict as error:  # a JSON Patch tests what the document says
        raise _conflict(error.detail, document, head, _etag(document, head)) from error
    warnings: list[Finding] = []
    if proposed is not None:
        proposed, warnings = _checked(write, proposed, current)
    guards.check_labels(write.version, write.reason)
    label = None if document is None else document.version
    is_same = proposed is not None and current is not None and diff.same(current, proposed)
    if is_same and write.version in (None, label):
        return None
    return DocumentChange(
        service=write.service,
        environment=write.environment,
        config=proposed,
        action=_action(write, current),
        version=_version(write, document, proposed),
        changes=diff.changes(current or {}, proposed or {}),
        previous_revision=None if document is None else document.revision,
        reason=write.reason,
        warnings=tuple(warnings),
    )


def guard(write: Write, document: Document | None, change: DocumentChange | None) -> None:
    """Raise what keeps a write from doing by accident what its schemas would allow."""
    current = None if document is None else document.config
    proposed = None if change is None else change.config
    if current is None or proposed is None or write.kind is Kind.SCHEMA:
        return
    if write.edit.guards_removals:
        guards.check_removals(current, proposed, allowed=REMOVALS in write.allow)
    if not write.is_way_back:
        guards.check_delta(current, proposed, allowed=DELTA in write.allow)


def _checked(
    write: Write, proposed: dict[str, Any], current: dict[str, Any] | None
) -> tuple[dict[str, Any], list[Finding]]:
    """What would be stored, with its references in one spelling, and warnings. Raises LimitExceeded, SecretRejected."""
    guards.check_limits(proposed)
    if write.kind is Kind.SCHEMA:
        check_schema_secrets(proposed)
        return proposed, []
    spelled: dict[str, Any] = normalised(proposed)
    if spelled is not proposed:
        guards.check_limits(spelled)
    return spelled, check_secrets(spelled, current, write.allow)


def _action(write: Write, current: dict[str, Any] | None) -> Action:
    if write.kind is Kind.SCHEMA:
        return Action.SCHEMA
    return Action.CREATED if current is None and write.edit.action is Action.UPDATED else write.edit.action


def _version(write: Write, document: Document | None, proposed: dict[str, Any] | None) -> str:
    label = None if document is None else document.version
    if write.kind is Kind.SCHEMA:
        return content_hash(proposed)
    return write.version or next_version(label)


def check_preconditions(preconditions: Preconditions, document: Document | None, head: Head) -> None:
    """Raise Conflict (412) or PreconditionRequired (428) unless the document is what the writer thinks it is."""
    if preconditions == _NONE:
        return  # the usual case of a partial change: spare the hash
    live = document is not None and document.config is not None
    etag = _etag(document, head)
    if preconditions.must_not_exist and live:
        raise _conflict("the document exists already; replace it with If-Match", document, head, etag)
    if preconditions.etags is not None:
        if etag is None or not ("*" in preconditions.etags or etag in preconditions.etags):
            raise _conflict("the document is not the one that If-Match names", document, head, etag)
    elif preconditions.required_to_replace and preconditions.expected is None and live:
        raise PreconditionRequired(
            "replacing or deleting a document needs If-Match with its ETag (GET with own=true), so that nobody's"
            " change is lost",
            headers={} if etag is None else {"ETag": etag},
        )
    if preconditions.expected is not None:
        revision = document.revision if document is not None and live else 0
        if preconditions.expected != Position(head.epoch, revision):
            raise _conflict(f"the document is not at revision {preconditions.expected}", document, head, etag)


def _diff(write: Write, current: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What the write would alter now that somebody else was faster; nothing where it could not be made at all."""
    try:
        proposed = write.edit.apply(current)
        if proposed is not None:
            proposed, _ = _checked(write, proposed, current)
    except HubError:
        return []
    return diff.changes(current or {}, proposed or {})


def _etag(document: Document | None, head: Head) -> str | None:
    if document is None or document.config is None:
        return None
    return own_representation(document, head.hub_id, head.epoch).etag


def _conflict(sentence: str, document: Document | None, head: Head, etag: str | None) -> Conflict:
    if document is None or document.config is None:
        return Conflict(f"{sentence}: it does not exist", extra={"current_revision": 0})
    return Conflict(
        f"{sentence}: it is at revision {Position(head.epoch, document.revision)}, changed by {document.changed_by}",
        extra={
            "current_etag": etag,
            "current_revision": document.revision,
            "current_epoch": head.epoch,
        },
        headers={"ETag": etag or ""},
    )
