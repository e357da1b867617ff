"""FakeHub: a small hub for the tests of a service. A real HTTP server on loopback that speaks the wire contract for
reading (configuration, long poll, server-sent events, keys) and keeps its documents in memory."""

import json
import os
import secrets
import socket
import socketserver
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit
from weakref import WeakSet

from central_hub_client import layers, strict_json
from central_hub_client.config_manager import ConfigManager
from central_hub_client.service_instance import ServiceInstance
from central_hub_client.wire import (
    API_PREFIX,
    DEFAULT_ENVIRONMENT,
    GLOBAL,
    HUB_MIN_REVISION,
    HUB_REVISION,
    Bookmark,
    ConfigObject,
    ErrorCode,
    Position,
    content_hash,
    is_document_name,
    is_environment_name,
    is_service_name,
)

BOOKMARK_SECONDS: Final = 1.0
MAX_WAIT_SECONDS: Final = 60.0
APPLIED_SECONDS: Final = 20.0
ACCEPT_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    path: str
    query: Mapping[str, str]
    instance_id: str | None


class FakeHub:
    """Holds documents, answers clients, and tells them of changes.

    Use it as a context manager, or `start` and `stop` it: it can be stopped (everybody is cut off) and started again on
    the same port with its documents, to see what a service does without its hub. Its methods are safe to call from any
    thread. It knows no guards, schemas or history: what it is given, it sends.
    """

    def __init__(self, *, token: str | None = None, epoch: int = 1) -> None:
        self.hub_id = f"fake-{secrets.token_hex(8)}"
        self.epoch = epoch
        self.token = token
        """The only token that is taken; None takes any, and none."""
        self.public_keys: list[str] = []
        """What `GET /keys` names, in base64: the fake hub itself signs nothing."""
        self.instances: list[ServiceInstance] = []
        """The fleet, for whoever calls other services: change it as you like."""
        self.asked: list[Asked] = []
        """All requests so far."""
        self._revision = 0
        self._documents: dict[tuple[str, str], dict[str, Any]] = {}
        self._commits: dict[tuple[str, str], list[int]] = {}
        self._news = threading.Condition()
        self._port = 0
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it answers, from the first start on."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def is_running(self) -> bool:
        return self._server is not None

    def start(self) -> None:
        if self._server is None:
            self._server = _Server(self, self._port)
            self._port = self._server.server_address[1]
            threading.Thread(
                target=self._server.serve_forever, args=(ACCEPT_SECONDS,), name="fake hub", daemon=True
            ).start()

    def stop(self) -> None:
        """Cut everybody off, and answer nobody until the next start."""
        server, self._server = self._server, None
        if server is not None:
            server.end()
            with self._news:
                self._news.notify_all()

    def set(self, service: str, config: Mapping[str, Any], *, environment: str = DEFAULT_ENVIRONMENT) -> Position:
        """Replace a document (`_global` for the one under every service) and tell whoever follows it.

        Setting what is there already takes no revision. Raises ValueError for names and values that no hub would take.
        """
        if not is_document_name(service) or not is_environment_name(environment):
            raise ValueError(f"no document can be named {service!r} in environment {environment!r}")
        document = strict_json.parse(json.dumps(config).encode())
        with self._news:
            if self._documents.get((service, environment)) != document:
                self._documents[service, environment] = document
                self._commit(service, environment)
            return self.position

    def delete(self, service: str, *, environment: str = DEFAULT_ENVIRONMENT) -> Position:
        """Delete a document. Raises KeyError where there is none."""
        with self._news:
            del self._documents[service, environment]
            self._commit(service, environment)
            return self.position

    @property
    def position(self) -> Position:
        """The last commit."""
        return Position(self.epoch, self._revision)

    def current(self, service: str, environment: str = DEFAULT_ENVIRONMENT) -> ConfigObject | None:
        """What a client of (service, environment) is sent; None where there never was anything."""
        with self._news:
            return self._object(service, environment)

    def wait_until_applied(self, manager: ConfigManager[Any], within_seconds: float = APPLIED_SECONDS) -> None:
        """Wait until a running manager has taken, or refused, what is current here. Blocks.

        Raises TimeoutError after `within_seconds`, and LookupError where there is nothing to take.
        """
        expected = self.current(manager.service_name, manager.environment)
        if expected is None:
            raise LookupError(f"nothing was set for {manager.service_name} in environment {manager.environment}")
        deadline = time.monotonic() + within_seconds
        while True:
            status = manager.status
            refused = status.rejected
            seen = [(status.epoch, status.revision), *([(refused.epoch, refused.revision)] if refused else [])]
            if (expected.epoch, expected.revision) in seen:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{manager.service_name} is not at {expected.position}: {status}")
            time.sleep(0.005)

    def _commit(self, service: str, environment: str) -> None:
        self._revision += 1
        self._commits.setdefault((service, environment), []).append(self._revision)
        self._news.notify_all()

    def _object(self, service: str, environment: str) -> ConfigObject | None:
        names = [(GLOBAL, DEFAULT_ENVIRONMENT), (GLOBAL, environment)]
        own = [(service, DEFAULT_ENVIRONMENT), (service, environment)]
        names = list(dict.fromkeys(names + own))  # the two are one for the default environment
        if not any(name in self._commits for name in own):
            return None
        revisions = sorted({revision for name in names for revision in self._commits.get(name, ())})
        is_deleted = not any(name in self._documents for name in own)
        config = None if is_deleted else layers.merge([self._documents.get(name, {}) for name in names])
        return ConfigObject(
            service=service,
            environment=environment,
            config=config,
            version=f"1.0.{len(revisions) - 1}",
            hub_id=self.hub_id,
            epoch=self.epoch,
            revision=revisions[-1],
            previous_revision=revisions[-2] if len(revisions) > 1 else None,
            hash=content_hash(config),
            requires=(),
            updated_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            updated_by="fake-hub",
            deleted=is_deleted,
        )

    def _newer(self, service: str, environment: str, after: Position) -> ConfigObject | None:
        found = self._object(service, environment)
        return found if found is not None and found.position > after else None


