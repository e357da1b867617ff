"""The pilot keeps to its limits, as measured by the other side."""

import asyncio
import time

import pytest

from .conftest import RunPilot, StartStandIn, until


@pytest.mark.parametrize("max_parallel", [1, 4])
async def test_there_are_never_more_requests_in_flight_than_allowed_and_as_many_where_there_is_work(
    start_stand_in: StartStandIn, run_pilot: RunPilot, max_parallel: int
) -> None:
    stand_in = start_stand_in(latency_seconds=0.15)
    patch = {
        "operational": {
            "symbols": ["EURUSD", "GBPUSD", "USDJPY"],
            "timeframes": ["1h", "2h", "4h", "1d"],
            "max_parallel": max_parallel,
        },
        "health_check": {"interval_seconds": 0.1},
    }
    async with run_pilot(stand_in.url, patch) as pilot:
        await pilot.finish_sweep()
    assert stand_in.statistics()["most_in_flight"] == max_parallel


async def test_a_raised_limit_counts_at_once(start_stand_in: StartStandIn, run_pilot: RunPilot) -> None:
    stand_in = start_stand_in(latency_seconds=0.2)
    patch = {"operational": {"batch_size": 5, "timeframes": ["1h", "2h", "4h", "6h", "12h"], "max_parallel": 1}}
    async with run_pilot(stand_in.url, patch) as pilot:
        await pilot.events.seen("page_stored", 2)
        assert stand_in.statistics()["most_in_flight"] == 1
        pilot.change({"operational": {"max_parallel": 5}})
        await until(lambda: stand_in.statistics()["most_in_flight"] == 5)


async def test_requests_keep_to_the_rate(start_stand_in: StartStandIn, run_pilot: RunPilot) -> None:
    stand_in = start_stand_in()
    patch = {
        "operational": {"batch_size": 5, "max_parallel": 10},
        "download": {"rate_limit_per_sec": 20},
        "health_check": {"interval_seconds": 0.05},
    }
    async with run_pilot(stand_in.url, patch) as pilot:
        await pilot.finish_sweep()
    statistics = stand_in.statistics()
    requests, seconds = statistics["requests"], statistics["first_to_last_seconds"]
    assert requests > 48
    # The requests are sent evenly; they may arrive a little unevenly.
    assert (requests - 1) / seconds <= 20 * 1.05
    assert statistics["most_in_one_second"] <= 20 + 4


async def test_a_slower_rate_is_kept_from_the_next_page_on_and_a_faster_one_cuts_the_wait_short(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in()
    async with run_pilot(stand_in.url, {"operational": {"batch_size": 5}}) as pilot:
        await pilot.events.seen("page_stored", 3)
        pilot.change({"download": {"rate_limit_per_sec": 0.01}})
        await asyncio.sleep(0.5)
        requests = stand_in.statistics()["requests"]
        await asyncio.sleep(1.0)
        assert stand_in.statistics()["requests"] == requests
        began = time.monotonic()
        pilot.change({"download": {"rate_limit_per_sec": 200}})
        await pilot.events.seen("page_stored", len(pilot.events.named("page_stored")) + 3)
        assert time.monotonic() - began < 3  # and not the 100 s that the slow rate asked for


async def test_a_server_that_counts_for_itself_is_obeyed(start_stand_in: StartStandIn, run_pilot: RunPilot) -> None:
    stand_in = start_stand_in(requests_per_second=10)
    async with run_pilot(stand_in.url, {"operational": {"batch_size": 10}}) as pilot:
        await pilot.finish_sweep()
    assert len(pilot.events.named("throttled")) == stand_in.statistics()["statuses"]["429"] > 0
    assert pilot.events.named("series_failed") == []
