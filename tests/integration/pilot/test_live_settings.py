"""What changes in the configuration is done from the next unit of work on, without a restart."""

import asyncio

import pytest

from .conftest import RunPilot, StartStandIn, until

SLOW = {"operational": {"batch_size": 2}, "download": {"rate_limit_per_sec": 20}}


async def test_the_next_page_has_the_new_batch_size(start_stand_in: StartStandIn, run_pilot: RunPilot) -> None:
    stand_in = start_stand_in()
    async with run_pilot(stand_in.url, SLOW) as pilot:
        before = len(await pilot.events.seen("page_stored", 4))
        pilot.change({"operational": {"batch_size": 7}})
        pages = await pilot.events.seen("page_stored", before + 10)
        pilot.change({"download": {"rate_limit_per_sec": 500}})
        await pilot.finish_sweep()
    later = [page for page in pages if page["revision"] == 2]
    # Pages already in flight are finished with the settings they were asked with, and say so.
    assert {(page["batch_size"], page["revision"]) for page in pages} == {(2, 1), (7, 2)}
    assert pages[-len(later) :] == later
    assert pilot.query("SELECT count(*) FROM bars") == [(117 + 119 + 11,)]


async def test_an_added_symbol_is_fetched_and_a_removed_one_is_not_asked_for_again(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in()
    async with run_pilot(stand_in.url, SLOW) as pilot:
        await pilot.events.seen("page_stored", 2)
        pilot.change({"operational": {"symbols": ["GBPUSD"]}})
        await pilot.events.seen("series_dropped", 2)
        count = stand_in.statistics()["tickers"]["C:EURUSD"]
        pilot.change({"download": {"rate_limit_per_sec": 500}})
        await pilot.finish_sweep()
    tickers = stand_in.statistics()["tickers"]
    assert tickers["C:EURUSD"] == count
    assert pilot.query("SELECT count(*) FROM bars WHERE symbol = 'GBPUSD'") == [(117 + 119 + 11,)]


async def test_an_added_symbol_does_not_wait_until_the_others_are_finished(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in()
    async with run_pilot(stand_in.url, SLOW) as pilot:
        await pilot.events.seen("page_stored", 2)
        before = len(pilot.events.named("page_stored"))
        pilot.change({"operational": {"symbols": ["EURUSD", "GBPUSD"]}})
        pages = await pilot.events.seen("page_stored", before + 8)
        pilot.change({"operational": {"symbols": []}})
    assert "GBPUSD" in {page["symbol"] for page in pages[before:]}


async def test_an_earlier_start_date_fetches_what_lies_before_and_nothing_twice(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in()
    async with run_pilot(stand_in.url) as pilot:
        await pilot.finish_sweep()
        pilot.change({"download": {"start_date": "2026-10-26"}})
        await pilot.finish_sweep()
    bars = 117 + 119 + 119 + 5 + 6 + 6
    assert pilot.query("SELECT count(*) FROM bars") == [(bars,)]
    assert stand_in.statistics()["bars"] == bars


async def test_timeframes_and_granularity_decide_which_bars_are_asked_for(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in()
    async with run_pilot(stand_in.url) as pilot:
        await pilot.finish_sweep()
        pilot.change({"operational": {"symbols": ["EURUSD", "EURGBP"], "timeframes": ["1h", "4h"]}})
        await pilot.finish_sweep()
        pilot.change({"download": {"granularity": {"analysis_pairs": {"timeframe": "minute", "multiplier": 30}}}})
        await pilot.finish_sweep()
    kinds = pilot.query("SELECT DISTINCT symbol, timeframe FROM bars ORDER BY 1, 2")
    euro_dollar = [("EURUSD", timeframe) for timeframe in ("1d", "1h", "4h")]
    assert kinds == [("EURGBP", timeframe) for timeframe in ("1h", "30m", "4h", "5m")] + euro_dollar


async def test_a_configuration_that_makes_no_sense_is_refused_and_the_last_good_one_kept(
    start_stand_in: StartStandIn, run_pilot: RunPilot, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in = start_stand_in()
    async with run_pilot(stand_in.url, SLOW) as pilot:
        await pilot.events.seen("page_stored")
        pilot.change({"operational": {"batch_size": -1}, "logging": {"level": "a pasted password"}})
        await until(lambda: any(record.levelname == "ERROR" for record in caplog.records))
        pages = await pilot.events.seen("page_stored", len(pilot.events.named("page_stored")) + 3)
    assert {page["batch_size"] for page in pages} == {2}
    [refusal] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "layer=hub revision=2: operational.batch_size: " in refusal
    assert "; logging.level: " in refusal
    assert "password" not in refusal


async def test_the_interval_between_sweeps_is_a_setting(start_stand_in: StartStandIn, run_pilot: RunPilot) -> None:
    stand_in = start_stand_in()
    async with run_pilot(stand_in.url) as pilot:
        await pilot.finish_sweep()
        await asyncio.sleep(1.2)
        assert [event["reason"] for event in pilot.events.named("sweep_started")] == ["start"]
        pilot.change({"operational": {"gap_check_interval_hours": 0.5 / 3600}})
        sweeps = await pilot.events.seen("sweep_started", 4)
    assert {event["reason"] for event in sweeps[1:]} == {"interval"}


async def test_health_is_measured_at_the_interval_and_within_the_timeout(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in(latency_seconds=0.3)
    async with run_pilot(stand_in.url, {"health_check": {"interval_seconds": 0.2, "timeout_seconds": 5}}) as pilot:
        reports = await pilot.events.seen("health", 3)
        assert [report["healthy"] for report in reports] == [True] * 3
        pilot.change({"health_check": {"timeout_seconds": 0.05}})
        reports = await pilot.events.seen("health", 6)
    assert reports[-1]["problems"] == ["api: no answer (ReadTimeout)"]
