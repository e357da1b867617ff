"""The local SQLite file: bars, which periods have been fetched, and which bars the API does not have.

All access runs on one thread of its own, off the event loop, in the order it was asked for.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from .periods import Period, merge
from .polygon_api import Bar
from .series import Series

_T = TypeVar("_T")

_TABLES = """
CREATE TABLE IF NOT EXISTS bars (
    symbol TEXT NOT NULL, timeframe TEXT NOT NULL, ts INTEGER NOT NULL,
    open REAL NOT NULL, high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL,
    volume REAL NOT NULL, vwap REAL, trades INTEGER,
    PRIMARY KEY (symbol, timeframe, ts)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS periods (
    symbol TEXT NOT NULL, timeframe TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('fetched', 'absent')),
    start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    PRIMARY KEY (symbol, timeframe, kind, start)
) WITHOUT ROWID;
"""

_UPSERT = """
INSERT INTO bars (symbol, timeframe, ts, open, high, low, close, volume, vwap, trades)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET
    open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
    volume = excluded.volume, vwap = excluded.vwap, trades = excluded.trades
"""


class BarStore:
    """The file at `path`, created by `start` where it does not exist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self._database: sqlite3.Connection | None = None

    async def start(self) -> None:
        """Open the file. Raises sqlite3.Error where that cannot be done."""
        try:
            await self._run(lambda database: None)
        except sqlite3.Error:
            await self.stop()
            raise

    async def store(self, series: Series, bars: Sequence[Bar], fetched: Period | None) -> None:
        """Write `bars` over any that are there; with `fetched`, remember that this period was asked for and answered.

        One transaction: after a crash either both are there or neither.
        """
        rows = [
            (
                series.symbol,
                series.timeframe.value,
                bar.start,
                bar.open,
                bar.high,
                bar.low,
                bar.close,
                bar.volume,
                bar.vwap,
                bar.trades,
            )
            for bar in bars
        ]

        def write(database: sqlite3.Connection) -> None:
            with database:
                database.executemany(_UPSERT, rows)
                if fetched is not None:
                    _add_period(database, series, "fetched", fetched)

        await self._run(write)

    async def starts(self, series: Series, period: Period) -> frozenset[int]:
        """The starts of the stored bars in `period`."""

        def read(database: sqlite3.Connection) -> frozenset[int]:
            rows = database.execute(
                "SELECT ts FROM bars WHERE symbol = ? AND timeframe = ? AND ts >= ? AND ts < ?",
                (series.symbol, series.timeframe.value, period.start, period.end),
            )
            return frozenset(ts for (ts,) in rows)

        return await self._run(read)

    async def fetched(self, series: Series) -> list[Period]:
        """The periods that were asked for and answered."""
        return await self._run(lambda database: _periods(database, series, "fetched"))

    async def absent(self, series: Series) -> list[Period]:
        """The periods whose missing bars the API, asked again, did not have either."""
        return await self._run(lambda database: _periods(database, series, "absent"))

    async def remember_absent(self, series: Series, period: Period) -> None:
        def write(database: sqlite3.Connection) -> None:
            with database:
                _add_period(database, series, "absent", period)

        await self._run(write)

    async def count(self) -> int:
        """How many bars there are."""
        return await self._run(lambda database: int(database.execute("SELECT count(*) FROM bars").fetchone()[0]))

    async def ping(self) -> None:
        """Raises sqlite3.Error where the file cannot be read."""
        await self._run(lambda database: database.execute("SELECT 1 FROM bars LIMIT 1").fetchall())

    async def stop(self) -> None:
        """Finish what was asked for, then close the file."""

        def close() -> None:
            if self._database is not None:
                self._database.close()

        await asyncio.get_running_loop().run_in_executor(self._thread, close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._connection()))

    def _connection(self) -> sqlite3.Connection:
        # Opened on first use, because a connection belongs to the thread that opened it.
        if self._database is None:
            self._database = sqlite3.connect(self._path)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.executescript(_TABLES)
        return self._database


def _periods(database: sqlite3.Connection, series: Series, kind: str) -> list[Period]:
    rows = database.execute(
        'SELECT start, "end" FROM periods WHERE symbol = ? AND timeframe = ? AND kind = ? ORDER BY start',
        (series.symbol, series.timeframe.value, kind),
    )
    return [Period(start, end) for start, end in rows]


def _add_period(database: sqlite3.Connection, series: Series, kind: str, period: Period) -> None:
    key = (series.symbol, series.timeframe.value, kind)
    merged = merge([*_periods(database, series, kind), period])
    database.execute("DELETE FROM periods WHERE symbol = ? AND timeframe = ? AND kind = ?", key)
    database.executemany(
        'INSERT INTO periods (symbol, timeframe, kind, start, "end") VALUES (?, ?, ?, ?, ?)',
        [(*key, each.start, each.end) for each in merged],
    )
