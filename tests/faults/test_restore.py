"""G16: a backup taken under load is a prefix of the history; a restore is all or nothing, and everybody follows it."""

import asyncio
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from pydantic import BaseModel

from central_hub.embedded import Endpoints
from central_hub_client import ConfigClient, ConfigManager
from central_hub_client.wire import Position
from tests.conftest import DatabaseUrls, RunningHub, create_database
from tests.faults import audit_log, checks
from tests.faults.report import report
from tests.faults.restoring import STEPS
from tests.faults.test_replaced_store import Store, accepted, client_of, read, until_reads, write
from tests.faults.watchers import Watcher, following
from tests.integration.test_cli import run_program
from tests.wire.waiting import until

START = Callable[..., Awaitable[RunningHub]]


class Settings(BaseModel, frozen=True):
    n: int = 0


def urls(database: DatabaseUrls) -> dict[str, str]:
    return {
        "CENTRAL_HUB_DATABASE_URL": database.running,
        "CENTRAL_HUB_MIGRATION_DATABASE_URL": database.owner,
    }


async def back_up(database: DatabaseUrls, file: Path) -> Position:
    done = await run_program(("backup", str(file), "--json"), urls(database))
    assert done.code == 0, done.err
    return Position(done.json["epoch"], done.json["revision"])


async def restore(database: DatabaseUrls, file: Path) -> Position:
    done = await run_program(("restore", str(file), "--json"), urls(database))
    assert done.code == 0, done.err
    return Position.parse(done.json["restored_as"], current_epoch=0)


async def is_empty(database: DatabaseUrls) -> bool:
    connection = await asyncpg.connect(database.owner)
    tables: int = await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return tables == 0


async def until_nobody_is_connected(database: DatabaseUrls) -> None:
    """The server notices a dead client in its own time, and ends what the client had begun."""
    connection = await asyncpg.connect(database.owner)
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )
    async with asyncio.timeout(20):
        while await connection.fetchval(others):  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.05)
    await connection.close()


async def test_backups_under_load_restore_to_prefixes_of_the_history(
    start_hub: START, servers: Endpoints, service_name: str, tmp_path: Path, seed: int
) -> None:
    database = await create_database(servers)
    hub = await start_hub(on=database)
    acknowledged: list[int] = []
    stop = asyncio.Event()

    async def keep_writing(writer: int) -> None:
        number = 0
        while not stop.is_set():
            answer = await write(hub, f"{service_name}-{writer}", {"n": number})
            assert answer.status_code == 200, answer.text
            acknowledged.append(answer.json()["revision"])
            number += 1

    files = [tmp_path / f"{number}.gz" for number in range(3)]
    async with asyncio.TaskGroup() as group:
        for writer in range(8):
            group.create_task(keep_writing(writer))
        known, positions = [], []
        for file in files:
            before = len(acknowledged)
            await until(lambda before=before: len(acknowledged) > before + 20)  # type: ignore[misc]
            known.append(max(acknowledged))
            positions.append(await back_up(database, file))
        stop.set()
    whole = await audit_log.fetch(hub.http)
    for file, position, at_least in zip(files, positions, known, strict=True):
        # What was acknowledged before the backup began is in it.
        assert at_least <= position.revision <= whole.head.revision
        again = await create_database(servers)
        assert await restore(again, file) == Position(2, position.revision)
        restored = await start_hub(on=again)
        log = await audit_log.fetch(restored.http)
        assert checks.log_violations(log) == []
        assert log.records == [record for record in whole.records if record.entry.revision <= position.revision]
        for writer in range(8):
            expected = checks.History(whole).effective(f"{service_name}-{writer}", "default", position.revision)
            assert await read(restored, f"{service_name}-{writer}") == (expected, False)
    report("backups under eight writers", seed=seed, backups=len(files), acknowledged=len(acknowledged), lost=0)


