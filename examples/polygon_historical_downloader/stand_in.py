"""A stand-in for the API, for work without a network or a key: the same routes, generated bars, faults on order.

    python -m examples.polygon_historical_downloader.stand_in --port 8700 --seed 7 --error-percent 5

Everything follows from the seed: the same seed gives the same bars, the same late bars, the same faults, whatever order
requests arrive in. `GET /stand-in/statistics` tells what it saw, so that a test can hold a client to its limits.
"""

import argparse
import asyncio
import hashlib
import math
import os
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .instruments import Instrument
from .timeframes import DAY, HOUR, Timeframe, Timespan

_MAX_LIMIT: Final = 50_000
_TYPICAL_PRICES: Final = {"USDJPY": 151.0, "XAUUSD": 2650.0, "GBPUSD": 1.27, "BTCUSD": 97_000.0}


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, in percent. A question is answered wrongly the first time and rightly the second (error,
    throttle, flawed); a day lacks bars the first time it is seen (late) or for ever (absent).
    """

    error_percent: int = 0
    throttle_percent: int = 0
    late_percent: int = 0
    absent_percent: int = 0
    flawed_percent: int = 0
    requests_per_second: float = math.inf
    latency_seconds: float = 0.0


@dataclass
class Statistics:
    """What the clients did."""

    statuses: Counter[int] = field(default_factory=Counter)
    limits: Counter[int] = field(default_factory=Counter)
    tickers: Counter[str] = field(default_factory=Counter)
    bars: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    arrivals: list[float] = field(default_factory=list)

    @property
    def most_in_one_second(self) -> int:
        """The most arrivals in any second, wherever it begins."""
        most = first = 0
        for last, arrival in enumerate(self.arrivals):
            while self.arrivals[first] <= arrival - 1.0:
                first += 1
            most = max(most, last - first + 1)
        return most

    def to_json(self) -> dict[str, Any]:
        return {
            "requests": len(self.arrivals),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "limits": {str(limit): count for limit, count in self.limits.items()},
            "tickers": dict(self.tickers),
            "bars": self.bars,
            "most_in_flight": self.most_in_flight,
            "most_in_one_second": self.most_in_one_second,
            "first_to_last_seconds": self.arrivals[-1] - self.arrivals[0] if self.arrivals else 0.0,
        }


class StandIn:
    """The routes of the API that the pilot uses."""

    def __init__(self, seed: int, faults: Faults, api_key: str | None) -> None:
        self._seed = seed
        self._faults = faults
        self._api_key = api_key
        self._statistics = Statistics()
        self._failed: set[str] = set()
        self._asked_days: set[tuple[str, Timeframe, int]] = set()
        self.app = Starlette(
            routes=[
                Route("/v2/aggs/ticker/{ticker}/range/{multiplier:int}/{timespan}/{start:int}/{end:int}", self._bars),
                Route("/v1/marketstatus/now", self._market_status),
                Route("/stand-in/statistics", self._tell),
            ]
        )

    async def _market_status(self, request: Request) -> Response:
        await asyncio.sleep(self._faults.latency_seconds)
        return self._turn_away(request) or JSONResponse({"market": "open"})

    async def _tell(self, _request: Request) -> Response:
        return JSONResponse(self._statistics.to_json())

    async def _bars(self, request: Request) -> Response:
        statistics = self._statistics
        statistics.in_flight += 1
        statistics.most_in_flight = max(statistics.most_in_flight, statistics.in_flight)
        try:
            await asyncio.sleep(self._faults.latency_seconds)
            response = self._turn_away(request) or self._fail(request) or self._page(request)
        finally:
            statistics.in_flight -= 1
        statistics.statuses[response.status_code] += 1
        return response

    def _turn_away(self, request: Request) -> Response | None:
        """Refuse a wrong key, and more requests per second than are allowed."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key or (self._api_key is not None and key != self._api_key):
            return JSONResponse({"status": "ERROR", "error": "Unknown API Key"}, status_code=401)
        arrivals = self._statistics.arrivals
        arrivals.append(time.monotonic())
        recent = sum(arrival > arrivals[-1] - 1.0 for arrival in arrivals[-1000:])
        return _throttled() if recent > self._faults.requests_per_second else None

    def _fail(self, request: Request) -> Response | None:
        """Fail a question once where the seed says so; a flawed answer holds a bar that cannot be."""
        question = str(request.url.replace(netloc=""))
        if question in self._failed:
            return None
        self._failed.add(question)
        if self._chance("error", question) < self._faults.error_percent:
            return JSONResponse({"status": "ERROR", "error": "internal error"}, status_code=500)
        if self._chance("throttle", question) < self._faults.throttle_percent:
            return _throttled()
        if self._chance("flawed", question) < self._faults.flawed_percent:
            bar = {"t": request.path_params["start"], "o": 1.0, "h": 0.9, "l": 1.1, "c": 1.0, "v": 1}
            return JSONResponse({"status": "OK", "resultsCount": 1, "results": [bar]})
        return None

    def _page(self, request: Request) -> Response:
        path, query = request.path_params, request.query_params
        try:
            timeframe = Timeframe.of(path["multiplier"], Timespan(path["timespan"]))
            limit = int(query.get("limit", "5000"))
        except ValueError:
            return JSONResponse({"status": "ERROR", "error": "not a question"}, status_code=400)
        if not 1 <= limit <= _MAX_LIMIT:
            return JSONResponse({"status": "ERROR", "error": "limit out of range"}, status_code=400)
        ticker = path["ticker"]
        start = int(query.get("cursor", path["start"]))
        slots = self._slots(ticker, timeframe, start, path["end"], limit + 1)
        results = [self._bar(ticker, timeframe, slot) for slot in slots[:limit]]
        next_url = str(request.url.include_query_params(cursor=slots[limit])) if len(slots) > limit else None
        self._statistics.limits[limit] += 1
        self._statistics.tickers[ticker] += 1
        self._statistics.bars += len(results)
        body: dict[str, Any] = {"ticker": ticker, "status": "OK", "adjusted": True, "resultsCount": len(results)}
        if results:
            body["results"] = results
        if next_url is not None:
            body["next_url"] = next_url
        return JSONResponse(body)

    def _slots(self, ticker: str, timeframe: Timeframe, start: int, end: int, count: int) -> list[int]:
        """The first slots with a bar that start in [start, end]. A day seen for the first time lacks its late bars."""
        instrument = Instrument(ticker)
        step = timeframe.milliseconds
        slots: list[int] = []
        fresh: set[tuple[str, Timeframe, int]] = set()
        for slot in range(timeframe.floor(start + step - 1), end + 1, step):
            if len(slots) == count:
                break
            if not instrument.trades_in(slot, slot + step):
                continue
            if self._is_lacking("absent", self._faults.absent_percent, timeframe, slot, 15):
                continue
            day = (ticker, timeframe, slot // DAY)
            if day not in self._asked_days and self._is_lacking("late", self._faults.late_percent, timeframe, slot, 10):
                fresh.add(day)
                continue
            slots.append(slot)
        self._asked_days |= fresh
        return slots

    def _is_lacking(self, kind: str, percent: int, timeframe: Timeframe, slot: int, hour: int) -> bool:
        """Whether the bar is one of three hours that a day may lack."""
        if not timeframe.is_intraday or not hour * HOUR <= slot % DAY < (hour + 3) * HOUR:
            return False
        return self._chance(kind, timeframe, slot // DAY) < percent

    def _bar(self, ticker: str, timeframe: Timeframe, slot: int) -> dict[str, Any]:
        opened, closed = self._price(ticker, slot), self._price(ticker, slot + timeframe.milliseconds)
        spread = opened * 0.0002 * (1 + slot % 7)
        volume = 100 + (slot // timeframe.milliseconds) % 900
        return {
            "t": slot,
            "o": round(opened, 5),
            "h": round(max(opened, closed) + spread, 5),
            "l": round(min(opened, closed) - spread, 5),
            "c": round(closed, 5),
            "v": volume,
            "vw": round((opened + closed) / 2, 5),
            "n": volume // 3 + 1,
        }

    def _price(self, ticker: str, moment: int) -> float:
        typical = _TYPICAL_PRICES.get(ticker.partition(":")[2], 1.1)
        phase = self._seed % 360 + len(ticker)
        return typical * (1 + 0.02 * math.sin(moment / (9 * DAY) + phase) + 0.003 * math.sin(moment / HOUR + phase))

    def _chance(self, *what: object) -> int:
        """0…99, always the same for the same thing."""
        text = "|".join(map(str, (self._seed, *what)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) % 100


def _throttled() -> Response:
    return JSONResponse({"status": "ERROR", "error": "too many requests"}, 429, headers={"Retry-After": "1"})


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for a Polygon-style REST API, on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8700, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--error-percent", type=int, default=0, help="questions answered 500 the first time")
    parser.add_argument("--throttle-percent", type=int, default=0, help="questions answered 429 the first time")
    parser.add_argument("--late-percent", type=int, default=0, help="days whose bars are incomplete the first time")
    parser.add_argument("--absent-percent", type=int, default=0, help="days whose bars are never complete")
    parser.add_argument("--flawed-percent", type=int, default=0, help="questions answered with nonsense the first time")
    parser.add_argument("--requests-per-second", type=float, default=math.inf, help="more are answered 429")
    parser.add_argument("--latency-seconds", type=float, default=0.0)
    arguments = parser.parse_args()
    faults = Faults(
        arguments.error_percent,
        arguments.throttle_percent,
        arguments.late_percent,
        arguments.absent_percent,
        arguments.flawed_percent,
        arguments.requests_per_second,
        arguments.latency_seconds,
    )
    stand_in = StandIn(arguments.seed, faults, os.environ.get("POLYGON_API_KEY"))
    with socket.create_server(("127.0.0.1", arguments.port)) as listening:
        print(f"listening on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        server = uvicorn.Server(uvicorn.Config(stand_in.app, log_level="warning"))
        server.run(sockets=[listening])


if __name__ == "__main__":
    main()
