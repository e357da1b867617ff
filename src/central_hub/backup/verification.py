"""Whether a backup is whole and true to itself. Pure: lines come in, flaws come out."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from central_hub.audit.chain import Anchor, Entry, Record, Verifier
from central_hub.backup.archive import Manifest, Row, WrongBackup
from central_hub.storage.config_values import Action, Kind

_Key = tuple[Kind, str, str]


@dataclass(frozen=True, slots=True)
class _Content:
    """What is compared of a document and its last entry in the log."""

    revision: int
    version: str
    content: str | None


class BackupVerifier:
    """Walks once through the rows of a backup and collects what is wrong, as sentences."""

    def __init__(self, manifest: Manifest, anchors: Iterable[Anchor] = ()) -> None:
        self._manifest = manifest
        self._chain = Verifier(anchors)
        self._logged: dict[_Key, _Content] = {}
        self._held: dict[_Key, _Content] = {}
        self._states: list[Row] = []

    @property
    def entries(self) -> int:
        """How many entries the audit log has."""
        return self._chain.entries

    @property
    def documents(self) -> int:
        """How many documents there are, without those that were deleted."""
        return sum(kind is Kind.DOCUMENT and held.content != "null" for (kind, *_), held in self._held.items())

    def take(self, rows: dict[str, Row]) -> None:
        """Rows that belong together. Raises WrongBackup where they are not such as a hub writes."""
        try:
            for table, row in rows.items():
                match table:
                    case "config_audit_log":
                        self._take_record(_record(row, rows.get("config_contents"), rows.get("redactions")))
                    case "service_configs":
                        self._hold(Kind.DOCUMENT, row)
                    case "service_schemas":
                        self._hold(Kind.SCHEMA, row)
                    case "hub_state":
                        self._states.append(row)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WrongBackup(f"the backup was altered: a row cannot be read ({type(error).__name__})") from error

    def finish(self) -> list[str]:
        """What is wrong; empty where nothing is."""
        manifest = self._manifest
        self._chain.finish(recorded_head=manifest.audit_head, recorded=manifest.position)
        flaws = [f"revision {flaw.revision} {flaw.sentence}" for flaw in self._chain.flaws]
        named = ("hub_id", "epoch", "revision", "audit_head")
        if [{name: state.get(name) for name in named} for state in self._states] != [
            {name: getattr(manifest, name) for name in named}
        ]:
            flaws.append("the state of the hub is not what the first line says")
        if self._chain.position.epoch > manifest.epoch:
            flaws.append(f"the log ends in epoch {self._chain.position.epoch}, the hub was in {manifest.epoch}")
        flaws += [
            f"the {kind} of {service} in environment {environment} is not what its last entry says"
            for kind, service, environment in sorted(self._held.keys() | self._logged.keys())
            if self._held.get((kind, service, environment)) != self._logged.get((kind, service, environment))
        ]
        return flaws

    def _take_record(self, record: Record) -> None:
        self._chain.take(record)
        entry = record.entry
        kind = Kind.SCHEMA if entry.action == Action.SCHEMA else Kind.DOCUMENT
        self._logged[kind, entry.service, entry.environment] = _Content(entry.revision, entry.version, record.content)

    def _hold(self, kind: Kind, row: Row) -> None:
        content = "null" if row["content"] is None else row["content"]
        self._held[kind, row["service"], row["environment"]] = _Content(row["revision"], row["version"], content)


def _record(row: Row, content: Row | None, redaction: Row | None) -> Record:
    content = content or {"salt": None, "content": None}
    facts: dict[str, Any] = {name: row[name] for name in Entry.__dataclass_fields__}
    facts["changed_at"] = datetime.fromisoformat(row["changed_at"])
    salt = None if content["salt"] is None else bytes.fromhex(content["salt"].removeprefix("\\x"))
    return Record(Entry(**facts), row["entry_hash"], salt, content["content"], redacted=redaction is not None)
