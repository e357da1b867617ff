"""`audit trim`: what a policy does not keep is gone, and nothing that is live or that something refers to."""

import asyncio
import base64
import random
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from central_hub import process
from central_hub.audit import anchors
from central_hub.config import diff
from central_hub.connections.database import Database
from central_hub.embedded import Endpoints
from central_hub.security.signing import SigningKey
from central_hub.storage import configs
from central_hub.storage.config_values import Action, DocumentChange, Draft, Kind
from tests.conftest import DatabaseUrls, RunningHub, create_database, hub_settings, running_hub
from tests.faults import audit_log
from tests.integration.instances import beat, register
from tests.integration.test_cli import Result, run_program
from tests.integration.test_config_documents import path

DAYS_KEPT = 30
LATEST_KEPT = 3
SERVICES = ("_global", "billing", "search")
ENVIRONMENTS = ("default", "staging")
REVISIONS = 120

Key = tuple[Kind, str, str]


class Past:
    """A history over a year, written as a hub would have written it at the time."""

    def __init__(self, rng: random.Random, now: datetime) -> None:
        self.entries: list[tuple[Key, datetime]] = []
        """By revision, from 1: what was changed, and when."""
        self._rng = rng
        self.now = now
        self._held: dict[Key, dict[str, Any]] = {}
        self._revisions: dict[Key, int] = {}

    async def write(self, database: DatabaseUrls) -> None:
        store = Database(database.running, pool_size=1)
        # Never near the edge of what is kept: a test takes its time.
        hours = sorted((self._rng.randrange(365) * 24 + 12 for _ in range(REVISIONS)), reverse=True)
        drafts = [self._draft(self.now - timedelta(hours=hour)) for hour in hours]

        async def save(connection: Any) -> None:
            await configs.lock(connection)
            for draft in drafts:
                await configs.save(connection, await configs.head(connection), [draft])

        await store.transaction(save)
        await store.close()

    def removable(self) -> set[int]:
        """The revisions whose content the policy does not keep, but for what refers to them."""
        since = self.now - timedelta(days=DAYS_KEPT)
        found = set()
        for key in {key for key, _ in self.entries}:
            mine = [(revision, at) for revision, (of, at) in enumerate(self.entries, 1) if of == key]
            for (revision, _), (_, superseded_at) in list(pairwise(mine))[: -LATEST_KEPT + 1]:
                if superseded_at < since:
                    found.add(revision)
        return found

    def in_force_at(self, revision: int, service: str, environment: str) -> set[int]:
        """The revisions that made up a config, and its schema, when `revision` was the last."""
        keys = [
            (kind, name, where) for kind in Kind for name in ("_global", service) for where in ("default", environment)
        ]
        last = {key: number for number, (key, _) in enumerate(self.entries[:revision], 1)}
        return {last[key] for key in keys if key in last}

    @staticmethod
    async def log(hub: RunningHub) -> list[tuple[Key, datetime]]:
        """What the hub's log says that the entries were."""
        entries = [record.entry for record in (await audit_log.fetch(hub.http)).records]
        kinds = [Kind.SCHEMA if entry.action == Action.SCHEMA else Kind.DOCUMENT for entry in entries]
        return [
            ((kind, entry.service, entry.environment), entry.changed_at)
            for kind, entry in zip(kinds, entries, strict=True)
        ]

    def _draft(self, at: datetime) -> Draft:
        kind = self._rng.choices(list(Kind), [4, 1])[0]
        names = SERVICES if kind is Kind.DOCUMENT else SERVICES[1:]
        key = (kind, self._rng.choice(names), self._rng.choice(ENVIRONMENTS))
        old = self._held.get(key, {})
        new = self._changed(old) if kind is Kind.DOCUMENT else {"title": secrets.token_hex(4)}
        self.entries.append((key, at))
        change = DocumentChange(
            service=key[1],
            environment=key[2],
            config=new,
            action=Action.SCHEMA if kind is Kind.SCHEMA else Action.UPDATED if old else Action.CREATED,
            version=f"1.{len(self.entries)}",
            changes=diff.changes(old, new),
            previous_revision=self._revisions.get(key),
            reason="because",
        )
        self._held[key], self._revisions[key] = new, len(self.entries)
        return Draft((change,), (secrets.token_bytes(16),), at, self._rng.choice(["alice", "bob"]))

    def _changed(self, old: dict[str, Any]) -> dict[str, Any]:
        part = self._rng.choice(["a", "b", "c"])
        inner = {**old.get(part, {}), self._rng.choice(["x", "y"]): secrets.token_hex(8)}
        return {**old, part: inner, "ü\n": 1e22}


