"""Start the service: connections from the environment, everything else live from the hub, or from safe defaults."""

import asyncio
import os
import sys
from typing import Any, Final

from central_hub_client import ConfigManager, InstanceDescription
from central_hub_client.base_service import BaseService, PartFailed

from . import events, health, status_page
from .bars import BarStore
from .downloader import Downloader
from .environment import Connection, MissingEnvironment
from .live_settings import LiveSettings
from .polygon_api import PolygonApi
from .settings import Settings
from .status_page import StatusPage
from .traffic import Traffic

SERVICE: Final = "polygon-historical-downloader"
VERSION: Final = "1.0"
DRAIN_SECONDS: Final = 25.0
"""Shorter than what Kubernetes allows: the pages in hand are finished and stored."""


class PolygonHistoricalDownloader(BaseService[Settings]):
    """Configuration, database and API, in this order, and what is done with them."""

    def __init__(self, connection: Connection) -> None:
        # The model's defaults are what it runs on where no hub has ever answered.
        config = ConfigManager(SERVICE, Settings, config_dir=None, register=_description(connection.status_port))
        super().__init__(config, drain_seconds=DRAIN_SECONDS)
        events.configure(self.config.current.logging)
        self._connection = connection
        self._bars = self.add(BarStore(connection.database))
        self._api = self.add(PolygonApi(connection.base_url, connection.api_key))
        if connection.status_port is not None:
            self.add(StatusPage(connection.status_port, lambda: self.readiness, self._status))

    async def work(self) -> None:
        live = LiveSettings(self.config)
        events.configure(live.current.settings.logging)
        live.on_change(lambda _, new: events.configure(new.logging))
        traffic = Traffic(live)
        downloader = Downloader(live, traffic, self._api, self._bars)
        connection = self._connection
        events.info("started", api=connection.base_url, database=str(connection.database), **live.current.stamp)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(health.watch(live, traffic, self._api, self._bars))
            tasks.create_task(downloader.run())
            await self.draining.wait()
            downloader.stop()
        events.info("stopped", bars=await self._bars.count(), **live.current.stamp)

    def _status(self) -> dict[str, Any]:
        manager = self.config.status
        return {"service": SERVICE, "process": os.getpid(), "revision": manager.revision, "source": manager.source}


def _description(port: int | None) -> InstanceDescription:
    """How others reach it: the hub looks after whoever says so."""
    if port is None:
        return InstanceDescription(version=VERSION)
    return InstanceDescription(
        host=status_page.HOST, port=port, protocol="http", health_endpoint=status_page.READY, version=VERSION
    )


def main() -> None:
    try:
        connection = Connection.from_environment()
    except MissingEnvironment as error:
        sys.exit(str(error))
    try:
        PolygonHistoricalDownloader(connection).main()
    except PartFailed as failure:
        sys.exit(f"{failure} ({failure.__cause__})")


main()
