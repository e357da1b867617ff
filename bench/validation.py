"""What a schema adds to an accepted write: the same writer, with and without one, in turns."""

import json
import statistics
from typing import Any, Final

from bench.figures import Figure, at_most
from bench.hub import Hub, Servers, running_hub
from bench.load import COUNTER, Load, Seen, request
from bench.reads import drive

TURNS: Final = 6
SMALL_GROUPS: Final = 3
LARGE_GROUPS: Final = 135
"""So many make 1 KB and 45 KB."""


async def measure(servers: Servers, *, seconds: float) -> list[Figure]:
    """One writer, documents of 1 KB and of 45 KB."""
    async with running_hub(servers) as hub:
        small = await _medians(hub, SMALL_GROUPS, seconds)
        large = await _medians(hub, LARGE_GROUPS, seconds)
    return [
        at_most(
            "accepted write of 1 KB with a schema",
            f"p50 {small[1]:.1f} ms",
            f"without one {small[0]:.1f} ms",
            small[1] / small[0],
            1.3,
        ),
        Figure(
            "accepted write of 45 KB with a schema",
            f"p50 {large[1]:.1f} ms",
            f"without one {large[0]:.1f} ms",
            large[1] / large[0],
            "<= 25 ms more",
            large[1] - large[0] <= 25,
        ),
    ]


async def _medians(hub: Hub, groups: int, seconds: float) -> tuple[float, float]:
    """The usual latency without and with a schema, in milliseconds."""
    services = [f"free-{groups}", f"checked-{groups}"]
    answer = await hub.http.put(f"/api/v1/config/schema/{services[1]}", json=_schema(groups))
    answer.raise_for_status()
    seen: dict[str, list[float]] = {service: [] for service in services}
    first = 10_000_000
    for _ in range(TURNS):
        for service in services:
            found = await _write(hub, service, groups, seconds / TURNS, first)
            seen[service].append(found.p50_ms)
            first += 100_000
    free, checked = (statistics.median(seen[service]) for service in services)
    return free, checked


async def _write(hub: Hub, service: str, groups: int, seconds: float, first: int) -> Seen:
    body = json.dumps({"config": _config(groups)}).replace('"@"', COUNTER)
    return await drive(
        Load(hub.port, [request("POST", f"/api/v1/config/{service}", hub.headers, body)], seconds, 200, first)
    )


def _config(groups: int) -> dict[str, Any]:
    fields = {
        "batch_size": 150,
        "interval_seconds": 2.5,
        "mode": "incremental",
        "enabled": True,
        "symbols": ["EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "USDCHF", "NZDUSD"],
        "retry": {"attempts": 5, "backoff_seconds": 1.5, "jitter": True},
        "note": "x" * 100,
    }
    return {f"group_{number}": {**fields, "changed": "@"} if number == 0 else fields for number in range(groups)}


def _schema(groups: int) -> dict[str, Any]:
    group = {
        "type": "object",
        "properties": {
            "batch_size": {"type": "integer", "minimum": 1, "maximum": 10_000},
            "interval_seconds": {"type": "number", "exclusiveMinimum": 0},
            "mode": {"enum": ["incremental", "full"]},
            "enabled": {"type": "boolean"},
            "symbols": {"type": "array", "items": {"type": "string", "pattern": "^[A-Z]{6}$"}, "uniqueItems": True},
            "retry": {
                "type": "object",
                "properties": {"attempts": {"type": "integer"}, "backoff_seconds": {"type": "number"}},
                "required": ["attempts"],
            },
            "note": {"type": "string", "maxLength": 200},
            "changed": {"type": "integer"},
        },
        "required": ["batch_size", "mode"],
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {f"group_{number}": {"$ref": "#/$defs/group"} for number in range(groups)},
        "additionalProperties": False,
        "$defs": {"group": group},
    }