@dataclass(frozen=True)
class Hub:
    """A hub with a year behind it, and who may trim that."""

    running: RunningHub
    past: Past
    database: DatabaseUrls
    data_dir: Path

    async def run(self, *arguments: str, **environment: str) -> Result:
        return await run_program(arguments, self._environment() | environment)

    async def trim(self, *arguments: str) -> Result:
        kept = ("--older-than", str(DAYS_KEPT), "--keep", str(LATEST_KEPT))
        return await self.run("audit", "trim", *kept, *arguments)

    async def as_owner(self, query: str, *values: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database.owner)
        try:
            return await connection.fetch(query, *values)
        finally:
            await connection.close()

    async def removed(self) -> set[int]:
        found = await self.as_owner("SELECT revision FROM config_contents WHERE content IS NULL AND salt IS NULL")
        return {row["revision"] for row in found}

    async def tells(self) -> dict[str, Any]:
        """All configs as they are, and as they were since what is kept begins, with who set what."""
        since = self.past.now - timedelta(days=DAYS_KEPT)
        moments = ["", *((since + timedelta(days=day, minutes=1)).isoformat() for day in range(0, DAYS_KEPT, 4))]
        found = {}
        for service in SERVICES:
            for environment in ENVIRONMENTS:
                for moment in moments:
                    query = {"environment": environment, "blame": "true"} | ({"at": moment} if moment else {})
                    answer = await self.running.http.get(path(service), params=query)
                    found[service, environment, moment] = answer.status_code, answer.json()
        return found

    def _environment(self) -> dict[str, str]:
        return {
            "CENTRAL_HUB_URL": self.running.url,
            "CENTRAL_HUB_TOKEN": self.running.token,
            "CENTRAL_HUB_DATABASE_URL": self.database.running,
            "CENTRAL_HUB_MIGRATION_DATABASE_URL": self.database.owner,
            "CENTRAL_HUB_DATA_DIR": str(self.data_dir),
        }


@pytest.fixture
def seed() -> int:
    """Of the history; a test that takes its word from chance names more of them."""
    return 0


@pytest.fixture
async def aged(servers: Endpoints, tmp_path: Path, seed: int) -> AsyncIterator[Hub]:
    database = await create_database(servers)
    settings = hub_settings(servers, database, tmp_path)
    await process.migrate(settings)
    past = Past(random.Random(seed), datetime.now(UTC).replace(microsecond=0))
    await past.write(database)
    async with running_hub(settings) as running:
        yield Hub(running, past, database, tmp_path)


@pytest.mark.parametrize("seed", range(2))
async def test_what_is_not_kept_is_gone_and_all_that_may_be_asked_for_is_answered_as_before(aged: Hub) -> None:
    before = await aged.tells()
    expected = aged.past.removable()
    assert 20 < len(expected) < REVISIONS
    trimmed = await aged.trim("--yes", "--json")
    assert trimmed.code == 0, trimmed.err
    assert trimmed.json["removed"] == len(expected)
    assert await aged.removed() == expected
    assert await aged.tells() == before
    assert await aged.past.log(aged.running) == aged.past.entries
    again = await aged.trim("--yes", "--json")
    assert (again.code, again.json["removed"]) == (0, 0)
    # The log goes on, and verifies.
    answer = await aged.running.http.post(path("billing"), json={"config": {"n": 1}, "mode": "merge"})
    assert answer.json()["revision"] == REVISIONS + 1
    verified = await aged.run("audit", "verify", "--anchors", trimmed.json["anchors"], "--json")
    assert (verified.code, verified.json["redacted"]) == (0, len(expected)), verified.err
    backup = await aged.run("backup", str(aged.data_dir / "backup.gz"))
    assert backup.code == 0, backup.err


async def test_who_changed_which_key_stays_known_without_the_values(aged: Hub) -> None:
    assert (await aged.trim("--yes")).code == 0
    gone = next(
        revision
        for revision in sorted(aged.past.removable(), reverse=True)
        if aged.past.entries[revision - 1][0] == (Kind.DOCUMENT, "billing", "default")
    )
    answer = await aged.running.http.get(path("billing"), params={"at": str(gone), "own": "true"})
    assert (answer.status_code, answer.json()["code"]) == (410, "history_gone")
    history = await aged.run("history", "billing", "--limit", "200", "--json")
    (entry,) = [entry for entry in history.json["history"] if entry["revision"] == gone]
    assert entry["changed_by"] in {"alice", "bob"}
    assert entry["redacted"]
    assert entry["changes"] != []
    assert all(change.keys() == {"op", "path"} for change in entry["changes"])
    table = await aged.run("history", "billing", "--limit", "200")
    assert table.out.count("ü") > 0
    (record,) = await aged.as_owner("SELECT * FROM redactions WHERE revision = $1", gone)
    assert record["reason"].startswith("retention: replaced before")
    assert record["redacted_by"].endswith(", as central_hub_owner")


