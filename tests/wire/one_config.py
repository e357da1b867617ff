"""A well-behaved stand-in for a hub, whose present a test sets: it can lag, forget, or begin a new epoch at will."""

import asyncio
import base64
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central_hub_client.wire import HUB_KEY_ID, HUB_SIGNATURE, Bookmark, ConfigObject
from tests.wire.scripted_server import Exchange


class OneConfig:
    """Answers with one configuration, its changes as events, and the key that it signs with."""

    def __init__(self, current: ConfigObject) -> None:
        self.current = current
        self.key = Ed25519PrivateKey.generate()
        self.has_events = True

    @property
    def public_key(self) -> str:
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    @property
    def bookmark(self) -> Bookmark:
        return Bookmark(self.current.hub_id, self.current.epoch, self.current.revision, "")

    def signed(self, payload: bytes) -> dict[str, str]:
        return {HUB_KEY_ID: "scripted", HUB_SIGNATURE: base64.b64encode(self.key.sign(payload)).decode()}

    async def __call__(self, exchange: Exchange) -> None:
        target = exchange.request.target
        if target.endswith("/keys"):
            key = {"id": "scripted", "algorithm": "ed25519", "public_key": self.public_key}
            await exchange.respond("200 OK", json.dumps({"keys": [key]}).encode(), Content_Type="application/json")
        elif "/discovery/" in target:
            incarnation = {"instance_id": "one", "generation": 1, "incarnation_secret": "s", "lease_seconds": 30}
            await exchange.respond("200 OK", json.dumps(incarnation).encode(), Content_Type="application/json")
        elif "/config/watch" in target and self.has_events:
            await self._stream(exchange)
        elif "/config/watch" in target:
            await exchange.respond("503 Service Unavailable")
        elif self.current.deleted:
            problem = b'{"code": "not_found", "detail": "it was deleted"}'
            await exchange.respond("404 Not Found", problem, Content_Type="application/problem+json")
        elif exchange.request.headers.get("if-none-match") == self.current.etag:
            position = str(self.current.position)
            await exchange.send(f"HTTP/1.1 304 Not Modified\r\nX-Hub-Revision: {position}\r\n\r\n".encode())
        else:
            await exchange.respond_config(self.current)

    async def _stream(self, exchange: Exchange) -> None:
        await exchange.open_stream()
        after = exchange.request.target.partition("after=")[2]
        sent = tuple(map(int, after.split("."))) if after else (0, 0)
        while True:
            current = self.current
            position = (current.epoch, current.revision)
            await exchange.send_event(current if position > sent else self.bookmark)
            sent = position
            await asyncio.sleep(0.02)
