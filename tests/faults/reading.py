"""What replicas answer, gathered to be held against each other."""

import asyncio
from collections.abc import Iterable
from typing import Any

import httpx2
import orjson

from central_hub_client.wire import HUB_MIN_REVISION, Position

Answers = dict[tuple[str, str], tuple[str, dict[str, Any]]]


async def read_all(http: httpx2.AsyncClient, configs: Iterable[tuple[str, str]], at_least: Position) -> Answers:
    """ETag and object of every config, of that position or later."""

    async def read(service: str, environment: str) -> tuple[str, dict[str, Any]]:
        answer = await http.get(
            f"/api/v1/config/{service}",
            params={"environment": environment},
            headers={HUB_MIN_REVISION: str(at_least)},
        )
        assert answer.status_code == 200, answer.text
        return answer.headers["etag"], orjson.loads(answer.content)

    keys = sorted(configs)
    return dict(zip(keys, await asyncio.gather(*(read(*key) for key in keys)), strict=True))
