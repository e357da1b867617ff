"""PostgreSQL and NATS for one data directory, started, kept running and stopped in order. Start reading here."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from central_hub.embedded import nats, postgres
from central_hub.embedded.binaries import find_nats_server, find_postgres
from central_hub.embedded.directory import DataDirectory
from central_hub.errors import StartupRefused


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the servers are. The same at every start on one data directory."""

    database_url: str = field(repr=False)
    """PostgreSQL as the role that runs: what `database.url` says."""
    migration_database_url: str = field(repr=False)
    """PostgreSQL as the owner, who may do anything: what `database.owner.url` says."""
    nats_url: str = field(repr=False)
    """NATS with the hub's credentials: what `nats.url` says."""
    nats_client_url: str = field(repr=False)
    """NATS with the credentials of the fleet, which may listen: what `nats.client.url` says."""


class EmbeddedServers:
    """The servers of a data directory. While they run, no other hub can use it."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = DataDirectory(data_dir)
        self._running = AsyncExitStack()

    async def start(self) -> Endpoints:
        """Start both and return when they answer. Raises StartupRefused, and nothing is left running then."""
        try:
            return await self._start()
        except OSError as error:
            await self.stop()
            raise StartupRefused(
                f"the data directory {self._directory.path} cannot be used: {error.strerror or error}"
                f" ({error.filename or type(error).__name__})"
            ) from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop NATS, then PostgreSQL, wait for each to end, and give the data directory up."""
        await self._running.aclose()

    async def _start(self) -> Endpoints:
        directory = self._directory
        installation, nats_server = find_postgres(), find_nats_server()
        self._running.push(self._release)
        directory.take()
        if directory.was_left_running:
            await nats.end_leftovers(directory)
            await postgres.end_leftovers(directory)
        directory.note_running()

        database_url, owner_url = await postgres.start(directory, installation, self._running)
        nats_url, client_url = await nats.start(directory, nats_server, self._running)
        return Endpoints(database_url, owner_url, nats_url, client_url)

    def _release(self, error_type: type[BaseException] | None, *_: object) -> None:
        self._directory.release(servers_ended=error_type is None)
