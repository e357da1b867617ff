"""Start the service: connections from the environment, everything else live from the hub, or from safe defaults."""

import asyncio
import signal
import sys

from central_hub_client import ConfigManager

from . import events, health
from .bars import BarStore
from .downloader import Downloader
from .environment import Connection, MissingEnvironment
from .live_settings import LiveSettings
from .polygon_api import PolygonApi
from .settings import Settings
from .traffic import Traffic

SERVICE = "polygon-historical-downloader"


async def serve(connection: Connection) -> None:
    """Run until SIGTERM or SIGINT; the pages in hand are finished and stored."""
    # The model's defaults are what it runs on where no hub has ever answered.
    manager = ConfigManager(SERVICE, Settings, config_dir=None)
    events.configure(manager.current.logging)
    api = PolygonApi(connection.base_url, connection.api_key)
    bars = BarStore(connection.database)
    try:
        await manager.start_async()
        live = LiveSettings(manager)
        events.configure(live.current.settings.logging)
        live.on_change(lambda _, new: events.configure(new.logging))
        traffic = Traffic(live)
        downloader = Downloader(live, traffic, api, bars)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, downloader.stop)
        events.info("started", api=connection.base_url, database=str(connection.database), **live.current.stamp)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(health.watch(live, traffic, api, bars))
            tasks.create_task(downloader.run())
        events.info("stopped", bars=await bars.count(), **live.current.stamp)
    finally:
        await manager.stop_async()
        await api.close()
        await bars.close()


def main() -> None:
    try:
        connection = Connection.from_environment()
    except MissingEnvironment as error:
        sys.exit(str(error))
    asyncio.run(serve(connection))


main()
