"""Backups through the command line: what is in one, what is refused, and where it is restored."""

import asyncio
import gzip
import hashlib
import json
import shutil
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.backup.archive import Archive, WrongBackup
from central_hub.backup.restore import verify
from central_hub.connections.database import Database
from central_hub.embedded import Endpoints
from central_hub.storage import backup, schema
from central_hub.storage.tables import SCHEMA_VERSION
from tests.conftest import DatabaseUrls, RunningHub, create_database, hub_settings, running_hub
from tests.faults import checks
from tests.faults.audit_log import fetch
from tests.integration.embedded_hub import data_directory
from tests.integration.test_cli import PROGRAM, Result, run_program
from tests.integration.test_config_documents import path

START = Callable[..., Awaitable[RunningHub]]
Rows = list[dict[str, Any]]


async def run(database: DatabaseUrls, *arguments: str, owner: bool = True) -> Result:
    """A command on a database of one's own."""
    urls = {"CENTRAL_HUB_DATABASE_URL": database.running}
    if owner:
        urls["CENTRAL_HUB_MIGRATION_DATABASE_URL"] = database.owner
    return await run_program(arguments, urls)


async def tables_of(database: DatabaseUrls) -> dict[str, list[str]]:
    """Every row of what a backup keeps, as text, but for the epoch and the server's identity."""
    connection = await asyncpg.connect(database.owner)
    try:
        names = "service_configs service_schemas config_audit_log config_contents redactions tokens consumer_schemas"
        found = {
            name: [row[0] for row in await connection.fetch(f"SELECT t::text FROM {name} t ORDER BY 1")]  # noqa: S608
            for name in [*names.split(), "idempotency_keys"]
        }
        found["hub_state"] = [
            str(tuple(row))
            for row in await connection.fetch("SELECT hub_id, revision, audit_head, tokens_version FROM hub_state")
        ]
        return found
    finally:
        await connection.close()


async def is_without_tables(database: DatabaseUrls) -> bool:
    connection = await asyncpg.connect(database.owner)
    try:
        found: bool = await connection.fetchval("SELECT count(*) = 0 FROM pg_class WHERE relname = 'hub_state'")
        return found
    finally:
        await connection.close()


def lines_of(file: Path) -> Rows:
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def forge(file: Path, lines: Rows) -> None:
    """Write a backup as somebody does who knows the format: with the right hash at the end."""
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines[:-1])
    end = {"lines": len(lines) - 1, "sha256": hashlib.sha256(text).hexdigest()}
    file.write_bytes(gzip.compress(text + json.dumps({"end": end}).encode() + b"\n"))