INCARNATION: Final = {
    "instance_id": "fake-hub",
    "generation": 1,
    "incarnation_secret": "none",
    "schema_needed": False,
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, hub: FakeHub, port: int) -> None:
        self.hub = hub
        self.has_ended = False
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)
        _servers.add(self)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # the usual one asks the name service what this machine is called

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that hangs up is none of our business."""

    def end(self) -> None:
        self.has_ended = True
        self.shutdown()
        self.server_close()
        for connection in self._connections.copy():
            with suppress(OSError):  # closed by the other side already
                connection.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        """In a forked process, where nobody serves: else its copies of the sockets would outlive the parent's."""
        self.hub._server = None
        for connection in (self.socket, *self._connections):
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = parts.path.removeprefix(API_PREFIX)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        hub = self.server.hub
        hub.asked.append(Asked(path, query, self.headers.get("X-Hub-Instance")))
        if path in ("/health/live", "/health/ready"):
            return self._send(200, {"status": "ok"})
        if hub.token is not None and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self._refuse(401, ErrorCode.UNAUTHENTICATED, "a valid token is needed")
        if path == "/keys":
            keys = [{"id": str(i), "algorithm": "ed25519", "public_key": key} for i, key in enumerate(hub.public_keys)]
            return self._send(200, {"keys": keys})
        environment = query.get("environment", DEFAULT_ENVIRONMENT)
        try:
            after = self._position(query.get("after"))
            minimum = self._position(self.headers.get(HUB_MIN_REVISION))
            last_event = self._position(self.headers.get("Last-Event-ID"))
            wait_seconds = min(float(query.get("wait", "0")), MAX_WAIT_SECONDS)
        except ValueError as error:
            return self._refuse(422, ErrorCode.INVALID_REQUEST, str(error))
        if not is_environment_name(environment):
            return self._refuse(422, ErrorCode.INVALID_NAME, "that cannot name an environment")
        if path == "/config/watch":
            services = parse_qs(parts.query).get("service", [])
            return self._watch(services, environment, last_event or after)
        if path == "/config/":
            return self._config(GLOBAL, environment, None, None, 0.0)
        service = path.removeprefix("/config/")
        if path.startswith("/config/") and is_service_name(service):
            return self._config(service, environment, after, minimum, wait_seconds)
        service = path.removeprefix("/discovery/")
        if path.startswith("/discovery/") and is_service_name(service):
            return self._instances(service, environment)
        return self._refuse(404, ErrorCode.NOT_FOUND, "a fake hub has no such route")

    def do_POST(self) -> None:
        self.close_connection = True
        self.rfile.read(int(self.headers.get("Content-Length", "0")))  # unread, it would reset the connection
        if self.path.startswith(f"{API_PREFIX}/discovery/"):
            return self._send(200, INCARNATION)  # who registers is let in, and forgotten
        return self._refuse(405, ErrorCode.METHOD_NOT_ALLOWED, "a fake hub is written to by its own methods")

    do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815 - so are they called

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test's output is its own."""

    def _config(
        self, service: str, environment: str, after: Position | None, minimum: Position | None, wait_seconds: float
    ) -> None:
        hub = self.server.hub
        deadline = time.monotonic() + wait_seconds
        with hub._news:
            found = hub._object(service, environment)
            position = hub.position
            while after is not None and (found is None or found.position <= after):
                if not hub._news.wait(max(0.0, deadline - time.monotonic())) or self.server.has_ended:
                    break
                found, position = hub._object(service, environment), hub.position
        if minimum is not None and minimum > position:
            return self._refuse(503, ErrorCode.REPLICA_BEHIND, f"this hub is at {position}")
        if found is None or found.deleted:
            return self._refuse(404, ErrorCode.NOT_FOUND, f"there is no configuration of {service}")
        headers = {"ETag": found.etag, HUB_REVISION: str(position), "Cache-Control": "no-cache"}
        is_old = after is not None and found.position <= after
        if is_old or self.headers.get("If-None-Match") == found.etag:
            return self._send(304, None, headers)
        return self._send(200, found.to_json(), headers)

    def _instances(self, service: str, environment: str) -> None:
        place = (service, environment)
        listed = [found for found in list(self.server.hub.instances) if (found.service, found.environment) == place]
        self._send(200, {"instances": [instance.to_json() for instance in listed], "next": None})

    def _watch(self, services: list[str], environment: str, after: Position | None) -> None:
        hub = self.server.hub
        if not services or not all(map(is_document_name, services)):
            return self._refuse(422, ErrorCode.INVALID_REQUEST, "name the services to watch")
        if after is not None and (after.epoch != hub.epoch or after > hub.position):
            return self._refuse(410, ErrorCode.EPOCH_CHANGED, f"{after} is not of this hub's history")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for part in self._events(services, environment, after or Position(0, 0)):
            self.wfile.write(part)
        return None

    def _events(self, services: list[str], environment: str, sent: Position) -> Iterator[bytes]:
        hub = self.server.hub
        while not self.server.has_ended:
            with hub._news:
                if not (newer := self._newer(services, environment, sent)):
                    hub._news.wait(BOOKMARK_SECONDS)
                    newer = self._newer(services, environment, sent)
                position = hub.position
            if newer:
                sent = position
            else:
                yield _event("bookmark", Bookmark(hub.hub_id, position.epoch, position.revision, "").to_json())
            for index, found in enumerate(newer, 1):
                # Only the last of a batch has an id: who resumes after it has seen all before it.
                yield _event("config", found.to_json(), found.position if index == len(newer) else None)

    def _newer(self, services: list[str], environment: str, sent: Position) -> list[ConfigObject]:
        found = [self.server.hub._newer(service, environment, sent) for service in dict.fromkeys(services)]
        return sorted(filter(None, found), key=lambda received: (received.position, received.service))

    def _position(self, text: str | None) -> Position | None:
        return None if text is None else Position.parse(text, current_epoch=self.server.hub.epoch)

    def _refuse(self, status: int, code: ErrorCode, detail: str) -> None:
        problem = {"type": "about:blank", "title": code.value, "status": status, "detail": detail, "code": code.value}
        self._send(status, problem, {"Content-Type": "application/problem+json"})

    def _send(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body))} | dict(headers or {})
        if status == 304:
            del fields["Content-Length"], fields["Content-Type"]
        self.send_response(status)
        for name, text in fields.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)


def _event(name: str, value: Any, position: Position | None = None) -> bytes:
    identity = "" if position is None else f"id: {position}\n"
    return f"event: {name}\n{identity}data: {json.dumps(value)}\n\n".encode()


_servers: WeakSet[_Server] = WeakSet()


def _let_go_in_child() -> None:
    for server in list(_servers):
        server.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
