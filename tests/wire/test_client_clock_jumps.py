"""The wall clock of the machine jumps a day, either way, while a client runs; and a month goes by with nobody there."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from central_hub_client import ConfigClient, ConfigManager, Source
from tests.unit.client.objects import SERVICE, config_object
from tests.wire.one_config import OneConfig
from tests.wire.scripted_server import scripted_server
from tests.wire.waiting import until

DAY = 86_400.0
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the wall clock of this process forwards, or backwards."""
    real = time.time
    return lambda seconds: monkeypatch.setattr(time, "time", lambda: real() + seconds)


@pytest.mark.parametrize("seconds", [DAY, -DAY])
async def test_a_jump_of_the_wall_clock_makes_nothing_stale_and_stops_no_update(
    client_of: Callable[..., ConfigClient], jump: Callable[[float], None], seconds: float
) -> None:
    hub = OneConfig(config_object(1, {"n": 1}))
    hub.has_events = False  # polling alone: nothing confirms what is held but what the client asks in its own time
    async with scripted_server(hub) as server:
        client = client_of(server.url, cache_ttl_seconds=30)
        await client.init_async()
        jump(seconds)
        assert not client.status.stale
        assert client.status.age_seconds is not None
        assert client.status.age_seconds < 30
        hub.current = config_object(2, {"n": 2})
        await until(lambda: client.get_value("n") == 2, within=30)
        assert not client.status.stale


@pytest.mark.parametrize("seconds", [DAY, -DAY])
async def test_after_a_jump_polls_come_once_in_the_time_to_live_and_a_dead_hub_shows(
    client_of: Callable[..., ConfigClient], jump: Callable[[float], None], seconds: float
) -> None:
    async with scripted_server(OneConfig(config_object(1, {"n": 1}))) as server:
        client = client_of(server.url, cache_ttl_seconds=1)
        await client.init_async()
        jump(seconds)
        polls = len(server.asked("config/pilot"))
        took = await until(lambda: len(server.asked("config/pilot")) >= polls + 3)
        assert took > 1.5  # three polls, each at least 0.8 s after the one before, the first of which was due already
    jump(2 * seconds)  # once more, when nobody is there to confirm anything
    await until(lambda: client.status.stale and client.status.error_code == "unreachable", within=20)
    asked_for = client.status.age_seconds
    await until(lambda: (client.status.age_seconds or 0) > (asked_for or 0) + 0.5)
    assert (client.status.age_seconds or 0) < 60
    assert client.get_value("n") == 1


def grow_old(cache: Path, days: float) -> None:
    """Let what lies on disk have been written so long ago."""
    then = time.time() - days * DAY
    files = list(cache.rglob("generation-*.json"))
    assert files
    for path in files:
        os.utime(path, (then, then))


async def test_after_thirty_days_with_nobody_there_a_client_and_a_manager_start_from_the_disk(
    client_of: Callable[..., ConfigClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CENTRAL_HUB_URL", raising=False)
    async with scripted_server(OneConfig(config_object(4, {"batch_size": 150}))) as server, client_of(server.url):
        pass
    for _ in range(2):  # a start alone makes it no younger
        grow_old(tmp_path, 30)
        async with client_of(NOBODY) as client:
            status = client.status
            assert (client.get_value("batch_size"), status.source) == (150, Source.LAST_KNOWN_GOOD)
            assert status.age_seconds == pytest.approx(30 * DAY, abs=600)
            assert status.stale
    async with ConfigManager(SERVICE, central_hub_url=NOBODY, cache_dir=tmp_path, config_dir=None) as manager:
        assert (manager.get("batch_size"), manager.status.revision) == (150, 4)
        assert manager.status.age_seconds == pytest.approx(30 * DAY, abs=600)
        assert manager.status.stale
