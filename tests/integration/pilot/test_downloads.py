"""The pilot brings every bar, once, through errors, gaps and restarts."""

import asyncio
from datetime import UTC, datetime

import httpx2
import pytest

from .conftest import KEY, SMALL_BARS, RunPilot, StartStandIn, until

BARS = "SELECT count(*) FROM bars"


async def test_every_bar_arrives_as_the_api_tells_it(start_stand_in: StartStandIn, run_pilot: RunPilot) -> None:
    stand_in = start_stand_in()
    async with run_pilot(stand_in.url) as pilot:
        await pilot.finish_sweep()
    assert pilot.query(BARS) == [(SMALL_BARS,)]
    start = int(datetime(2026, 11, 4, 9, tzinfo=UTC).timestamp() * 1000)
    answer = httpx2.get(
        f"{stand_in.url}/v2/aggs/ticker/C:EURUSD/range/1/hour/{start}/{start}",
        headers={"Authorization": f"Bearer {KEY}"},
    )
    told = answer.json()["results"][0]
    stored = pilot.query(
        "SELECT open, high, low, close, volume, vwap, trades FROM bars WHERE timeframe = '1h' AND ts = ?", start
    )
    assert stored == [tuple(told[name] for name in ("o", "h", "l", "c", "v", "vw", "n"))]


