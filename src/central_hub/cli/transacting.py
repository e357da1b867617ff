"""Several documents and schemas at once: tried together, shown, and stored as one revision."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from central_hub.cli import change_list
from central_hub.cli.document_files import Name
from central_hub.cli.inventory import Entry
from central_hub.cli.outcome import NOT_ANNOUNCED, effect_of, warned
from central_hub.cli.session import Failed, Session
from central_hub.config import diff
from central_hub_client.references import normalised

MOST_UPDATES: Final = 128
"""Of one transaction."""
_NO_REVISION: Final = "0"

Config = dict[str, Any]
Update = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall become of a document or schema; `config` is None where it shall end, `there` where there is none."""

    name: Name
    config: Config | None
    there: Entry | None

    @property
    def is_change(self) -> bool:
        """Whether this is not what there is already."""
        if self.config is None or self.there is None or self.there.config is None:
            return True
        wanted = self.config if self.name.is_schema else normalised(self.config)
        return not diff.same(self.there.config, wanted)

    @property
    def update(self) -> Update:
        """The update of a transaction. Whatever somebody changed since it was looked at is not overwritten."""
        about: Update = {"service": self.name.service, "environment": self.name.environment}
        about["expected_revision"] = _NO_REVISION if self.there is None else self.there.revision
        if self.config is None:
            return {**about, "delete": "schema" if self.name.is_schema else "document"}
        return {**about, "schema" if self.name.is_schema else "config": self.config}


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes that are made together or not at all. What they remove has been shown, and agreed to."""

    changes: Sequence[Wanted]
    reason: str | None = None
    allow: Sequence[str] = ()
    managed_by: str | None = None

    def carry_out(self, session: Session, verb: str, *, dry_run: bool, yes: bool) -> None:
        """Try it, show what would change, ask, and store it as one revision. Raises Failed, and what the hub says."""
        if len(self.changes) > MOST_UPDATES:
            raise Failed(
                f"{len(self.changes)} documents would change, and one revision takes {MOST_UPDATES}: name some of them,"
                " and the others after that"
            )
        tried = self.send(session, dry_run=True)
        self._show(session, tried)
        if dry_run:
            self._show_outcome(session, tried)
            return
        gone = list(self._removed(tried))
        question = f"Remove {', '.join(gone)}, and {verb.lower()}" if gone else verb
        session.confirm(f"{question} {counted(self.changes)}?", yes=yes)
        self._show_outcome(session, self.send(session, dry_run=False))

    def send(self, session: Session, *, dry_run: bool) -> Any:
        """What the hub answers."""
        allow = sorted({"removals", *self.allow})
        body: dict[str, Any] = {
            "updates": [
                {**change.update, "allow": allow} if "config" in change.update else change.update
                for change in self.changes
            ],
            "dry_run": dry_run,
        }
        given = {"reason": self.reason, "managed_by": self.managed_by}
        body |= {name: value for name, value in given.items() if value is not None}
        return session.hub.write("POST", "/config/transaction", body).value

    def _show(self, session: Session, tried: Any) -> None:
        if session.output.as_json:
            return
        for wanted, update in zip(self.changes, tried["updates"], strict=True):
            state = "deleted" if wanted.config is None else "new" if wanted.there is None else "changed"
            session.output.text(f"{wanted.name}: {state}", "bold")
            change_list.show(session.output, update["changes"])
        for line in effect_of(tried):
            session.output.text(line)
        for warning in tried["warnings"]:
            session.output.warn(warned(warning))

    def _show_outcome(self, session: Session, answer: Any) -> None:
        if session.output.as_json:
            session.output.json(answer)
        elif answer["status"] == "valid":
            session.output.text(f"{counted(self.changes)} would be accepted; nothing was stored")
        else:
            place = f"revision {answer['epoch']}.{answer['revision']}"
            announced = "announced" if answer["announced"] else NOT_ANNOUNCED
            session.output.text(f"{counted(self.changes)}: {answer['status']}, {place}, {announced}", "bold")

    def _removed(self, tried: Any) -> Iterator[str]:
        for wanted, update in zip(self.changes, tried["updates"], strict=True):
            if wanted.config is None:
                yield str(wanted.name)
            elif not wanted.name.is_schema:
                yield from (f"{key} of {wanted.name}" for key in change_list.removed(update["changes"]))


def counted(changes: Sequence[Wanted]) -> str:
    """`3 documents and 1 schema`."""
    schemas = sum(change.name.is_schema for change in changes)
    documents = len(changes) - schemas
    said = [(documents, "document"), (schemas, "schema")]
    return " and ".join(f"{count} {noun}{'s' if count > 1 else ''}" for count, noun in said if count)
