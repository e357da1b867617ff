"""The tests tested: hubs with planted faults, and the checks that find nothing wrong with the real one find them."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from central_hub.config.commit_queue import CommitQueue
from central_hub.config.tail import Tail
from central_hub.embedded import Endpoints
from central_hub.errors import HubError
from central_hub.storage import config_values, configs
from tests.conftest import DatabaseUrls, RunningHub, create_database
from tests.faults import checks
from tests.faults.test_order import observe

START = Callable[..., Awaitable[RunningHub]]
WRITES = 150


@pytest.fixture
async def fresh(servers: Endpoints) -> DatabaseUrls:
    """A database that the hub without a fault has not seen."""
    return await create_database(servers)


async def test_a_sequence_in_place_of_the_counter_is_found(
    start_hub: START, fresh: DatabaseUrls, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    replicas = [await start_hub(on=fresh) for _ in range(2)]
    owner = await asyncpg.connect(fresh.owner)
    await owner.execute("CREATE SEQUENCE revisions; GRANT USAGE, SELECT ON SEQUENCE revisions TO PUBLIC")
    await owner.close()
    save = configs.save

    async def commit_at_once(queue: CommitQueue[Any, Any], item: Any) -> Any:
        [result] = await queue._commit_all([item])
        if isinstance(result, HubError):
            raise result
        return result

    async def take_no_turns(_connection: Any) -> None:
        return

    async def save_with_a_sequence(connection: Any, current: config_values.Head, *arguments: Any, **named: Any) -> Any:
        revision = await connection.scalar(sa.text("SELECT nextval('revisions')"))
        # Between taking a number and committing, others commit: rarely by itself, often enough with a pause.
        await asyncio.sleep(rng.uniform(0, 0.02))
        commit = await save(connection, replace(current, revision=revision - 1), *arguments, **named)
        await connection.execute(
            sa.text("UPDATE hub_state SET revision = greatest(revision, (SELECT last_value FROM revisions))")
        )
        return commit

    monkeypatch.setattr(CommitQueue, "commit", commit_at_once)
    monkeypatch.setattr(configs, "lock", take_no_turns)
    monkeypatch.setattr(configs, "save", save_with_a_sequence)
    # Without turns the log ends elsewhere than a writer thinks, and the hub would fence itself: found too soon.
    monkeypatch.setattr(Tail, "check_history", lambda *_: None)
    observed = await observe(replicas, rng, writes=WRITES, name="sequence")
    missed = [violation for reader in observed.readers for violation in checks.reader_violations(observed.log, reader)]
    assert any("missed" in violation for violation in missed)


async def test_a_tail_that_trusts_hints_is_found(
    start_hub: START, fresh: DatabaseUrls, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    replicas = [await start_hub(on=fresh) for _ in range(2)]

    async def apply_whatever_comes(tail: Tail) -> bool:
        # The real one takes a commit only if it is `applied + 1`, and reads what lies between from the log.
        if not tail._own_commits:
            return False
        commit = tail._own_commits.pop(min(tail._own_commits))
        if commit.revision > tail.snapshot.revision:
            await tail._apply(commit)
        return True

    monkeypatch.setattr(Tail, "_apply_own", apply_whatever_comes)
    observed = await observe(replicas, rng, writes=WRITES, name="trusting")
    # Not only in the end, when a later write may have covered what was skipped: the watchers saw it all along.
    assert any("should be at" in violation for violation in observed.violations())
