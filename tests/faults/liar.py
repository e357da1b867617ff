"""Somebody with the right to publish on the bus, and no good intentions."""

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import nats
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from central_hub_client.wire import (
    BOOKMARK_SUBJECT,
    HUB_KEY_ID,
    HUB_SIGNATURE,
    UPDATE_SUBJECTS,
    content_hash,
    update_subject,
)
from tests.faults.stream import Config

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

    async def lie_about(self, config: Config) -> None:
        """One lie, of any kind."""
        self.told += 1
        subject = update_subject(*config)
        lie = self._rng.choice([self._repeat, self._misplace, self._forge, self._forge, self._babble])
        await lie(config, subject)

    async def forge(self, config: Config, changes: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """A config that no hub has made, dressed as the last one that a hub has."""
        genuine = await self._genuine(config)
        payload = orjson.loads(genuine.data) | {"config": LIE, "hash": content_hash(LIE)} | changes
        await self.say(config, orjson.dumps(payload), {**(genuine.headers or {}), **headers})

    async def say(self, config: Config, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.told += 1
        await self._client.publish(update_subject(*config), payload, headers=None if headers is None else dict(headers))

    async def _genuine(self, config: Config) -> Msg:
        """The last true word about it. A bus that was away hears it later than clients that had it from the hub."""
        subject = update_subject(*config)
        async with asyncio.timeout(30):
            while True:
                for message in reversed(self._heard):
                    if message.subject == subject:
                        return message
                await asyncio.sleep(0.05)

    async def _repeat(self, _config: Config, _subject: str) -> None:
        message = self._rng.choice(self._heard)
        await self._client.publish(message.subject, message.data, headers=message.headers)

    async def _misplace(self, _config: Config, subject: str) -> None:
        """True words in the wrong place; or in a place that looks like the right one and is none."""
        message = self._rng.choice(self._heard)
        where = self._rng.choice([subject, f"{message.subject}.default", BOOKMARK_SUBJECT])
        await self._client.publish(where, message.data, headers=message.headers)

    async def _forge(self, config: Config, subject: str) -> None:
        genuine = await self._genuine(config)
        known = orjson.loads(genuine.data)
        revision = self._rng.choice([0, 1, known["revision"], known["revision"] + 1, 10**6, 2**53])
        epoch = self._rng.choice([0, 1, 1, 1, 2])
        made_up = {"config": LIE, "hash": content_hash(LIE), "version": "9.9.9", "epoch": epoch, "revision": revision}
        headers = genuine.headers or {}
        signature = self._rng.choice(
            [headers[HUB_SIGNATURE], "AAAA", base64.b64encode(self._rng.randbytes(64)).decode()]
        )
        taken = {
            "Nats-Msg-Id": f"{epoch}.{revision}.{config[0]}.{config[1]}",
            HUB_KEY_ID: self._rng.choice([headers[HUB_KEY_ID], "0" * 16]),
            HUB_SIGNATURE: signature,
        }
        await self._client.publish(subject, orjson.dumps(known | made_up), headers=taken)

    async def _babble(self, _config: Config, subject: str) -> None:
        size = self._rng.choice([0, 50, 5000])
        await self._client.publish(self._rng.choice([subject, BOOKMARK_SUBJECT]), self._rng.randbytes(size))


@asynccontextmanager
async def a_liar(nats_url: str, rng: random.Random) -> AsyncIterator[Liar]:
    """Connected with the rights of a hub."""
    client = await nats.connect(nats_url, no_echo=True)
    try:
        liar = Liar(client, rng)
        await client.subscribe(UPDATE_SUBJECTS, cb=liar.listen)
        await client.flush()
        yield liar
    finally:
        await client.close()
