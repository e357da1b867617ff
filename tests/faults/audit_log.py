"""The audit log as an outsider has it: fetched over HTTP, page by page, with what it says where it ends."""

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx2
import orjson

from central_hub.audit.chain import Anchor, Entry, Flaw, Record, Verifier
from central_hub_client.wire import Position, content_hash


@dataclass(frozen=True)
class AuditLog:
    """Every record in order, the recorded head, and the documents that are not what the log says."""

    records: list[Record]
    head: Position
    head_hash: str
    differing: list[tuple[str, str]]

    def flaws(self, *anchors: Anchor) -> list[Flaw]:
        """What verification finds."""
        verifier = Verifier(anchors)
        for record in self.records:
            verifier.take(record)
        verifier.finish(recorded_head=self.head_hash, recorded=self.head)
        return verifier.flaws

    def anchor(self) -> Anchor:
        """What somebody outside would write down now."""
        return Anchor(self.head, self.head_hash)


def content_of(record: Record) -> dict[str, Any] | None:
    """The document that the record stored; None where it was deleted."""
    content: dict[str, Any] | None = orjson.loads(record.content or "null")
    return content


def hash_of(record: Record) -> str:
    """The hash that the hub gives for this document."""
    return content_hash(content_of(record))


async def fetch(http: httpx2.AsyncClient, *, page: int = 1000) -> AuditLog:
    """The whole log."""
    records: list[Record] = []
    after = "0"
    while True:
        answer = await http.get("/api/v1/audit", params={"after": after, "limit": page})
        assert answer.status_code == 200, answer.text
        found = orjson.loads(answer.content)
        records += [record_of(entry) for entry in found["entries"]]
        if found["next"] is None:
            head = found["head"]
            return AuditLog(
                records,
                Position(head["epoch"], head["revision"]),
                head["hash"],
                [(document["service"], document["environment"]) for document in found["differing_documents"]],
            )
        after = found["next"]


def record_of(entry: dict[str, Any]) -> Record:
    """A record from the JSON of an entry."""
    names = "epoch revision ordinal service environment action version changed_by reason content_hash previous_hash"
    return Record(
        entry=Entry(
            **{name: entry[name] for name in names.split()}, changed_at=datetime.fromisoformat(entry["changed_at"])
        ),
        entry_hash=entry["entry_hash"],
        salt=None if entry["salt"] is None else base64.b64decode(entry["salt"]),
        content=entry["content"],
        redacted=entry["redacted"],
    )
