"""What the stream keeps, held against what a replica answers."""

import asyncio
import base64
from collections.abc import Iterable

import httpx2
import nats
import orjson
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError

from central_hub.security.signing import is_signed
from central_hub_client.wire import HUB_KEY_ID, HUB_SIGNATURE, STREAM, update_subject

Config = tuple[str, str]


async def untrue(nats_url: str, http: httpx2.AsyncClient, configs: Iterable[Config]) -> list[str]:
    """The configs of which the stream does not hold the true object, signed by a replica, as the last message."""
    answer = await http.get("/api/v1/keys")
    keys = {key["id"]: base64.b64decode(key["public_key"]) for key in orjson.loads(answer.content)["keys"]}
    client = await nats.connect(nats_url)
    try:
        found = []
        for service, environment in sorted(configs):
            name = f"{service}@{environment}"
            truth = await http.get(f"/api/v1/config/{service}", params={"environment": environment})
            try:
                last = await client.jetstream().get_last_msg(STREAM, update_subject(service, environment), direct=True)
            except (NotFoundError, NoRespondersError):
                found.append(f"{name} is not there")
                continue
            headers, payload = last.headers or {}, last.data or b""
            key = keys.get(headers.get(HUB_KEY_ID, ""))
            if payload != truth.content:
                found.append(f"{name} is {payload[:200]!r}")
            elif key is None or not is_signed(payload, headers.get(HUB_SIGNATURE, ""), key):
                found.append(f"{name} is not signed by a replica")
        return found
    finally:
        await client.close()


async def until_true(
    nats_url: str, http: httpx2.AsyncClient, configs: Iterable[Config], *, within: float = 20.0
) -> float:
    """Wait until the stream is true of all configs; returns how many seconds that took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        try:
            wrong = await untrue(nats_url, http, configs)
        except (NatsError, TimeoutError) as error:  # a busy machine lets a connection or an answer time out
            wrong = [f"nobody could look: {error!r}"]
        if not wrong:
            return loop.time() - began
        assert loop.time() - began < within, wrong
        await asyncio.sleep(0.1)
