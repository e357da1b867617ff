"""A hub needs PostgreSQL alone: it waits for that, works in full without NATS, and says how either is."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from tests.faults.harness import Fleet, Hub, own_fleet
from tests.faults.watchers import events, opened
from tests.integration.instances import PATIENCE, beat, eventually, register

NATS_IS_FOUND_WITHIN = 30.0
"""Two frozen connections may have to be given up, and then the longest wait between two attempts."""


async def _nothing(_: Fleet) -> None:
    return


async def _kill_nats(fleet: Fleet) -> None:
    await fleet.nats.kill()


async def _start_nats(fleet: Fleet) -> None:
    await fleet.nats.start()


async def _freeze_nats(fleet: Fleet) -> None:
    fleet.nats.freeze()


async def _thaw_nats(fleet: Fleet) -> None:
    fleet.nats.thaw()


@dataclass(frozen=True)
class Absence:
    """A way for NATS not to be there, and what the hub says of it."""

    name: str
    ok: bool | None
    reason: str
    begin: Callable[[Fleet], Awaitable[None]] = _nothing
    end: Callable[[Fleet], Awaitable[None]] = _nothing
    is_configured: bool = True
    password: str | None = None

    def __str__(self) -> str:
        return self.name

    def nats_url(self, fleet: Fleet) -> SecretStr | None:
        if not self.is_configured:
            return None
        url = fleet.endpoints.nats_url
        return SecretStr(url if self.password is None else re.sub(r":[^:@/]+@", f":{self.password}@", url))


ABSENCES = (
    Absence("not configured", None, "off: CENTRAL_HUB_NATS_URL is not set", is_configured=False),
    Absence("nobody listens", False, "Connect call failed|Connection refused", _kill_nats, _start_nats),
    Absence("accepts and never answers", False, "no answer in time", _freeze_nats, _thaw_nats),
    Absence("other credentials", False, "[Aa]uthorization", password="guessed"),
    Absence("no URL", False, "invalid connect url", password="pa/ss"),
)


@pytest.fixture(scope="module")
async def fleet() -> AsyncIterator[Fleet]:
    """Servers without a hub."""
    async with own_fleet(hubs=0) as fleet:
        yield fleet


@pytest.fixture(params=ABSENCES, ids=str)
async def absence(fleet: Fleet, request: pytest.FixtureRequest) -> AsyncIterator[Absence]:
    found: Absence = request.param
    await found.begin(fleet)
    yield found
    await found.end(fleet)


@pytest.fixture
async def hub(fleet: Fleet, absence: Absence) -> AsyncIterator[Hub]:
    """A hub that was started while NATS was absent."""
    hub = fleet.add_hub(nats_url=absence.nats_url(fleet))
    await hub.start()
    yield hub
    await hub.stop()


async def health(hub: Hub) -> dict[str, Any]:
    answer = await hub.http.get("/health")
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    return told


async def write(hub: Hub, service: str, number: int) -> dict[str, Any]:
    answer = await hub.http.post(f"/api/v1/config/{service}", json={"config": {"n": number}})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_without_nats_everything_works_and_health_tells_the_truth(
    hub: Hub, absence: Absence, service_name: str
) -> None:
    written = await write(hub, service_name, 1)
    assert not written["announced"]
    read = await hub.http.get(f"/api/v1/config/{service_name}")
    assert read.json()["config"]["n"] == 1
    async with opened(hub.http, {"service": service_name}, {}) as stream:
        followed = (event.data["config"]["n"] async for event in events(stream) if event.kind == "config")
        assert await anext(followed) == 1
        await write(hub, service_name, 2)
        assert await anext(followed) == 2
    incarnation = await register(hub.http, service_name)
    assert (await beat(hub.http, incarnation)).status_code == 200
    metrics = (await hub.http.get("/metrics")).text
    assert "central_hub_bus_up 0.0" in metrics

    async def is_explained() -> bool:
        return re.search(absence.reason, (await health(hub))["components"]["nats"]["reason"]) is not None

    await eventually(is_explained)
    told = await health(hub)
    nats, postgres = told["components"]["nats"], told["components"]["postgres"]
    assert (nats["ok"], nats["needed"]) == (absence.ok, False)
    assert (postgres["ok"], postgres["needed"], postgres["reason"]) == (True, True, "")
    assert told["state"] == ("healthy" if absence.ok is None else "degraded")
    assert any(reason.startswith("nats: ") for reason in told["reasons"]) is (absence.ok is False)
    assert (nats["pending"] == 0) is (absence.ok is None)
    assert (await hub.http.get("/health/ready")).status_code == 200
    assert "guessed" not in hub.log()


@pytest.mark.parametrize("absence", [each for each in ABSENCES if each.end is not _nothing], indirect=True, ids=str)
async def test_nats_is_used_as_soon_as_it_is_there_without_a_restart(
    fleet: Fleet, hub: Hub, absence: Absence, service_name: str
) -> None:
    await write(hub, service_name, 1)
    since = (await health(hub))["components"]["nats"]["since"]
    await absence.end(fleet)

    async def is_healthy() -> bool:
        return bool((await health(hub))["state"] == "healthy")

    await eventually(is_healthy, within=NATS_IS_FOUND_WITHIN)

    async def has_told_everything() -> bool:
        return bool((await health(hub))["components"]["nats"]["pending"] == 0)

    await eventually(has_told_everything)
    nats = (await health(hub))["components"]["nats"]
    assert (nats["ok"], nats["reason"]) == (True, "")
    assert nats["since"] > since
    assert (await write(hub, service_name, 2))["announced"]


async def test_a_hub_waits_for_a_postgresql_that_is_not_there_yet(fleet: Fleet, service_name: str) -> None:
    await fleet.postgres.kill()
    hub = fleet.add_hub(nats_url=None)
    try:
        hub.launch()

        async def says_what_it_waits_for() -> bool:
            try:
                ready = await hub.http.get("/health/ready")
            except httpx2.TransportError:
                return False  # it does not listen yet
            assert ready.status_code == 503
            assert ready.json()["state"] == "starting"
            [reason] = ready.json()["reasons"]
            return bool(re.fullmatch(r"postgres: not reached \(\w+\); the hub waits for it", reason))

        await eventually(says_what_it_waits_for)
        assert (await hub.http.get("/health/live")).json() == {"state": "live"}
        refused = await hub.http.get(f"/api/v1/config/{service_name}")
        assert refused.status_code == 503
        await fleet.postgres.start()

        async def is_ready() -> bool:
            return (await hub.http.get("/health/ready")).status_code == 200

        await eventually(is_ready, within=2 * PATIENCE)
        assert (await health(hub))["state"] == "healthy"
        await write(hub, service_name, 1)
    finally:
        await hub.stop()
        await fleet.postgres.start()
