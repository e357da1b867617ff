"""The embedded nats-server: on loopback, with one account for the hub and one for the fleet that only listens."""

import asyncio
import json
import secrets
import socket
from contextlib import AsyncExitStack, closing
from pathlib import Path
from signal import Signals
from typing import Final
from urllib.parse import urlsplit

from central_hub.embedded.binaries import reachable_nats_server
from central_hub.embedded.directory import DataDirectory
from central_hub.embedded.leftovers import end_processes
from central_hub.embedded.process import NotReady, Program
from central_hub.embedded.supervisor import supervise
from central_hub.errors import StartupRefused
from central_hub_client.wire import BOOKMARK_SUBJECT, INSTANCES_SUBJECTS, STREAM, UPDATE_SUBJECTS

URL_FILE: Final = "nats.url"
CLIENT_URL_FILE: Final = "nats.client.url"

_STORE: Final = "nats"
_DIRECT_GET: Final = f"$JS.API.DIRECT.GET.{STREAM}.{UPDATE_SUBJECTS}"
_HOST: Final = "127.0.0.1"
# Below the ports that systems give to outgoing connections: one of those could hold the port at the next start.
_PORTS: Final = range(10_240, 32_768)
_STOP_SIGNALS: Final = ((Signals.SIGTERM, 10.0),)
_ANSWER_SECONDS: Final = 5.0


async def start(directory: DataDirectory, program_file: Path, running: AsyncExitStack) -> tuple[str, str]:
    """Start the server, to be stopped by `running`.

    Returns the URL of the hub and that of clients. Raises StartupRefused.
    """
    binary = await asyncio.to_thread(reachable_nats_server, program_file, directory)
    hub, client = urlsplit(directory.read(URL_FILE)), urlsplit(directory.read(CLIENT_URL_FILE))
    hub_password = hub.password or secrets.token_urlsafe(24)
    client_password = client.password or secrets.token_urlsafe(24)
    port = hub.port or _free_port()
    store = directory.subdirectory_for_servers(_STORE)
    configuration = directory.write_for_servers("nats.conf", _configuration(port, hub_password, client_password, store))
    program = Program(
        name="NATS",
        argv=(str(binary), "--config", str(configuration)),
        directory=store,
        account=directory.account,
        log_path=directory.subdirectory("log") / "nats.log",
        stop_signals=_STOP_SIGNALS,
        probe=lambda: _probe(port, "hub", hub_password),
        end_leftovers=lambda: end_leftovers(directory),
    )
    if not _is_free(port):
        raise StartupRefused(
            f"port {port} on {_HOST}, which {directory.path / URL_FILE} names for NATS, is taken by another program:"
            f" stop that, or delete {URL_FILE} and {CLIENT_URL_FILE} there to have another port and new credentials"
            " chosen"
        )
    running.push_async_callback((await supervise(program)).stop)
    url = f"nats://hub:{hub_password}@{_HOST}:{port}"
    client_url = f"nats://client:{client_password}@{_HOST}:{port}"
    directory.write(URL_FILE, url)
    directory.write(CLIENT_URL_FILE, client_url)
    return url, client_url


async def end_leftovers(directory: DataDirectory) -> None:
    """End the server that a killed hub has left."""
    await asyncio.to_thread(end_processes, {"nats-server"}, directory.path / _STORE, _STOP_SIGNALS)


def _configuration(port: int, hub_password: str, client_password: str, store: Path) -> str:
    # Two accounts, not two users of one: a direct get is answered to whatever subject its sender names, so a client in
    # the hub's account could have the server write an old message to any subject of the stream.
    return f"""\
# Written at every start of the hub.
server_name: central-hub
listen: "{_HOST}:{port}"
max_payload: 1MB
jetstream {{
  store_dir: {json.dumps(str(store), ensure_ascii=False)}
  max_memory_store: 64MB
  max_file_store: 1GB
}}
accounts {{
  HUB {{
    jetstream: enabled
    users: [{{user: hub, password: "{hub_password}"}}]
    exports: [
      {{stream: "{UPDATE_SUBJECTS}"}}
      {{stream: "{BOOKMARK_SUBJECT}"}}
      {{stream: "{INSTANCES_SUBJECTS}"}}
      {{service: "{_DIRECT_GET}"}}
    ]
  }}
  FLEET {{
    users: [{{
      user: client, password: "{client_password}"
      permissions: {{
        publish: {{allow: ["{_DIRECT_GET}"]}}
        subscribe: {{allow: ["{UPDATE_SUBJECTS}", "{BOOKMARK_SUBJECT}", "{INSTANCES_SUBJECTS}", "_INBOX.>"]}}
      }}
    }}]
    imports: [
      {{stream: {{account: HUB, subject: "{UPDATE_SUBJECTS}"}}}}
      {{stream: {{account: HUB, subject: "{BOOKMARK_SUBJECT}"}}}}
      {{stream: {{account: HUB, subject: "{INSTANCES_SUBJECTS}"}}}}
      {{service: {{account: HUB, subject: "{_DIRECT_GET}"}}}}
    ]
  }}
}}
"""


async def _probe(port: int, user: str, password: str) -> None:
    """Log in: not any server on that port will do."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(_HOST, port)
            with closing(writer):
                await reader.readline()  # INFO
                login = {"user": user, "pass": password, "verbose": False, "pedantic": False, "name": "probe"}
                writer.write(f"CONNECT {json.dumps(login)}\r\nPING\r\n".encode())
                answer = await reader.readline()
    except (OSError, TimeoutError) as error:
        raise NotReady(str(error) or type(error).__name__) from error
    if answer.strip() != b"PONG":
        raise NotReady(f"the server on port {port} answered the login with {answer!r}")


def _free_port() -> int:
    while not _is_free(port := secrets.choice(_PORTS)):
        pass
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        # As nats-server will: connections that are being closed do not count.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((_HOST, port))
        except OSError:
            return False
        return True
