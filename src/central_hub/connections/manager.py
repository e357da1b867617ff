"""The hub's connections: PostgreSQL, which it needs, and NATS, which it does without when it must."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from central_hub.connections.bus import Bus, Received
from central_hub.connections.database import Database
from central_hub.errors import StartupRefused
from central_hub.settings import HubSettings


@dataclass(frozen=True, slots=True)
class ConnectionHealth:
    """Whether a connection works now, and if not, why."""

    name: str
    ok: bool
    reason: str


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
        self.database = Database(settings.database_url.get_secret_value())
        self.bus = (
            None
            if settings.nats_url is None
            else Bus(
                [server.strip() for server in settings.nats_url.get_secret_value().split(",") if server.strip()],
                on_message=on_message,
                on_connected=on_bus_connected,
            )
        )

    def start(self) -> None:
        """Begin to connect to the bus, in the background."""
        if self.bus is not None:
            self.bus.start()

    async def stop(self) -> None:
        if self.bus is not None:
            await self.bus.stop()

    def bus_health(self) -> ConnectionHealth:
        if self.bus is None:
            return ConnectionHealth(
                "nats", ok=False, reason="not configured: clients get changes by events and polling"
            )
        if not self.bus.is_connected or not self.bus.is_answering:
            return ConnectionHealth("nats", ok=False, reason=self.bus.last_error)
        return ConnectionHealth("nats", ok=True, reason="")