async def test_what_something_refers_to_stays(aged: Hub) -> None:
    removable = sorted(aged.past.removable())
    applied, rejected, answered = removable[5], removable[-5], removable[len(removable) // 2]
    instance = await register(aged.running.http, "billing", environment="staging")
    answer = await beat(
        aged.running.http,
        instance,
        applied={"epoch": 1, "revision": applied},
        rejected={"epoch": 1, "revision": rejected, "reason": "no"},
    )
    assert answer.status_code == 200, answer.text
    async with asyncio.timeout(20):
        written = "SELECT FROM instances WHERE applied_revision IS NOT NULL"
        while not await aged.as_owner(written):  # noqa: ASYNC110 - what is waited for is in the database
            await asyncio.sleep(0.1)
    await aged.as_owner(
        "INSERT INTO idempotency_keys (token_id, key, request_hash, revision, response, etag, created_at)"
        " VALUES ('t', 'k', 'h', $1, '{}', '', now())",
        answered,
    )
    referenced = {answered}
    for revision in (applied, rejected):
        referenced |= aged.past.in_force_at(revision, "billing", "staging")
    expected = aged.past.removable() - referenced
    assert len(expected) < len(removable) - 1
    assert (await aged.trim("--yes")).code == 0
    assert await aged.removed() == expected
    for revision in (applied, rejected):
        then = await aged.running.http.get(path("billing"), params={"environment": "staging", "at": str(revision)})
        assert then.status_code in (200, 404), then.text


async def test_a_dry_run_and_a_pipe_that_cannot_agree_remove_nothing(aged: Hub) -> None:
    dry = await aged.trim("--dry-run", "--json")
    assert dry.code == 0, dry.err
    assert dry.json["would_remove"]["contents"] == len(aged.past.removable())
    asked = await aged.trim()
    assert (asked.code, "--yes" in asked.err) == (2, True)
    assert await aged.removed() == set()
    assert not (aged.data_dir / "audit.anchors").exists()


async def test_a_trim_leaves_an_anchor_that_is_signed_by_the_hub(aged: Hub) -> None:
    log = await audit_log.fetch(aged.running.http)
    assert (await aged.trim("--yes")).code == 0
    file = aged.data_dir / "audit.anchors"
    assert file.stat().st_mode & 0o777 == 0o600
    key = (aged.data_dir / "signing.pub").read_text().strip()
    assert anchors.parse(file.read_text(), signed_by=[base64.b64decode(key)]) == [log.anchor()]
    signed = ("audit", "verify", "--anchors", str(file), "--signed-by")
    assert (await aged.run(*signed, key)).code == 0
    stranger = SigningKey.load_or_create(aged.data_dir / "another.key")
    other = await aged.run(*signed, base64.b64encode(stranger.public_key).decode())
    assert (other.code, "signed by another key" in other.err) == (2, True), other.err


async def test_a_log_that_does_not_verify_is_left_as_it_is(aged: Hub) -> None:
    assert (await aged.run("audit", "trim", "--older-than", "300", "--keep", "3", "--yes")).code == 0
    before = await aged.removed()
    assert before < aged.past.removable()
    log = await audit_log.fetch(aged.running.http)
    last = replace(log.records[-1].entry, changed_by="mallory")
    await aged.as_owner(
        "UPDATE config_audit_log SET changed_by = 'mallory', entry_hash = $1 WHERE revision = $2", last.hash, REVISIONS
    )
    await aged.as_owner("UPDATE hub_state SET audit_head = $1", last.hash)
    # All is in order again, but for the anchor of the first time.
    assert (await aged.run("audit", "verify")).code == 0
    refused = await aged.trim("--yes")
    assert refused.code == 1
    assert "what is there is evidence" in refused.err
    assert "does not have the hash of the anchor" in refused.err
    assert await aged.removed() == before


async def test_the_running_role_cannot_trim(aged: Hub) -> None:
    refused = await aged.run(
        *("audit", "trim", "--older-than", "30", "--yes"), CENTRAL_HUB_MIGRATION_DATABASE_URL=aged.database.running
    )
    assert (refused.code, "may not change the audit log" in refused.err) == (2, True), refused.err
    assert not (aged.data_dir / "audit.anchors").exists()
    assert await aged.removed() == set()
