"""Somebody with the right to publish on the bus, and no good intentions; and what the stream says in the end."""

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import nats
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from central_hub.security.signing import is_signed
from central_hub_client.wire import (
    HUB_KEY_ID,
    HUB_SIGNATURE,
    STREAM,
    UPDATE_SUBJECTS,
    content_hash,
    update_subject,
)

LIE = {"lie": True}


class Liar:
    """Hears everything, and repeats it late, twice, elsewhere, altered, or makes it up."""

    def __init__(self, client: Client, rng: random.Random) -> None:
        self.told = 0
        self._client = client
        self._rng = rng
        self._heard: list[Msg] = []

    async def listen(self, message: Msg) -> None:
        self._heard.append(message)

    async def lie(self, configs: Iterable[tuple[str, str]]) -> None:
        """One lie about one of these configs."""
        self.told += 1
        service, environment = self._rng.choice(sorted(configs))
        subject = update_subject(service, environment)
        genuine = self._rng.choice(self._heard) if self._heard else None
        kind = self._rng.randrange(7)
        if kind == 0:
            await self._client.publish(subject, self._rng.randbytes(50))
        elif kind == 1 and genuine is not None:
            # Late, or a second time.
            await self._client.publish(genuine.subject, genuine.data, headers=genuine.headers)
        elif kind == 2 and genuine is not None:
            # True words in the wrong place.
            await self._client.publish(subject, genuine.data, headers=genuine.headers)
        elif kind == 3:
            await self._delete(subject)
        else:
            await self.forge(subject, service, environment, genuine)

    async def forge(self, subject: str, service: str, environment: str, genuine: Msg | None) -> None:
        """A config that no hub has made, as well as it can be made without a key."""
        known: dict[str, Any] = {} if genuine is None else orjson.loads(genuine.data)
        revision = self._rng.choice([0, 1, known.get("revision", 0) + 1, 10**6, 2**60])
        payload = orjson.dumps(
            known
            | {
                "service": service,
                "environment": environment,
                "config": LIE,
                "hash": content_hash(LIE),
                "version": "9.9.9",
                "epoch": self._rng.choice([1, 1, 1, 2]),
                "revision": revision,
            }
        )
        signatures = [(genuine.headers or {}).get(HUB_SIGNATURE, "")] if genuine is not None else [""]
        signatures += ["AAAA", base64.b64encode(self._rng.randbytes(64)).decode()]
        key_id = (genuine.headers or {}).get(HUB_KEY_ID, "0" * 16) if genuine is not None else "0" * 16
        headers = {
            "Nats-Msg-Id": f"1.{revision}.{service}.{environment}",
            HUB_KEY_ID: key_id,
            HUB_SIGNATURE: self._rng.choice(signatures),
        }
        await self._client.publish(subject, payload, headers=headers)

    async def _delete(self, subject: str) -> None:
        jetstream = self._client.jetstream()
        try:
            last = await jetstream.get_last_msg(STREAM, subject)
            if last.seq is not None:
                await jetstream.delete_msg(STREAM, last.seq)
        except NotFoundError:
            return


@asynccontextmanager
async def a_liar(nats_url: str, rng: random.Random) -> AsyncIterator[Liar]:
    """Connected with the rights of a hub."""
    client = await nats.connect(nats_url)
    try:
        liar = Liar(client, rng)
        await client.subscribe(UPDATE_SUBJECTS, cb=liar.listen)
        yield liar
    finally:
        await client.close()


async def untrue(nats_url: str, http: httpx2.AsyncClient, configs: Iterable[tuple[str, str]]) -> list[str]:
    """The configs of which the stream does not hold the true, signed object as the last message."""
    keys = {
        key["id"]: base64.b64decode(key["public_key"])
        for key in orjson.loads((await http.get("/api/v1/keys")).content)["keys"]
    }
    client = await nats.connect(nats_url)
    try:
        found = []
        for service, environment in sorted(configs):
            answer = await http.get(f"/api/v1/config/{service}", params={"environment": environment})
            try:
                last = await client.jetstream().get_last_msg(STREAM, update_subject(service, environment), direct=True)
            except NotFoundError:
                found.append(f"{service}@{environment} is not there")
                continue
            headers = last.headers or {}
            key = keys.get(headers.get(HUB_KEY_ID, ""))
            payload = last.data or b""
            if payload != answer.content:
                found.append(f"{service}@{environment} is {payload[:200]!r}")
            elif key is None or not is_signed(payload, headers.get(HUB_SIGNATURE, ""), key):
                found.append(f"{service}@{environment} is not signed by a replica")
        return found
    finally:
        await client.close()


async def until_true(
    nats_url: str, http: httpx2.AsyncClient, configs: Iterable[tuple[str, str]], *, within: float
) -> float:
    """Wait until the stream is true of all configs; returns how many seconds that took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        wrong = await untrue(nats_url, http, configs)
        if not wrong:
            return loop.time() - began
        assert loop.time() - began < within, wrong
        await asyncio.sleep(0.1)
