"""What the models of many builds add to an accepted write: the same writer, with and without them, in turns."""

import json
import statistics
from typing import Any, Final

from bench.figures import Figure
from bench.hub import Hub, Servers, running_hub
from bench.load import COUNTER, Load, Seen, request
from bench.reads import drive

AIM_MS: Final = 100
TURNS: Final = 6
_SERVICES: Final = ("alone", "run")
_GROUPS: Final = 3
"""So many make 1 KB."""


async def measure(servers: Servers, *, builds: int, seconds: float) -> list[Figure]:
    """One writer; for one of the two services he writes, so many builds have each told another model."""
    async with running_hub(servers) as hub:
        for service in _SERVICES:
            await hub.put(service, _config(1))
        for number in range(builds):
            body = {"name": _SERVICES[1], "instance_id": f"{number:06}", "build": str(number), "lease_seconds": 3600}
            answer = await hub.http.post("/api/v1/discovery/register", json=body | {"schema": _model(number)})
            answer.raise_for_status()
        listed = await hub.http.get(f"/api/v1/config/contracts/{_SERVICES[1]}", timeout=60)
        counting = sum(contract["counts"] for contract in listed.json()["contracts"])
        if counting != builds:
            raise AssertionError(f"{counting} of {builds} models count")
        seen: dict[str, list[Seen]] = {service: [] for service in _SERVICES}
        for turn in range(TURNS):
            for service in _SERVICES:
                seen[service].append(await _write(hub, service, seconds / TURNS, 10_000_000 + turn * 100_000))
    without, held = (statistics.median(found.p50_ms for found in seen[service]) for service in _SERVICES)
    worst = max(found.p99_ms for found in seen[_SERVICES[1]])
    return [
        Figure(
            f"accepted write of 1 KB, held against {builds} different models",
            f"p50 {held:.0f} ms, p99 {worst:.0f} ms",
            f"without one {without:.0f} ms",
            held / without,
            f"<= {AIM_MS} ms more",
            held - without <= AIM_MS,
        )
    ]


async def _write(hub: Hub, service: str, seconds: float, first: int) -> Seen:
    body = json.dumps({"config": _config("@")}).replace('"@"', COUNTER)
    return await drive(
        Load(hub.port, [request("POST", f"/api/v1/config/{service}", hub.headers, body)], seconds, 200, first)
    )


def _config(changed: Any) -> dict[str, Any]:
    fields = {
        "batch_size": 150,
        "mode": "incremental",
        "symbols": ["EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "USDCHF", "NZDUSD"],
        "retry": {"attempts": 5, "backoff_seconds": 1.5, "jitter": True},
        "note": "x" * 150,
    }
    return {f"group_{number}": fields for number in range(_GROUPS)} | {"changed": changed}


def _model(number: int) -> dict[str, Any]:
    """A settings model as Pydantic describes it, with something that no other build has."""
    retry = {
        "type": "object",
        "properties": {
            "attempts": {"type": "integer", "minimum": 1},
            "backoff_seconds": {"type": "number", "exclusiveMinimum": 0},
            "jitter": {"type": "boolean"},
        },
        "required": ["attempts"],
        "additionalProperties": False,
    }
    group = {
        "type": "object",
        "properties": {
            "batch_size": {"type": "integer", "minimum": 1, "maximum": 10_000},
            "mode": {"enum": ["incremental", "full"]},
            "symbols": {"type": "array", "items": {"type": "string", "pattern": "^[A-Z]{6}$"}},
            "retry": {"$ref": "#/$defs/Retry"},
            "note": {"type": "string", "maxLength": 200},
        },
        "required": ["batch_size", "mode"],
        "additionalProperties": False,
    }
    return {
        "title": f"Settings of build {number}",
        "type": "object",
        "properties": {
            **{f"group_{index}": {"$ref": "#/$defs/Group"} for index in range(_GROUPS)},
            "changed": {"type": "integer"},
            f"only_{number}": {"type": "integer", "default": number},
        },
        "$defs": {"Group": group, "Retry": retry},
        "additionalProperties": False,
    }