@pytest.fixture(scope="module")
async def full(hub: RunningHub, database: DatabaseUrls, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backup of a hub with something in every table."""
    for number in range(3):
        answer = await hub.http.post(
            path("billing"),
            json={"config": {"n": number, "big": 1e22, "text": 'ünï\u2028\\"\n'}, "mode": "merge", "reason": "why"},
            headers={"Idempotency-Key": f"key-{number}"},
        )
        assert answer.status_code == 200, answer.text
    await hub.http.post(path("billing"), json={"config": {"n": 9}, "environment": "staging"})
    await hub.http.post(path("search"), json={"config": {}})
    deleted = await hub.http.get(path("search"), params={"own": "true"})
    answer = await hub.http.delete(path("search"), headers={"If-Match": deleted.headers["ETag"]})
    assert answer.status_code == 200, answer.text
    answer = await hub.http.put("/api/v1/config/schema/billing", json={"type": "object"})
    assert answer.status_code == 200, answer.text
    answer = await hub.http.post(
        "/api/v1/discovery/register", json={"name": "billing", "build": "b1", "schema": {"type": "object"}}
    )
    assert answer.status_code == 200, answer.text
    redacted = await run(database, "audit", "redact", "billing", "1", "--reason", "slipped in", "--yes")
    assert redacted.code == 0, redacted.err
    file = tmp_path_factory.mktemp("backups") / "full.gz"
    taken = await run(database, "backup", str(file), owner=False)
    assert taken.code == 0, taken.err
    return file


@pytest.fixture
async def empty(servers: Endpoints) -> DatabaseUrls:
    return await create_database(servers)


async def test_what_is_restored_is_what_was_there(
    full: Path, database: DatabaseUrls, empty: DatabaseUrls, servers: Endpoints, hub: RunningHub, tmp_path: Path
) -> None:
    before = await tables_of(database)
    assert all(before.values()), {name: len(rows) for name, rows in before.items()}
    restored = await run(empty, "restore", str(full), "--json")
    assert restored.code == 0, restored.err
    assert await tables_of(empty) == before
    shutil.copy(hub.service.settings.admin_token_path, tmp_path / "admin.token")
    async with running_hub(hub_settings(servers, empty, tmp_path)) as again:
        assert again.service.tail.snapshot.hub_id == hub.service.tail.snapshot.hub_id
        assert str(again.service.tail.snapshot.position) == restored.json["restored_as"] == "2.7"
        for service in ("billing", "search"):
            old, new = [await http.get(path(service)) for http in (hub.http, again.http)]
            assert (new.status_code, new.json().get("config")) == (old.status_code, old.json().get("config"))
        answer = await again.http.post(path("billing"), json={"config": {"n": 10}, "mode": "merge"})
        assert (answer.json()["epoch"], answer.json()["revision"]) == (2, 8)
        assert checks.log_violations(await fetch(again.http)) == []
        assert (await again.http.get("/health")).json()["reasons"] == []


async def test_a_retry_across_a_restore_makes_no_second_event(
    full: Path, empty: DatabaseUrls, servers: Endpoints, hub: RunningHub, tmp_path: Path
) -> None:
    assert (await run(empty, "restore", str(full))).code == 0
    shutil.copy(hub.service.settings.admin_token_path, tmp_path / "admin.token")
    async with running_hub(hub_settings(servers, empty, tmp_path)) as again:
        answer = await again.http.post(
            path("billing"),
            json={"config": {"n": 2, "big": 1e22, "text": 'ünï\u2028\\"\n'}, "mode": "merge", "reason": "why"},
            headers={"Idempotency-Key": "key-2"},
        )
        assert (answer.status_code, answer.json()["revision"]) == (200, 3)
        assert again.service.tail.snapshot.revision == 7


def names_in(directory: Path) -> list[str]:
    return [entry.name for entry in directory.iterdir()]


async def test_a_backup_is_private_and_names_itself_in_a_directory(
    full: Path, database: DatabaseUrls, tmp_path: Path
) -> None:
    taken = await run(database, "backup", str(tmp_path), "--json")
    assert taken.code == 0, taken.err
    (name,) = names_in(tmp_path)
    file = tmp_path / name
    assert taken.json["file"] == str(file)
    assert "-1.7." in name
    assert file.stat().st_mode & 0o777 == 0o600
    again = await run(database, "backup", str(file))
    assert again.code == 1
    assert "is there already" in again.err
    assert names_in(tmp_path) == [name]


async def test_a_backup_holds_no_key_and_no_token(full: Path, hub: RunningHub) -> None:
    text = json.dumps(lines_of(full))
    assert hub.token not in text
    assert "PRIVATE KEY" not in text
    assert "incarnation" not in text
    assert hub.service.settings.database_url is not None
    assert hub.service.settings.database_url.get_secret_value() not in text


async def test_nothing_is_restored_over_what_is_there(full: Path, database: DatabaseUrls) -> None:
    before = await tables_of(database)
    refused = await run(database, "restore", str(full))
    assert refused.code == 1
    assert "the database is not empty: it holds 7 revisions" in refused.err
    assert await tables_of(database) == before


async def test_a_database_that_was_only_migrated_is_empty(full: Path, empty: DatabaseUrls) -> None:
    assert (await run(empty, "migrate")).code == 0
    restored = await run(empty, "restore", str(full))
    assert restored.code == 0, restored.err
    assert "restored revision 1.7" in restored.out


async def test_a_backup_that_was_restored_before_begins_an_epoch_above_the_last(
    full: Path, empty: DatabaseUrls
) -> None:
    restored = await run(empty, "restore", str(full), "--above-epoch", "4", "--json")
    assert restored.json["restored_as"] == "5.7"


async def test_the_anchor_of_a_backup_is_that_of_the_log(full: Path, hub: RunningHub, empty: DatabaseUrls) -> None:
    log = await fetch(hub.http)
    anchor = f"{log.head}:{log.head_hash}"
    checked = await run(empty, "restore", str(full), "--check", "--anchor", anchor, "--json")
    assert (checked.code, checked.json["anchor"]) == (0, anchor), checked.err
    another = f"1.3:sha256:{'0' * 64}"
    refused = await run(empty, "restore", str(full), "--anchor", another)
    assert refused.code == 1
    assert "revision 3 does not have the hash of the anchor" in refused.err
    assert await is_without_tables(empty)


def renamed(lines: Rows) -> Rows:
    for line in lines:
        if line.get("service_configs", {}).get("environment") == "staging":
            line["service_configs"]["content"] = '{"n":10}'
    return lines


def without(table: str) -> Callable[[Rows], Rows]:
    return lambda lines: [line for line in lines if table not in line]


def edited(table: str, **values: Any) -> Callable[[Rows], Rows]:
    def edit(lines: Rows) -> Rows:
        rows = [line[table] for line in lines if table in line]
        rows[-1].update(values)
        return lines

    return edit


FORGERIES = [
    pytest.param(edited("config_audit_log", changed_by="mallory"), "do not give its recorded hash", id="who"),
    pytest.param(edited("config_contents", content='{"n":7}'), "another content", id="what"),
    pytest.param(without("config_audit_log"), "cut off or rewritten", id="no log"),
    pytest.param(without("redactions"), "missing or out of order", id="an entry is missing"),
    pytest.param(renamed, "is not what its last entry says", id="a document"),
    pytest.param(without("service_configs"), "is not what its last entry says", id="no documents"),
    pytest.param(without("hub_state"), "not what the first line says", id="no state"),
    pytest.param(edited("hub_state", epoch=0), "not what the first line says", id="state"),
    pytest.param(edited("tokens", secret="x"), "no table tokens with the columns", id="a column too many"),
    pytest.param(edited("tokens", created_at="never"), "tokens does not take its rows", id="a value of another type"),
    pytest.param(edited("tokens", name=None), "tokens does not take its rows", id="a value is missing"),
    pytest.param(lambda lines: [*lines[:-1], lines[-2], lines[-1]], "does not take its rows", id="a row twice"),
    pytest.param(lambda lines: [*lines[:-1], {"pg_authid": {"a": 1}}, lines[-1]], "no table pg_authid", id="table"),
    pytest.param(lambda lines: [lines[0], {"x": 1}, *lines[1:]], "does not hold rows", id="no rows"),
    pytest.param(edited("config_contents", salt=7), "a row cannot be read", id="a salt of another type"),
    pytest.param(lambda lines: [lines[0] | {"schema_version": "9999"}, *lines[1:]], "does not know", id="newer tables"),
    pytest.param(lambda lines: [lines[0] | {"central_hub_backup": 2}, *lines[1:]], "in format 2", id="newer format"),
    pytest.param(lambda lines: [lines[0] | {"epoch": "1"}, *lines[1:]], "does not say what it is", id="manifest"),
    pytest.param(lambda lines: [{}, *lines[1:]], "is no backup", id="no manifest"),
]


@pytest.mark.parametrize(("alter", "sentence"), FORGERIES)
async def test_a_forged_backup_is_refused_and_leaves_nothing(
    full: Path, empty: DatabaseUrls, tmp_path: Path, alter: Callable[[Rows], Rows], sentence: str
) -> None:
    forged = tmp_path / "forged.gz"
    forge(forged, alter(lines_of(full)))
    refused = await run(empty, "restore", str(forged))
    assert (refused.code, refused.out) == (1, ""), refused.err
    assert sentence in refused.err
    assert "Traceback" not in refused.err
    assert await is_without_tables(empty)


def is_refused(file: Path) -> bool:
    try:
        verify(Archive(file))
    except WrongBackup:
        return True
    return False


def says_the_same(version: bytes, plain: bytes) -> bool:
    """A bit that fills up a byte, or that no code uses, changes nothing that is compressed."""
    try:
        return gzip.decompress(version) == plain
    except (OSError, EOFError, zlib.error):
        return False


def test_a_damaged_file_is_refused_wherever_it_is_damaged(full: Path, tmp_path: Path) -> None:
    whole = full.read_bytes()
    plain = gzip.decompress(whole)
    damaged = tmp_path / "damaged.gz"
    lengths = range(0, len(whole), max(1, len(whole) // 150))
    flips = range(10, len(whole), max(1, len(whole) // 150))
    cuts = range(0, len(plain), max(1, len(plain) // 150))
    versions = [
        *(whole[:length] for length in lengths),
        *(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :] for at in flips),
        *(gzip.compress(plain[:length]) for length in cuts),
        *(gzip.compress(plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :]) for at in cuts),
        whole + b"x",
        whole + whole,
        gzip.compress(plain + b"{}\n"),
    ]
    for number, version in enumerate(versions):
        damaged.write_bytes(version)
        assert is_refused(damaged) or says_the_same(version, plain), f"version {number} was taken for whole"


async def test_a_file_that_is_not_there_is_named(empty: DatabaseUrls, tmp_path: Path) -> None:
    refused = await run(empty, "restore", str(tmp_path / "nothing.gz"))
    assert refused.code == 2
    assert "nothing.gz" in refused.err
    unwritable = await run(empty, "backup", str(tmp_path / "no-such-directory" / "x.gz"))
    assert unwritable.code != 0
    assert "Traceback" not in unwritable.err


async def test_a_store_that_does_not_verify_is_kept_and_said(
    start_hub: START, servers: Endpoints, service_name: str, tmp_path: Path
) -> None:
    database = await create_database(servers)
    hub = await start_hub(on=database)
    await hub.http.post(path(service_name), json={"config": {"n": 1}})
    connection = await asyncpg.connect(database.owner)
    await connection.execute("UPDATE config_audit_log SET changed_by = 'mallory'")
    await connection.close()
    file = tmp_path / "flawed.gz"
    taken = await run(database, "backup", str(file))
    assert taken.code == 1
    assert "does not verify" in taken.err
    assert "do not give its recorded hash" in taken.err
    assert file.exists()


async def columns_at(version: str, servers: Endpoints) -> dict[str, frozenset[str]]:
    """The tables as a hub of an earlier version had them."""
    owner = Database((await create_database(servers)).owner, pool_size=1)

    async def migrate(connection: AsyncConnection) -> dict[str, frozenset[str]]:
        await schema.migrate(connection, to=version)
        return await backup.columns(connection)

    try:
        return await owner.transaction(migrate)
    finally:
        await owner.close()


async def test_an_older_backup_is_brought_to_this_version(
    full: Path, empty: DatabaseUrls, servers: Endpoints, tmp_path: Path
) -> None:
    """As a hub wrote it before there were schemas."""
    first, *lines, end = lines_of(full)
    assert [line["config_audit_log"]["action"] for line in lines if "config_audit_log" in line][6:] == ["schema"]
    lines = [line for line in lines if line.get("config_audit_log", {}).get("action") != "schema"]
    last = [line["config_audit_log"] for line in lines if "config_audit_log" in line][-1]
    head = {"revision": 6, "audit_head": last["entry_hash"]}
    known = await columns_at("0002", servers)
    older: Rows = []
    for line in lines:
        line.get("hub_state", {}).update(head)
        tables = {name: row for name, row in line.items() if name in known}
        if tables:
            older.append({name: {key: row[key] for key in row if key in known[name]} for name, row in tables.items()})
    assert "service_schemas" not in known
    file = tmp_path / "older.gz"
    forge(file, [first | head | {"schema_version": "0002"}, *older, end])
    restored = await run(empty, "restore", str(file))
    assert restored.code == 0, restored.err
    connection = await asyncpg.connect(empty.owner)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == SCHEMA_VERSION
    assert await connection.fetchval("SELECT count(*) FROM service_schemas") == 0
    assert await connection.fetchval("SELECT count(*) FROM consumer_schemas") == 1
    await connection.close()


async def test_a_data_directory_is_backed_up_and_restored_whether_its_hub_runs_or_not(full: Path) -> None:
    with data_directory() as directory:
        restored = await run_program(("restore", str(full), "--data-dir", str(directory)), {})
        assert restored.code == 0, restored.err
        copy = directory.parent / "copy.gz"
        taken = await run_program(("backup", str(copy), "--data-dir", str(directory), "--json"), {})
        assert (taken.code, taken.json["epoch"], taken.json["revision"]) == (0, 2, 7), taken.err
        again = await run_program(("restore", str(copy), "--data-dir", str(directory)), {})
        assert again.code == 1
        assert "is not empty" in again.err
        nothing = await run_program(("backup", str(copy), "--data-dir", str(directory / "none")), {})
        assert nothing.code == 2
        assert not (directory / "none").exists()
        hub = await asyncio.create_subprocess_exec(
            *(PROGRAM, "up", "--port", "0", "--data-dir", str(directory)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert hub.stdout is not None
            async with asyncio.timeout(60):
                assert b"listens" in await hub.stdout.readline()
                said = b"".join([await hub.stdout.readline() for _ in range(3)])
            assert b"infrastructure  none: let CENTRAL_HUB_INFRASTRUCTURE_FILE name its file" in said
            running = await run_program(("backup", str(directory.parent), "--data-dir", str(directory)), {})
            assert running.code == 0, running.err
            refused = await run_program(("restore", str(copy), "--data-dir", str(directory)), {})
            assert (refused.code, "another hub" in refused.err) == (2, True), refused.err
            billing = await run_program(("get", "billing", "--data-dir", str(directory), "--json"), {})
            assert billing.code == 0, billing.err
        finally:
            hub.terminate()
            await hub.wait()
