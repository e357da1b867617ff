"""The REST API: `GET /v2/aggs/ticker/…`, page by page. Every answer that is not a page becomes one of three errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import httpx2

from .periods import Period
from .series import Series

_TIMEOUT_SECONDS = 30.0


class ApiError(Exception):
    """A request did not bring a page."""


class Throttled(ApiError):
    """429: too many requests. `retry_after_seconds` is what the server asked for, if it did."""

    def __init__(self, retry_after_seconds: float | None) -> None:
        super().__init__("too many requests")
        self.retry_after_seconds = retry_after_seconds


class Unavailable(ApiError):
    """No answer, a server error, or an answer that is not what the API documents. Worth another try."""


class Refused(ApiError):
    """The API understood and declined (a wrong key, an unknown ticker). Trying again would change nothing."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One aggregate; `start` in milliseconds since the epoch."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None
    trades: int | None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(
            start=int(value["t"]),
            open=float(value["o"]),
            high=float(value["h"]),
            low=float(value["l"]),
            close=float(value["c"]),
            volume=float(value.get("v", 0)),
            vwap=None if value.get("vw") is None else float(value["vw"]),
            trades=None if value.get("n") is None else int(value["n"]),
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some bars, ascending; `next_url` leads to the rest of the same question."""

    bars: tuple[Bar, ...]
    next_url: str | None


class PolygonApi:
    """One connection pool. The key travels in a header, so that no URL (and no log of URLs) ever contains it."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._origin = _origin(httpx2.URL(base_url))
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {api_key}"}

    def start(self) -> None:
        """Be ready to connect: nothing is asked before the first page."""
        self._http = httpx2.AsyncClient(
            base_url=self._base_url,
            headers=self._headers,
            timeout=_TIMEOUT_SECONDS,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=10),
        )

    async def page(self, series: Series, period: Period, limit: int) -> Page:
        """The first `limit` bars, or fewer, of a period. Raises ApiError."""
        path = (
            f"/v2/aggs/ticker/{series.instrument.ticker}/range/{series.timeframe.multiplier}/"
            f"{series.timeframe.timespan}/{period.start}/{period.end - 1}"  # the API includes both ends
        )
        return _page(await self._get(path, {"adjusted": "true", "sort": "asc", "limit": str(limit)}))

    async def following(self, next_url: str) -> Page:
        """The page that a page's `next_url` names. Raises ApiError."""
        if _origin(httpx2.URL(next_url)) != self._origin:
            # The key goes to the host that the operator named, not to one that an answer names.
            raise Refused("the next page is on another host")
        return _page(await self._get(next_url, None))

    async def ping(self, timeout_seconds: float) -> None:
        """Ask for the market status, which costs the API nothing. Raises ApiError."""
        await self._get("/v1/marketstatus/now", None, timeout_seconds)

    async def stop(self) -> None:
        await self._http.aclose()

    async def _get(
        self, url: str, query: Mapping[str, str] | None, timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> Mapping[str, Any]:
        try:
            response = await self._http.get(url, params=query, timeout=timeout_seconds)
        except httpx2.HTTPError as error:
            raise Unavailable(f"no answer ({type(error).__name__})") from error
        if response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            raise Throttled(_seconds(response.headers.get("Retry-After")))
        if response.is_server_error:
            raise Unavailable(f"the API answered {response.status_code}")
        if not response.is_success:
            raise Refused(f"the API answered {response.status_code}")
        try:
            body = response.json()
        except ValueError as error:
            raise Unavailable("the answer is not JSON") from error
        if not isinstance(body, dict):
            raise Unavailable("the answer is not a JSON object")
        return body


def _page(body: Mapping[str, Any]) -> Page:
    try:
        # A question without an answer has no `results` at all.
        bars = tuple(Bar.from_json(value) for value in body.get("results") or ())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable("the answer holds something that is not a bar") from error
    next_url = body.get("next_url")
    return Page(bars, next_url if isinstance(next_url, str) else None)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _seconds(retry_after: str | None) -> float | None:
    # The other form of Retry-After is a date; the API does not send it.
    return float(retry_after) if retry_after is not None and retry_after.isdigit() else None
