"""The hub's connections: PostgreSQL, which it needs, and NATS, which it does without when it must.

One line for each is all that this hub knows of its connections; `/health` and the metrics are read from it.
"""

from collections.abc import Awaitable, Callable

from central_hub.connections.bus import Bus, Received
from central_hub.connections.database import Database
from central_hub.connections.link import Link
from central_hub.errors import StartupRefused
from central_hub.settings import HubSettings


class ConnectionManager:
    """Builds the connections from the settings, and says how they are.

    To start it means to start the bus: the pool of the database connects when it is used, and is closed by itself.
    """

    def __init__(
        self, settings: HubSettings, *, on_message: Received, on_bus_connected: Callable[[], Awaitable[None]]
    ) -> None:
        if settings.database_url is None:
            raise StartupRefused(
                "no database: set CENTRAL_HUB_DATABASE_URL for `central-hub serve`, or let `central-hub up` start one"
            )
        self.postgres = Link("postgres", is_needed=True)
        self.nats = Link("nats", is_needed=False)
        self.database = Database(settings.database_url.get_secret_value())
        self.bus: Bus | None = None
        if settings.nats_url is None:
            self.nats.turn_off("off: CENTRAL_HUB_NATS_URL is not set; clients get changes by events and polling")
        else:
            servers = [server.strip() for server in settings.nats_url.get_secret_value().split(",") if server.strip()]
            self.bus = Bus(servers, self.nats, on_message=on_message, on_connected=on_bus_connected)

    @property
    def links(self) -> tuple[Link, ...]:
        """Every connection that this hub has or could have."""
        return self.postgres, self.nats

    def start(self) -> None:
        """Begin to connect to the bus, in the background."""
        if self.bus is not None:
            self.bus.start()

    async def stop(self) -> None:
        if self.bus is not None:
            await self.bus.stop()
