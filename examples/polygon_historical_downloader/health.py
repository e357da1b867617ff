"""Measure, every so often, whether the database and the API answer, and say what the configuration's source is."""

import asyncio
import sqlite3

from . import events
from .bars import BarStore
from .live_settings import LiveSettings
from .polygon_api import ApiError, PolygonApi, Refused, Throttled
from .traffic import Stopped, Traffic


async def watch(live: LiveSettings, traffic: Traffic, api: PolygonApi, bars: BarStore) -> None:
    """Print one `health` line per `health_check.interval_seconds` until the service stops."""
    while not traffic.is_stopping:
        settings = live.current.settings.health_check
        try:
            problems = [
                *await _database_problems(bars, settings.timeout_seconds),
                *await _api_problems(traffic, api, settings.timeout_seconds),
            ]
        except Stopped:
            return
        report = events.warning if problems else events.info
        report("health", healthy=not problems, problems=problems, **live.current.stamp)
        await traffic.pause(live.current.settings.health_check.interval_seconds)


async def _database_problems(bars: BarStore, timeout_seconds: float) -> list[str]:
    try:
        async with asyncio.timeout(timeout_seconds):
            await bars.ping()
    except (sqlite3.Error, TimeoutError) as error:
        return [f"database: {error or 'no answer in time'}"]
    return []


async def _api_problems(traffic: Traffic, api: PolygonApi, timeout_seconds: float) -> list[str]:
    # A request like any other: it takes its slot and its turn, and its answer counts for the circuit.
    async with traffic.admission(lambda: True):
        try:
            await api.ping(timeout_seconds)
        except (Throttled, Refused) as error:
            traffic.answered()
            return [] if isinstance(error, Throttled) else [f"api: {error}"]
        except ApiError as error:
            traffic.failed()
            return [f"api: {error}"]
        traffic.answered()
        return []