async def test_a_batch_is_a_page_and_the_pages_make_up_the_whole(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in()
    async with run_pilot(stand_in.url, {"operational": {"batch_size": 100}}) as pilot:
        await pilot.finish_sweep()
    pages = pilot.events.named("page_stored")
    assert [page["rows"] for page in pages if page["timeframe"] == "1h"] == [100, 100, 36]
    assert stand_in.statistics()["limits"] == {"100": len(pages)}
    assert pilot.query(BARS) == [(SMALL_BARS,)]


async def test_errors_and_throttling_delay_bars_and_lose_none(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in(error_percent=30, throttle_percent=20)
    async with run_pilot(stand_in.url, {"operational": {"batch_size": 20}}) as pilot:
        await pilot.finish_sweep()
    statuses = stand_in.statistics()["statuses"]
    assert len(pilot.events.named("retry")) == statuses["500"] > 0
    assert len(pilot.events.named("throttled")) == statuses["429"] > 0
    assert {event["retry_after_seconds"] for event in pilot.events.named("throttled")} == {1.0}
    assert pilot.query(BARS) == [(SMALL_BARS,)]


async def test_a_page_that_cannot_be_right_is_asked_for_again(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in(flawed_percent=100)
    async with run_pilot(stand_in.url) as pilot:
        await pilot.finish_sweep()
    assert {event["reason"].split(" at ")[0] for event in pilot.events.named("retry")} == {"the bar"}
    assert pilot.query(BARS) == [(SMALL_BARS,)]
    assert pilot.query(f"{BARS} WHERE high < low") == [(0,)]


async def test_without_verification_a_page_is_stored_as_it_is(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in(flawed_percent=100)
    patch = {"operational": {"verification_enabled": False}, "gap_detection": {"enabled": False}}
    async with run_pilot(stand_in.url, patch) as pilot:
        await pilot.finish_sweep()
    assert pilot.query(f"{BARS} WHERE high < low") == [(2,)]


async def test_late_bars_are_found_missing_filled_and_looked_for_again(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in(late_percent=100)
    async with run_pilot(stand_in.url) as pilot:
        await pilot.finish_sweep()
    assert len(pilot.events.named("gap_found")) == len(pilot.events.named("gap_closed")) == 10  # every trading day
    assert pilot.query(BARS) == [(SMALL_BARS,)]


@pytest.mark.parametrize(
    ("patch", "found", "filled", "closed"),
    [
        ({"gap_detection": {"enabled": False}}, 0, 0, 0),
        ({"gap_detection": {"completeness_threshold_intraday": 0.85}}, 0, 0, 0),
        ({"features": {"enable_auto_backfill": False}}, 10, 0, 0),
        ({"features": {"enable_gap_verification": False}}, 10, 10, 0),
    ],
)
async def test_each_part_of_gap_handling_can_be_switched_off(
    start_stand_in: StartStandIn, run_pilot: RunPilot, patch: dict[str, object], found: int, filled: int, closed: int
) -> None:
    stand_in = start_stand_in(late_percent=100)
    async with run_pilot(stand_in.url, patch) as pilot:
        await pilot.finish_sweep()
    assert len(pilot.events.named("gap_found")) == found
    assert len(pilot.events.named("gap_backfilled")) == filled
    assert len(pilot.events.named("gap_closed")) == closed
    assert pilot.query(BARS) == [(SMALL_BARS - 30 + 3 * filled,)]


async def test_the_share_of_days_that_must_be_there_is_a_setting(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in()
    async with run_pilot(stand_in.url) as pilot:
        await pilot.finish_sweep()
        pilot.query("DELETE FROM bars WHERE timeframe = '1d' AND ts % 7 = (SELECT min(ts % 7) FROM bars)")
        lost = pilot.query(f"{BARS} WHERE timeframe = '1d'")[0][0]
        assert 9 <= lost < 11
        pilot.change({"features": {"enable_metrics": True}, "gap_detection": {"max_gap_days": 6}})
        await pilot.finish_sweep()
        assert pilot.events.named("gap_found") == []
        pilot.change({"gap_detection": {"completeness_threshold_daily": 1.0}})
        await pilot.finish_sweep()
    assert {event["timeframe"] for event in pilot.events.named("gap_found")} == {"1d"}
    assert pilot.query(BARS) == [(SMALL_BARS,)]


async def test_a_gap_longer_than_the_limit_is_left_to_a_person(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in()
    async with run_pilot(stand_in.url) as pilot:
        await pilot.finish_sweep()
        start, end = (int(datetime(2026, 11, day, tzinfo=UTC).timestamp() * 1000) for day in (3, 6))
        pilot.query("DELETE FROM bars WHERE timeframe = '1h' AND ts >= ? AND ts < ?", start, end)
        pilot.change({"gap_detection": {"max_gap_days": 2}})
        await pilot.finish_sweep()
        assert [event["missing"] for event in pilot.events.named("gap_too_long")] == [72]
        assert pilot.query(BARS) == [(SMALL_BARS - 72,)]
        pilot.change({"gap_detection": {"max_gap_days": 3}})
        await pilot.finish_sweep()
    assert pilot.query(BARS) == [(SMALL_BARS,)]


async def test_what_the_api_does_not_have_is_asked_for_again_on_schedule_only(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in(absent_percent=100)
    began = datetime.now(UTC)

    def shortly_before_two() -> datetime:
        return datetime(2026, 11, 20, 1, 59, 57, tzinfo=UTC) + (datetime.now(UTC) - began)

    async with run_pilot(
        stand_in.url, {"operational": {"gap_check_interval_hours": 1 / 3600}}, now=shortly_before_two
    ) as pilot:
        await pilot.finish_sweep()
        assert len(pilot.events.named("gap_remains")) == 10
        await pilot.events.seen("sweep_finished", 2)
        assert len(pilot.events.named("gap_found")) == 10
        await pilot.events.seen("gap_remains", 20)
        scheduled = [event for event in pilot.events.named("sweep_started") if event["thorough"]]
    assert [event["reason"] for event in scheduled] == ["schedule"]
    assert shortly_before_two().hour == 2


async def test_a_restart_goes_on_where_the_last_page_ended(start_stand_in: StartStandIn, run_pilot: RunPilot) -> None:
    stand_in = start_stand_in()
    patch = {"operational": {"batch_size": 20}, "download": {"rate_limit_per_sec": 10}}
    async with run_pilot(stand_in.url, patch) as pilot:
        await pilot.events.seen("page_stored", 5)
    before = pilot.query(BARS)[0][0]
    assert 0 < before < SMALL_BARS
    async with run_pilot(stand_in.url, {"operational": {"batch_size": 20}}) as pilot:
        await pilot.finish_sweep()
    assert pilot.query(BARS) == [(SMALL_BARS,)]
    assert stand_in.statistics()["bars"] == SMALL_BARS, "a bar was asked for twice"


async def test_without_the_period_tracker_everything_is_asked_for_again_and_nothing_is_doubled(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in()
    for _ in range(2):
        async with run_pilot(stand_in.url, {"features": {"enable_period_tracker": False}}) as pilot:
            await pilot.finish_sweep()
    assert stand_in.statistics()["bars"] == 2 * SMALL_BARS
    assert pilot.query(BARS) == [(SMALL_BARS,)]


async def test_a_stop_finishes_the_page_in_hand_and_begins_no_other(
    start_stand_in: StartStandIn, run_pilot: RunPilot
) -> None:
    stand_in = start_stand_in(latency_seconds=0.5)
    async with run_pilot(stand_in.url, {"operational": {"batch_size": 10, "max_parallel": 2}}) as pilot:
        await until(lambda: stand_in.statistics()["requests"] > 0)
        assert pilot.events.named("page_stored") == []
    statistics = stand_in.statistics()
    assert len(pilot.events.named("page_stored")) == sum(statistics["limits"].values()) > 0
    assert pilot.query(BARS) == [(statistics["bars"],)]


async def test_a_refused_key_is_not_tried_again_and_never_written_down(
    start_stand_in: StartStandIn, run_pilot: RunPilot, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in = start_stand_in()
    async with run_pilot(stand_in.url, key="a-wrong-key") as pilot:
        failures = await pilot.events.seen("series_failed", 2)
    assert {failure["reason"] for failure in failures} == {"the API answered 401"}
    assert pilot.events.named("retry") == []
    written = "".join(str(record.__dict__) for record in caplog.records).encode() + pilot.database.read_bytes()
    assert b"a-wrong-key" not in written


async def test_a_series_is_given_up_after_the_retries_and_taken_up_by_the_next_sweep(
    start_stand_in: StartStandIn, run_pilot: RunPilot, unused_port: int
) -> None:
    patch = {
        "operational": {"max_retries": 2, "timeframes": [], "gap_check_interval_hours": 1 / 3600},
        "circuit_breaker": {"failure_threshold": 100},
    }
    async with run_pilot(f"http://127.0.0.1:{unused_port}", patch) as pilot:
        failure = (await pilot.events.seen("series_failed"))[0]
        assert failure["reason"].endswith("3 times")
        assert [event["attempt"] for event in pilot.events.named("retry")[:2]] == [1, 2]
        start_stand_in(port=unused_port)
        await pilot.events.seen("series_up_to_date")
    assert pilot.query(BARS) == [(117 + 119,)]


async def test_an_api_that_is_down_is_left_alone_until_the_circuit_tries_again(
    start_stand_in: StartStandIn, run_pilot: RunPilot, unused_port: int
) -> None:
    patch = {
        "operational": {"max_retries": 100, "retry_delay_seconds": 0.01},
        "circuit_breaker": {"failure_threshold": 4, "recovery_timeout_seconds": 3},
    }
    async with run_pilot(f"http://127.0.0.1:{unused_port}", patch) as pilot:
        await pilot.events.seen("circuit_opened")
        await asyncio.sleep(0.3)  # requests in flight when it opened
        tried = len(pilot.events.named("retry"))
        start_stand_in(port=unused_port)
        await asyncio.sleep(0.5)
        assert len(pilot.events.named("retry")) == tried
        await pilot.events.seen("circuit_closed")
        await pilot.finish_sweep()
    assert pilot.query(BARS) == [(SMALL_BARS,)]
