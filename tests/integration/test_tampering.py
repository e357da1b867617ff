"""What a superuser of the database does to the audit log, and what verification says of it afterwards."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import asyncpg
import pytest

from central_hub.audit.chain import GENESIS, Anchor, salted_hash
from tests.conftest import DatabaseUrls, RunningHub
from tests.faults.audit_log import AuditLog, fetch
from tests.integration.test_config_documents import path

TABLES = ("hub_state", "service_configs", "config_audit_log", "config_contents", "redactions")
COMMITS = 6

Tampering = Callable[[asyncpg.Connection], Awaitable[None]]


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
    hub: RunningHub, superuser: asyncpg.Connection, tamper: Tampering, finding: str
) -> None:
    await tamper(superuser)
    sentences = [flaw.sentence for flaw in (await fetch(hub.http)).flaws()]
    assert any(finding in sentence for sentence in sentences), sentences


async def test_a_document_changed_around_the_log_is_named(hub: RunningHub, superuser: asyncpg.Connection) -> None:
    await runs("""UPDATE service_configs SET content = '{"n":9}' WHERE service = 'billing'""")(superuser)
    assert (await fetch(hub.http)).differing == [("billing", "default")]


async def test_a_log_cut_off_together_with_its_head_is_noticed_by_an_anchor(
    hub: RunningHub, superuser: asyncpg.Connection, untouched: AuditLog
) -> None:
    await runs(
        "DELETE FROM config_contents WHERE revision > 4",
        "DELETE FROM config_audit_log WHERE revision > 4",
        "UPDATE hub_state SET revision = 4, audit_head = (SELECT entry_hash FROM config_audit_log WHERE revision = 4)",
    )(superuser)
    log = await fetch(hub.http)
    assert log.flaws() == []
    assert "cut off" in log.flaws(untouched.anchor())[0].sentence


async def test_a_history_written_anew_from_the_start_is_noticed_by_an_anchor(
    hub: RunningHub, superuser: asyncpg.Connection, untouched: AuditLog
) -> None:
    async with superuser.transaction():
        previous = GENESIS
        for record in untouched.records:
            content = '{"n":7}' if record.entry.revision == 3 else record.content
            assert record.salt is not None
            assert content is not None
            entry = replace(record.entry, previous_hash=previous, content_hash=salted_hash(record.salt, content))
            await superuser.execute(
                "UPDATE config_audit_log SET previous_hash = $2, content_hash = $3, entry_hash = $4"
                " WHERE revision = $1",
                entry.revision,
                entry.previous_hash,
                entry.content_hash,
                entry.hash,
            )
            await superuser.execute(
                "UPDATE config_contents SET content = $2 WHERE revision = $1", entry.revision, content
            )
            previous = entry.hash
        await superuser.execute("UPDATE hub_state SET audit_head = $1", previous)
    log = await fetch(hub.http)
    # Without anything kept elsewhere nobody can know.
    assert log.flaws() == []
    assert log.flaws(Anchor(untouched.head, untouched.head_hash))[0].sentence.endswith("rewritten up to here")


async def test_the_log_verifies_again_once_it_is_as_it_was(hub: RunningHub, untouched: AuditLog) -> None:
    log = await fetch(hub.http)
    assert log.records == untouched.records
    assert log.flaws(untouched.anchor()) == []
