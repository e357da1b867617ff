"""Sweeps: bring every wanted series up to date, look for gaps, fill them. Settings are taken anew for every page."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from . import events, gaps, verification
from .bars import BarStore
from .gaps import Gap
from .live_settings import LiveSettings, Working
from .periods import Period, contains, subtract
from .polygon_api import Page, PolygonApi, Refused, Throttled, Unavailable
from .schedule import Schedule
from .series import Series, wanted_period, wanted_series
from .settings import Settings
from .traffic import Stopped, Traffic, Unwanted

# A wall clock may jump: look at it at least this often while waiting for the next sweep.
_LONGEST_WAIT_SECONDS: Final = 60.0


class _GaveUp(Exception):
    """The series cannot go on in this sweep; the next one tries again. The message says why."""


@dataclass(frozen=True, slots=True)
class _Continuation:
    """Where the API wants the rest of a question to be asked for. Holds only for the limit it was asked with."""

    url: str
    limit: int
    period: Period


@dataclass(frozen=True, slots=True)
class _Stored:
    """What one unit of work did: the period it settled, and how the question goes on."""

    settled: Period
    continuation: _Continuation | None
    rows: int


class Downloader:
    """Start with `run`; `stop` lets the pages in hand finish and begins no other."""

    def __init__(
        self,
        live: LiveSettings,
        traffic: Traffic,
        api: PolygonApi,
        bars: BarStore,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._live = live
        self._traffic = traffic
        self._api = api
        self._bars = bars
        self._now = now
        self._wake = asyncio.Event()
        self._requested: dict[Series, None] = {}
        self._running: set[Series] = set()
        self._thorough: set[Series] = set()
        self._sweep_began = self._now()
        self._schedule_base = self._now()
        live.on_change(self._note_change)

    async def run(self) -> None:
        """Sweep at the start, at every interval, on schedule, and when the wanted work changes; until stopped."""
        async with asyncio.TaskGroup() as tasks:
            self._request_sweep("start")
            while not self._traffic.is_stopping:
                for series in [series for series in self._requested if series not in self._running]:
                    del self._requested[series]
                    self._running.add(series)
                    tasks.create_task(self._sweep(series))
                await self._wait_for_work()

    def stop(self) -> None:
        self._traffic.stop()
        self._wake.set()

    async def _wait_for_work(self) -> None:
        due = min(filter(None, (self._interval_due(), self._schedule_due())))
        seconds = min((due - self._now()).total_seconds(), _LONGEST_WAIT_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), max(0.0, seconds))
        self._wake.clear()
        now = self._now()
        schedule_due = self._schedule_due()
        if schedule_due is not None and now >= schedule_due:
            self._schedule_base = now
            self._request_sweep("schedule", thorough=True)
        elif now >= self._interval_due():
            self._request_sweep("interval")

    def _interval_due(self) -> datetime:
        return self._sweep_began + timedelta(hours=self._live.current.settings.operational.gap_check_interval_hours)

    def _schedule_due(self) -> datetime | None:
        detection = self._live.current.settings.gap_detection
        return Schedule.parse(detection.schedule).next_after(self._schedule_base) if detection.enabled else None

    def _request_sweep(self, reason: str, *, thorough: bool = False) -> None:
        working = self._live.current
        wanted = wanted_series(working.settings)
        self._requested = dict.fromkeys(wanted)
        if thorough:
            self._thorough.update(wanted)
        self._sweep_began = self._now()
        events.info("sweep_started", reason=reason, series=len(wanted), thorough=thorough, **working.stamp)

    def _note_change(self, old: Settings, new: Settings) -> None:
        if old.gap_detection != new.gap_detection:
            self._schedule_base = self._now()  # or a run that the new schedule has already missed would start at once
        if _work(old) != _work(new):
            self._request_sweep("config_changed")
        self._wake.set()

    async def _sweep(self, series: Series) -> None:
        try:
            await self._bring_up_to_date(series)
        finally:
            self._running.discard(series)
            self._wake.set()
        if not (self._running or self._requested or self._traffic.is_stopping):
            events.info("sweep_finished", bars=await self._bars.count(), **self._live.current.stamp)

    async def _bring_up_to_date(self, series: Series) -> None:
        began = time.monotonic()
        try:
            rows = await self._download(series)
            await self._mend(series)
        except Stopped:
            return
        except Unwanted:
            events.info("series_dropped", **_named(series), **self._live.current.stamp)
        except (_GaveUp, sqlite3.Error) as error:
            events.warning("series_failed", reason=str(error), **_named(series), **self._live.current.stamp)
        else:
            values = {"rows": rows, "seconds": round(time.monotonic() - began, 3)}
            events.info("series_up_to_date", **values, **_named(series), **self._live.current.stamp)

    async def _download(self, series: Series) -> int:
        """Fetch what of the wanted period has not been fetched before; the number of bars it brought."""
        tracked = self._live.current.settings.features.enable_period_tracker
        done = await self._bars.fetched(series) if tracked else []
        return await self._fetch(series, lambda settings: wanted_period(series.timeframe, settings, self._now()), done)

    async def _mend(self, series: Series) -> None:
        """Look for gaps in what is stored, and fill those that may be filled."""
        settings = self._live.current.settings
        if not settings.gap_detection.enabled:
            return
        thorough = series in self._thorough
        self._thorough.discard(series)
        period = wanted_period(series.timeframe, settings, self._now())
        present = await self._bars.starts(series, period)
        threshold = settings.gap_detection.threshold(series.timeframe)
        found = await asyncio.to_thread(_gaps, series, period, present, threshold)
        known = await self._bars.absent(series) if settings.features.enable_period_tracker and not thorough else []
        for gap in found:
            if any(contains(absent, gap.period) for absent in known):
                continue
            working = self._live.current
            events.info("gap_found", **_named(series), **_described(gap), **working.stamp)
            if gap.days > working.settings.gap_detection.max_gap_days:
                events.warning("gap_too_long", **_named(series), **_described(gap), **working.stamp)
            elif working.settings.features.enable_auto_backfill:
                await self._back_fill(series, gap)

    async def _back_fill(self, series: Series, gap: Gap) -> None:
        rows = await self._fetch(series, lambda _: gap.period, [])
        working = self._live.current
        events.info("gap_backfilled", rows=rows, **_named(series), **_described(gap), **working.stamp)
        if not working.settings.features.enable_gap_verification:
            return
        present = await self._bars.starts(series, gap.period)
        expected = gaps.expected_slots(series.instrument, series.timeframe, gap.period)
        if still_missing := len([slot for slot in expected if slot not in present]):
            events.info(
                "gap_remains", still_missing=still_missing, **_named(series), **_described(gap), **working.stamp
            )
            if working.settings.features.enable_period_tracker:
                await self._bars.remember_absent(series, gap.period)
        else:
            events.info("gap_closed", **_named(series), **_described(gap), **working.stamp)

    async def _fetch(self, series: Series, wanted: Callable[[Settings], Period], done: list[Period]) -> int:
        """Fetch what `done` leaves of the wanted period, which is asked for anew after every page."""
        rows = 0
        continuation: _Continuation | None = None
        while left := subtract(wanted(self._live.current.settings), done):
            if continuation is not None and continuation.period.start != left[0].start:
                continuation = None
            stored = await self._unit(series, left[0], continuation)
            continuation = stored.continuation
            done = [*done, stored.settled]
            rows += stored.rows
        return rows

    async def _unit(self, series: Series, period: Period, continuation: _Continuation | None) -> _Stored:
        """One page, fetched and stored, however often that has to be tried."""
        failures = 0
        while True:
            async with self._traffic.admission(lambda: series in wanted_series(self._live.current.settings)):
                working = self._live.current
                operational = working.settings.operational
                try:
                    return await self._attempt(series, period, continuation, working)
                except Throttled as error:
                    # Not a failure: the API is there and says when to come back. It speaks to the key, not the series.
                    self._traffic.answered()
                    asked = error.retry_after_seconds
                    seconds = operational.retry_delay_seconds if asked is None else asked
                    self._traffic.hold(seconds)
                    events.info("throttled", retry_after_seconds=seconds, **_named(series), **working.stamp)
                    continue
                except Refused as error:
                    self._traffic.answered()
                    raise _GaveUp(str(error)) from error
                except Unavailable as error:
                    self._traffic.failed()
                    failures += 1
                    if failures > operational.max_retries:
                        raise _GaveUp(f"{error}, {failures} times") from error
                    reason = str(error)
            values = {"attempt": failures, "reason": reason, "delay_seconds": operational.retry_delay_seconds}
            events.info("retry", **values, **_named(series), **working.stamp)
            await self._traffic.pause(operational.retry_delay_seconds)

    async def _attempt(
        self, series: Series, period: Period, continuation: _Continuation | None, working: Working
    ) -> _Stored:
        limit = working.settings.operational.batch_size
        if continuation is not None and continuation.limit == limit:
            period = continuation.period
            page = await self._api.following(continuation.url)
        else:
            page = await self._api.page(series, period, limit)
        verified = working.settings.operational.verification_enabled
        if verified and (objection := verification.objection(page.bars, series.timeframe, period)) is not None:
            raise Unavailable(objection)
        self._traffic.answered()
        settled, rest = _split(series, period, page)
        tracked = working.settings.features.enable_period_tracker
        await self._bars.store(series, page.bars, settled if tracked else None)
        if verified:
            stored = await self._bars.starts(series, settled)
            if not stored.issuperset(bar.start for bar in page.bars):
                raise _GaveUp("what was written could not be read back")
        rows = len(page.bars)
        events.info("page_stored", **_named(series), rows=rows, batch_size=limit, **working.stamp)
        continuation = None if page.next_url is None else _Continuation(page.next_url, limit, rest)
        return _Stored(settled, continuation, rows)


def _split(series: Series, period: Period, page: Page) -> tuple[Period, Period]:
    """`period` where the page ends: what it settled, and what is still to ask for."""
    middle = period.end
    if page.next_url is not None:
        last_end = page.bars[-1].start + series.timeframe.milliseconds if page.bars else period.start
        middle = min(max(period.start, last_end), period.end)
    return Period(period.start, middle), Period(middle, period.end)


def _gaps(series: Series, period: Period, present: frozenset[int], threshold: float) -> list[Gap]:
    expected = gaps.expected_slots(series.instrument, series.timeframe, period)
    return gaps.find(expected, present, series.timeframe, threshold)


def _work(settings: Settings) -> object:
    """What the settings say is to be done, as opposed to how: when this changes, a sweep is due."""
    return (
        wanted_series(settings),
        settings.download.start_date,
        settings.download.end_date,
        settings.gap_detection.model_dump(exclude={"schedule"}),
        settings.features,
    )


def _named(series: Series) -> dict[str, str]:
    return {"symbol": series.symbol, "timeframe": series.timeframe.value}


def _described(gap: Gap) -> dict[str, object]:
    return {"start": _iso(gap.period.start), "end": _iso(gap.period.end), "missing": gap.missing}


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