async def test_a_restore_takes_hubs_and_services_along_and_nobody_keeps_what_was_lost(
    start_hub: START, servers: Endpoints, service_name: str, tmp_path: Path, rng: random.Random, seed: int
) -> None:
    database = await create_database(servers)
    store = Store(servers, database)
    hubs = [await start_hub(on=database) for _ in range(2)]
    await accepted(hubs[0], service_name, {"n": 1})
    taken = await back_up(database, tmp_path / "backup.gz")
    lost = f"{service_name}-lost"
    await accepted(hubs[0], lost, {"n": 9})
    for n in (2, 3):
        await accepted(hubs[0], service_name, {"n": n})
    token = await hubs[0].new_token()  # it is lost as well
    watchers = [Watcher([hub.http], rng, [service_name]) for hub in hubs]
    manager = ConfigManager(service_name, Settings, hub=client_of(hubs[1], service_name, tmp_path / "manager"))
    for hub in hubs:
        await until_reads(hub, service_name, {"n": 3}, stale=False)
    async with (
        following(*watchers),
        client_of(hubs[0], service_name, tmp_path / "client") as client,
        client_of(hubs[0], lost, tmp_path / "lost") as of_the_lost,
        manager,
    ):
        await until(lambda: client.get_value("n") == 3 and manager.current.n == 3)
        await until(lambda: of_the_lost.get_value("n") == 9)
        await put_in_the_place_of(store, servers, tmp_path / "backup.gz")
        for hub in hubs:
            await until_reads(hub, service_name, {"n": 1}, stale=False)
        await until(lambda: client.get_value("n") == 1 and manager.current.n == 1)
        assert (client.status.epoch, client.status.revision) == (2, taken.revision)
        assert (manager.status.epoch, manager.status.revision) == (2, taken.revision)
        # Of its service there is nothing any more: a 404 takes nothing away from it, but is told of.
        await until(lambda: of_the_lost.status.error_code == "not_found")
        for hub in hubs:
            assert (await hub.http.get(f"/api/v1/config/{lost}")).status_code == 404
            async with hub.client(token) as http:
                assert (await http.get(f"/api/v1/config/{service_name}")).status_code == 401
        # The very revision that was lost is given out again, with another content.
        position = await accepted(hubs[1], service_name, {"n": 5})
        assert position == Position(2, taken.revision + 1)
        await until(lambda: client.get_value("n") == 5 and manager.current.n == 5)
        for watcher in watchers:
            await watcher.reaches(position)
        await accepted(hubs[0], lost, {"n": 11})
        await until(lambda: of_the_lost.get_value("n") == 11)
    # Neither does it come back from the disk.
    for cache in ("client", "manager"):
        client = ConfigClient(service_name, "http://127.0.0.1:9", cache_dir=tmp_path / cache, safe_defaults={})
        await client.init_async()
        assert client.get_value("n") == 5
        await client.shutdown()
    assert checks.log_violations(await audit_log.fetch(hubs[0].http)) == []
    report("a restore under live hubs and services", faults=1, seed=seed, lost_revisions=3, kept=0)


async def put_in_the_place_of(store: Store, servers: Endpoints, file: Path) -> None:
    """Restore into a new database, and give it the name that hubs know."""
    fresh = await create_database(servers)
    await restore(fresh, file)
    await store.take(fresh)


@pytest.mark.parametrize("step", STEPS)
async def test_a_restore_that_is_killed_leaves_an_empty_database_or_all_of_it(
    backup_file: Path, servers: Endpoints, step: str, seed: int
) -> None:
    database = await create_database(servers)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.restoring", str(backup_file), step),
        env=urls(database),
        cwd=Path(__file__).parents[2],
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, said = await child.communicate()
    assert child.returncode == -signal.SIGKILL, said.decode()
    await until_nobody_is_connected(database)
    report(f"a restore killed {step.replace('_', ' ')}", faults=1, seed=seed)
    if step == "after_committing":
        refused = await run_program(("restore", str(backup_file)), urls(database))
        assert (refused.code, "is not empty" in refused.err) == (1, True)
    else:
        assert await is_empty(database)
        assert await restore(database, backup_file) == Position(2, 3)


@pytest.fixture(scope="module")
async def backup_file(hub: RunningHub, database: DatabaseUrls, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for n in range(3):
        await accepted(hub, "billing", {"n": n})
    file = tmp_path_factory.mktemp("backup") / "backup.gz"
    await back_up(database, file)
    return file


async def test_two_restores_at_once_are_one(backup_file: Path, servers: Endpoints, seed: int) -> None:
    database = await create_database(servers)
    arguments = ("restore", str(backup_file))
    results = await asyncio.gather(*(run_program(arguments, urls(database)) for _ in range(2)))
    assert sorted(result.code for result in results) == [0, 1], results
    assert "is not empty" in "".join(result.err for result in results)
    report("two restores at once", faults=0, seed=seed)
