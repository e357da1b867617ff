"""What a superuser of the database does to the audit log, and what verification says of it afterwards."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from central_hub.audit import anchors
from central_hub.audit.chain import GENESIS, Record, salted_hash
from tests.conftest import DatabaseUrls, RunningHub
from tests.faults.audit_log import AuditLog, fetch
from tests.integration.test_cli import run_program
from tests.integration.test_config_documents import path

TABLES = ("hub_state", "service_configs", "config_audit_log", "config_contents", "redactions")
COMMITS = 6

Tampering = Callable[[asyncpg.Connection], Awaitable[None]]
Records = list[Record]
Forgery = Callable[[Records], Records]


@pytest.fixture(scope="module")
async def untouched(hub: RunningHub) -> AuditLog:
    """Six commits of two services, and the log that tells of them."""
    for number in range(COMMITS):
        answer = await hub.http.post(path("billing" if number % 2 else "search"), json={"config": {"n": number}})
        assert answer.status_code == 200, answer.text
    log = await fetch(hub.http)
    assert len(log.records) == COMMITS
    assert log.flaws(log.anchor()) == []
    assert log.differing == []
    return log


@pytest.fixture
async def superuser(database: DatabaseUrls, untouched: AuditLog) -> AsyncIterator[asyncpg.Connection]:
    """Somebody who may do anything to the tables; afterwards they are as before."""
    connection = await asyncpg.connect(database.owner)
    try:
        # Not even foreign keys stand in the way.
        await connection.execute("SET session_replication_role = replica")
        for table in TABLES:
            await connection.execute(f"CREATE TEMPORARY TABLE kept_{table} AS TABLE {table}")
        yield connection
        async with connection.transaction():
            for table in TABLES:
                await connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of this file
                await connection.execute(f"INSERT INTO {table} TABLE kept_{table}")
    finally:
        await connection.close()


def runs(*statements: str) -> Tampering:
    async def tamper(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            for statement in statements:
                assert await connection.execute(statement) not in ("UPDATE 0", "DELETE 0", "INSERT 0 0")

    return tamper


SWAP = "UPDATE {0} SET revision = CASE revision WHEN 2 THEN -3 ELSE -2 END WHERE revision IN (2, 3)"
SWAPPED = "UPDATE {0} SET revision = -revision WHERE revision < 0"


@pytest.mark.parametrize(
    ("tamper", "finding"),
    [
        pytest.param(runs("UPDATE config_audit_log SET changed_by = 'mallory' WHERE revision = 3"), "edited", id="who"),
        pytest.param(
            runs("UPDATE config_audit_log SET changed_at = changed_at - interval '1 day' WHERE revision = 3"),
            "edited",
            id="when",
        ),
        pytest.param(
            runs("""UPDATE config_contents SET content = '{"n":7}' WHERE revision = 3"""), "another content", id="what"
        ),
        pytest.param(
            runs("UPDATE config_contents SET salt = NULL, content = NULL WHERE revision = 3"),
            "no redaction is recorded",
            id="content removed",
        ),
        pytest.param(
            runs("DELETE FROM config_contents WHERE revision = 3", "DELETE FROM config_audit_log WHERE revision = 3"),
            "missing or out of order",
            id="row removed",
        ),
        pytest.param(
            runs(*(sql.format(table) for table in ("config_audit_log", "config_contents") for sql in (SWAP, SWAPPED))),
            "does not link",
            id="rows swapped",
        ),
        pytest.param(
            runs(
                "INSERT INTO config_audit_log SELECT revision, 1, epoch, service, environment, action, version,"
                " changed_at, 'mallory', reason, content_hash, entry_hash, entry_hash FROM config_audit_log"
                " WHERE revision = 3",
                "INSERT INTO config_contents SELECT revision, 1, salt, content, changes FROM config_contents"
                " WHERE revision = 3",
            ),
            "do not give its recorded hash",
            id="row inserted",
        ),
        pytest.param(
            runs("DELETE FROM config_contents WHERE revision > 4", "DELETE FROM config_audit_log WHERE revision > 4"),
            "cut off or rewritten",
            id="end cut off",
        ),
    ],
)
async def test_a_log_that_was_altered_does_not_verify(
    hub: RunningHub, superuser: asyncpg.Connection, bookmark: str, tamper: Tampering, finding: str
) -> None:
    await tamper(superuser)
    log = await fetch(hub.http)
    for known in ([], anchors.parse(bookmark)):
        sentences = [flaw.sentence for flaw in log.flaws(*known)]
        assert any(finding in sentence for sentence in sentences), sentences


async def test_a_document_changed_around_the_log_is_named(hub: RunningHub, superuser: asyncpg.Connection) -> None:
    await runs("""UPDATE service_configs SET content = '{"n":9}' WHERE service = 'billing'""")(superuser)
    assert (await fetch(hub.http)).differing == [("billing", "default")]


@pytest.fixture(scope="module")
async def bookmark(hub: RunningHub, untouched: AuditLog) -> str:
    """What the event stream told of the log before anybody touched it, as somebody outside keeps it: a line."""
    told = await run_program(
        ("audit", "anchor", "billing"), {"CENTRAL_HUB_URL": hub.url, "CENTRAL_HUB_TOKEN": hub.token}
    )
    assert told.code == 0, told.err
    assert anchors.parse(told.out) == [untouched.anchor()]
    return told.out


def edited(**facts: Any) -> Forgery:
    """Revision 3 with other facts."""
    return lambda records: [
        replace(record, entry=replace(record.entry, **facts)) if record.entry.revision == 3 else record
        for record in records
    ]


def earlier(records: Records) -> Records:
    then = records[2].entry.changed_at - timedelta(days=1)
    return edited(changed_at=then)(records)


def with_another_content(records: Records) -> Records:
    return [replace(record, content='{"n":7}') if record.entry.revision == 3 else record for record in records]


def swapped(records: Records) -> Records:
    return [records[0], records[2], records[1], *records[3:]]


def with_one_more(records: Records) -> Records:
    invented = replace(records[2], entry=replace(records[2].entry, changed_by="mallory"), content='{"n":8}')
    return [*records[:3], invented, *records[3:]]


FORGERIES = [
    pytest.param(edited(changed_by="mallory"), id="who"),
    pytest.param(earlier, id="when"),
    pytest.param(edited(reason="a good one"), id="why"),
    pytest.param(with_another_content, id="what"),
    pytest.param(lambda records: records[:2] + records[3:], id="entry removed"),
    pytest.param(swapped, id="entries swapped"),
    pytest.param(with_one_more, id="entry inserted"),
    pytest.param(lambda records: records[:4], id="end cut off"),
    pytest.param(lambda records: [*records[:5], records[0]], id="last entry replaced"),
    pytest.param(lambda _: [], id="everything removed"),
]


def chained(records: Records) -> Records:
    """The same entries with numbers and hashes that fit, as a hub would have written them."""
    done: Records = []
    for revision, record in enumerate(records, 1):
        assert record.salt is not None
        assert record.content is not None
        entry = replace(
            record.entry,
            revision=revision,
            content_hash=salted_hash(record.salt, record.content),
            previous_hash=done[-1].entry_hash if done else GENESIS,
        )
        done.append(replace(record, entry=entry, entry_hash=entry.hash))
    return done


async def write_anew(connection: asyncpg.Connection, records: Records) -> None:
    """Make this the whole history, with the documents and the head that come of it."""
    async with connection.transaction():
        for table in ("config_contents", "config_audit_log", "service_configs"):
            await connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of this file
        for record in records:
            entry = record.entry
            await connection.execute(
                "INSERT INTO config_audit_log (revision, ordinal, epoch, service, environment, action, version,"
                " changed_at, changed_by, reason, content_hash, previous_hash, entry_hash)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
                *(entry.revision, entry.ordinal, entry.epoch, entry.service, entry.environment, entry.action),
                *(entry.version, entry.changed_at, entry.changed_by, entry.reason, entry.content_hash),
                *(entry.previous_hash, record.entry_hash),
            )
            await connection.execute(
                "INSERT INTO config_contents (revision, ordinal, salt, content, changes) VALUES ($1, $2, $3, $4, '[]')",
                *(entry.revision, entry.ordinal, record.salt, record.content),
            )
            await connection.execute(
                "INSERT INTO service_configs (service, environment, content, version, revision, changed_at, changed_by)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (service, environment)"
                " DO UPDATE SET content = $3, version = $4, revision = $5",
                *(entry.service, entry.environment, record.content, entry.version, entry.revision),
                *(entry.changed_at, entry.changed_by),
            )
        await connection.execute(
            "UPDATE hub_state SET revision = $1, audit_head = $2",
            len(records),
            records[-1].entry_hash if records else GENESIS,
        )


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_history_that_was_written_anew_to_fit_is_noticed_by_the_anchor_of_a_bookmark(
    hub: RunningHub,
    superuser: asyncpg.Connection,
    untouched: AuditLog,
    bookmark: str,
    forgery: Forgery,
    tmp_path: Path,
) -> None:
    await write_anew(superuser, chained(forgery(untouched.records)))
    log = await fetch(hub.http)
    # Without anything kept elsewhere nobody can know.
    assert log.flaws() == []
    assert log.differing == []
    (flaw,) = log.flaws(*anchors.parse(bookmark))
    assert "rewritten up to here" in flaw.sentence or "it was cut off" in flaw.sentence
    kept = tmp_path / "anchors"
    kept.write_text(bookmark)
    access = {"CENTRAL_HUB_URL": hub.url, "CENTRAL_HUB_TOKEN": hub.token}
    verified = await run_program(("audit", "verify", "--anchors", str(kept), "--json"), access)
    assert verified.code == 1
    assert flaw.sentence in json.dumps(verified.json)


async def test_rewriting_nothing_is_no_flaw(
    hub: RunningHub, superuser: asyncpg.Connection, untouched: AuditLog, bookmark: str
) -> None:
    """That the forger of these tests writes as the hub does: what is noticed is what was forged."""
    assert chained(untouched.records) == untouched.records
    await write_anew(superuser, untouched.records)
    log = await fetch(hub.http)
    assert (log.flaws(*anchors.parse(bookmark)), log.differing) == ([], [])


async def test_the_log_verifies_again_once_it_is_as_it_was(hub: RunningHub, untouched: AuditLog) -> None:
    log = await fetch(hub.http)
    assert log.records == untouched.records
    assert log.flaws(untouched.anchor()) == []
