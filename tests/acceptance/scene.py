"""A hub, the way to it, and services of four kinds that follow it, all of which a test may break."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.acceptance.services import Services, Surroundings, services, surroundings
from tests.acceptance.way_to_the_hub import WayToTheHub, way_to_the_hub
from tests.faults.harness import Fleet, Hub, own_fleet
from tests.wire import bad_hubs
from tests.wire.waiting import until

BAD_HUBS: dict[str, bad_hubs.Handler] = {
    "hangs": bad_hubs.hang,
    "500": bad_hubs.answering("500 Internal Server Error"),
    "html": bad_hubs.html,
    "truncated": bad_hubs.cut_off,
    "no json": bad_hubs.answering_json(b'{"service":'),
    "404": bad_hubs.answering("404 Not Found"),
    "403": bad_hubs.answering("403 Forbidden"),
    "60 MB": bad_hubs.flood,
    "redirect": bad_hubs.redirect,
    "no http": bad_hubs.not_http,
    "drips": bad_hubs.drip,
}


@dataclass
class Scene:
    fleet: Fleet
    way: WayToTheHub
    around: Surroundings
    services: Services

    @property
    def hub(self) -> Hub:
        return self.fleet.hubs[0]

    async def everybody_has_asked(self) -> None:
        """Until each worker of each service has asked whoever answers now."""

        def have_asked() -> bool:
            return all(
                sum(name == service.name for name, _ in self.way.asked) >= service.workers
                for service in self.services.all
            )

        await until(have_asked, within=60)

    async def nobody_is_moved(self) -> None:
        await self.services.all_say(self.services.number)

    async def changes_arrive(self) -> None:
        await self.services.all_say(await self.services.change())

    def kept(self, revision: int) -> list[Path]:
        """The files on the services' disk that hold it."""
        return [path for path in self.around.cache.rglob("generation-*.json") if holds(path, revision)]

    async def everybody_keeps(self, number: int) -> None:
        """Until each worker of each service has written down what that number came with."""
        for service in self.services.all:
            revision = service.revisions[number]
            await until(lambda n=service.workers, r=revision: len(self.kept(r)) >= n, within=60)  # type: ignore[misc]


def holds(path: Path, revision: int) -> bool:
    try:
        return f'"revision":{revision},' in path.read_text()
    except (FileNotFoundError, UnicodeDecodeError):  # replaced meanwhile, or damaged
        return False


@asynccontextmanager
async def scene(directory: Path, *, with_bus: bool) -> AsyncIterator[Scene]:
    """Everybody runs, and has taken a change."""
    async with own_fleet(hubs=0) as fleet, surroundings(directory) as around:
        hub = fleet.add_hub(allowed_hosts=around.hub_name)
        await hub.start()
        body = {"name": "services", "verbs": ["read", "register"], "services": ["*"], "environments": ["*"]}
        token = (await hub.http.post("/api/v1/tokens", json=body)).json()["token"]
        nats_url = fleet.endpoints.nats_client_url if with_bus else None
        async with (
            way_to_the_hub(urlsplit(hub.url).port or 0) as way,
            services(around, hub, token, way.port, nats_url) as running,
        ):
            it = Scene(fleet, way, around, running)
            if with_bus:  # who has no key yet believes nobody on the bus, and the pilot does not ask it
                workers = sum(service.workers for service in running.all) - 1
                await until(lambda: len(list(around.cache.rglob("keys.json"))) >= workers, within=60)
            await it.changes_arrive()
            yield it
