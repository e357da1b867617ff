"""The chain and what is known of it from outside, without a database."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from central_hub.audit import anchors
from central_hub.audit.anchors import WrongAnchor
from central_hub.audit.chain import GENESIS, Anchor, Entry, Record, Verifier, salted_hash
from central_hub.security.signing import SigningKey
from central_hub_client.wire import Bookmark, Position

SALT = b"0" * 16


def chain(*epochs: int) -> list[Record]:
    """One entry for each, in order."""
    records: list[Record] = []
    for revision, epoch in enumerate(epochs, 1):
        entry = Entry(
            epoch=epoch,
            revision=revision,
            ordinal=0,
            service="billing",
            environment="default",
            action="updated",
            version="1",
            changed_at=datetime(2026, 11, 24, tzinfo=UTC),
            changed_by="alice",
            reason=None,
            content_hash=salted_hash(SALT, "{}"),
            previous_hash=records[-1].entry_hash if records else GENESIS,
        )
        records.append(Record(entry, entry.hash, SALT, "{}", redacted=False))
    return records


def sentences(records: list[Record], *known: Anchor) -> list[str]:
    verifier = Verifier(known)
    for record in records:
        verifier.take(record)
    verifier.finish(recorded_head=verifier.head, recorded=verifier.position)
    return [flaw.sentence for flaw in verifier.flaws]


def test_an_anchor_of_an_empty_log_holds_for_ever() -> None:
    assert sentences(chain(1, 1), Anchor(Position(1, 0), GENESIS)) == []
    assert sentences([], Anchor(Position(1, 0), GENESIS)) == []


def test_an_anchor_taken_between_a_new_epoch_and_its_first_change_holds() -> None:
    records = chain(1, 1, 2)
    assert sentences(records, Anchor(Position(2, 2), records[1].entry_hash)) == []


def test_every_anchor_of_a_revision_counts() -> None:
    records = chain(1, 1, 1)
    right = Anchor(Position(1, 2), records[1].entry_hash)
    wrong = replace(right, hash=records[0].entry_hash)
    for known in ((wrong, right), (right, wrong)):
        assert len(sentences(records, *known)) == 1


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.load_or_create(tmp_path / "signing.key")


BOOKMARK = Bookmark("hub", 1, 42, GENESIS)
ANCHOR = Anchor(Position(1, 42), GENESIS)


def test_a_signed_anchor_is_read_back_and_names_its_signer(key: SigningKey, tmp_path: Path) -> None:
    line = anchors.signed(BOOKMARK, key)
    assert anchors.parse(f"\n{line}\n{line}\n", signed_by=[key.public_key]) == [ANCHOR, ANCHOR]
    assert anchors.parse(line) == [ANCHOR]
    another = SigningKey.load_or_create(tmp_path / "another.key")
    with pytest.raises(WrongAnchor, match="signed by another key"):
        anchors.parse(line, signed_by=[another.public_key])


def test_a_bookmark_as_it_was_sent_is_an_anchor_where_no_signature_is_asked_for(key: SigningKey) -> None:
    line = json.dumps(BOOKMARK.to_json())
    assert anchors.parse(line) == [ANCHOR]
    with pytest.raises(WrongAnchor, match="is not signed"):
        anchors.parse(line, signed_by=[key.public_key])


@pytest.mark.parametrize(
    "change",
    [
        {"revision": 41},
        {"audit_head": "sha256:" + "1" * 64},
        {"hub_id": "another"},
        {"signature": "AAAA"},
        {"signature": 7},
        {"public_key": base64.b64encode(b"0" * 32).decode()},
        {"public_key": "?"},
        {"public_key": None},
    ],
)
def test_an_anchor_that_was_altered_is_refused(key: SigningKey, change: dict[str, object]) -> None:
    line = json.dumps(json.loads(anchors.signed(BOOKMARK, key)) | change)
    with pytest.raises(WrongAnchor, match="was not signed by the key that it names"):
        anchors.parse(line)


@pytest.mark.parametrize("line", ["x", "[]", "{}", '{"hub_id": "h", "epoch": "1", "revision": 2}', "1.42:sha256:00"])
def test_a_line_that_is_no_anchor_is_refused(line: str) -> None:
    with pytest.raises(WrongAnchor, match="is no anchor"):
        anchors.parse(line)
