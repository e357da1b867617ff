"""G16: the store comes back on another timeline or another server, behind the hub's back: a new epoch tells of it."""

import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from central_hub.embedded import EmbeddedServers, Endpoints
from central_hub.embedded.binaries import find_postgres
from central_hub_client.wire import Position
from tests.conftest import DatabaseUrls, hub_settings, running_hub
from tests.faults import audit_log, checks
from tests.faults.report import report
from tests.faults.test_replaced_store import accepted, client_of, until_reads
from tests.wire.waiting import until


class Cluster:
    """PostgreSQL and NATS of one's own, in a directory that can be tampered with while they are stopped."""

    def __init__(self, data_dir: Path) -> None:
        self._files = data_dir / "postgres"
        self._kept = data_dir / "postgres.kept"
        self._servers = EmbeddedServers(data_dir)

    async def start(self) -> Endpoints:
        return await self._servers.start()

    async def stop(self) -> None:
        await self._servers.stop()

    def keep(self) -> None:
        """Make a base backup."""
        subprocess.run(["cp", "-a", self._files, self._kept], check=True)

    def go_back(self) -> None:
        """Put the base backup in the place of what there is."""
        self._files.rename(self._files.with_name("postgres.lost"))
        self._kept.rename(self._files)

    def recover(self) -> None:
        """As a standby that is promoted, or a recovery to a point in time: the next start begins a new timeline."""
        with (self._files / "postgresql.auto.conf").open("a") as settings:
            settings.write("restore_command = 'false'\n")
        signal = self._files / "recovery.signal"
        signal.touch()
        os.chown(signal, self._files.stat().st_uid, self._files.stat().st_gid)


@asynccontextmanager
async def own_cluster() -> AsyncIterator[Cluster]:
    # Not pytest's own directory: as root the servers run as another user, who could not pass through it.
    with tempfile.TemporaryDirectory(prefix="central-hub-test-") as directory:
        cluster = Cluster(Path(directory))
        try:
            yield cluster
        finally:
            await cluster.stop()


def database_of(servers: Endpoints) -> DatabaseUrls:
    return DatabaseUrls(servers.database_url, servers.migration_database_url)


async def epoch_and_timeline(servers: Endpoints) -> tuple[int, int]:
    """What the store records of itself."""
    connection = await asyncpg.connect(servers.migration_database_url)
    row = await connection.fetchrow("SELECT epoch, timeline FROM hub_state")
    await connection.close()
    assert row is not None
    return row["epoch"], row["timeline"]


@pytest.mark.parametrize("lost", [0, 1])
async def test_a_failover_under_a_live_hub_begins_a_new_epoch_whether_something_was_lost_or_not(
    lost: int, service_name: str, tmp_path: Path, seed: int
) -> None:
    async with own_cluster() as cluster:
        servers = await cluster.start()
        async with running_hub(hub_settings(servers, database_of(servers), tmp_path / "hub")) as hub:
            assert await accepted(hub, service_name, {"n": 1}) == Position(1, 1)
            if lost:
                await cluster.stop()
                cluster.keep()
                await cluster.start()
                assert await accepted(hub, service_name, {"n": 2}) == Position(1, 2)
            async with client_of(hub, service_name, tmp_path / "cache") as client:
                await until(lambda: client.get_value("n") == 1 + lost)
                await cluster.stop()
                await until(lambda: hub.service.tail.is_stale)
                if lost:
                    cluster.go_back()
                cluster.recover()
                await cluster.start()
                await until_reads(hub, service_name, {"n": 1}, stale=False)
                await until(lambda: (client.status.epoch, client.get_value("n")) == (2, 1), within=30)
                assert await epoch_and_timeline(servers) == (2, 2)
                assert await accepted(hub, service_name, {"n": 3}) == Position(2, 2)
                await until(lambda: client.get_value("n") == 3, within=30)
            assert hub.service.health().state == "healthy"
            assert checks.log_violations(await audit_log.fetch(hub.http)) == []
    report("a failover under a live hub", faults=1, seed=seed, lost_revisions=lost)


async def test_an_ordinary_restart_of_the_store_is_no_failover(service_name: str, tmp_path: Path, seed: int) -> None:
    async with own_cluster() as cluster:
        servers = await cluster.start()
        async with running_hub(hub_settings(servers, database_of(servers), tmp_path)) as hub:
            await accepted(hub, service_name, {"n": 1})
            await cluster.stop()
            await until(lambda: hub.service.tail.is_stale)
            await cluster.start()
            assert await accepted(hub, service_name, {"n": 2}) == Position(1, 2)
            assert await epoch_and_timeline(servers) == (1, 1)
    report("a restart of the store under a live hub", faults=1, seed=seed)


async def test_a_dump_restored_on_another_server_is_noticed_by_the_hub_that_starts_on_it(
    service_name: str, tmp_path: Path, seed: int
) -> None:
    cache = tmp_path / "cache"
    async with own_cluster() as first, own_cluster() as second:
        servers = await first.start()
        async with running_hub(hub_settings(servers, database_of(servers), tmp_path / "one")) as hub:
            await accepted(hub, service_name, {"n": 1})
            dump = tmp_path / "dump.sql"
            run("pg_dump", f"--dbname={servers.migration_database_url}", f"--file={dump}")
            await accepted(hub, service_name, {"n": 2})
            async with client_of(hub, service_name, cache) as client:
                await until(lambda: client.get_value("n") == 2)
        elsewhere = await second.start()
        run(
            "psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={elsewhere.migration_database_url}", f"--file={dump}"
        )
        settings = hub_settings(elsewhere, database_of(elsewhere), tmp_path / "two")
        settings.admin_token_path.parent.mkdir()
        settings.admin_token_path.write_text(hub.token)
        async with running_hub(settings) as again:
            assert await epoch_and_timeline(elsewhere) == (2, 1)
            # What was lost does not come back from the disk of who held it.
            async with client_of(again, service_name, cache) as client:
                await until(lambda: (client.status.epoch, client.get_value("n")) == (2, 1))
                assert await accepted(again, service_name, {"n": 3}) == Position(2, 2)
                await until(lambda: client.get_value("n") == 3)
            assert checks.log_violations(await audit_log.fetch(again.http)) == []
    report("a dump is restored on another server", faults=1, seed=seed, lost_revisions=1)


def run(program: str, *arguments: str) -> None:
    done = subprocess.run([find_postgres().programs / program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
