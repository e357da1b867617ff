"""The requests that a client makes: its configuration, the event stream, the signing keys, and what it tells the hub.

Whatever answers is held to what a hub would answer: no redirect is followed, no encoding accepted, nothing read beyond
a limit or a deadline, nothing parsed but strict JSON. Errors are those of `errors.py` and nothing else.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx2

from central_hub_client import instance_events, strict_json
from central_hub_client.blocking import run_blocking
from central_hub_client.client_settings import ClientSettings
from central_hub_client.errors import CentralHubError, HubUnreachable, InvalidAnswer, InvalidSettings, error_from
from central_hub_client.instance_events import InstanceEvent
from central_hub_client.service_instance import ServiceInstance
from central_hub_client.trust import read_key_list
from central_hub_client.wire import (
    API_PREFIX,
    HUB_INSTANCE,
    HUB_MIN_REVISION,
    HUB_REVISION,
    HUB_STALE,
    Bookmark,
    ConfigObject,
    Position,
)

# An effective configuration has up to four layers, each a document within the hub's limits.
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
MAX_ANSWER_NODES: Final = 4 * strict_json.MAX_NODES + 100
# A page of instances: each may bring 16 KB of metadata, and as much of labels.
INSTANCES_ON_A_PAGE: Final = 250
MAX_PAGE_BYTES: Final = 12 * 1024 * 1024
MAX_PAGE_NODES: Final = INSTANCES_ON_A_PAGE * 8_000
MAX_PAGES: Final = 200
# All instances of a service in one event.
MAX_LIST_BYTES: Final = 32 * 1024 * 1024
MAX_PROBLEM_BYTES: Final = 256 * 1024
CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 10.0
# A hub sends a bookmark every two seconds; one may be lost on the way, two in a row mean that nobody is there.
SILENCE_SECONDS: Final = 5.0
MAX_RETRY_AFTER_SECONDS: Final = 300.0
# Parsing costs up to 150 ms per MB: above this it happens in a thread, so that the caller's event loop stays free.
PARSE_IN_THREAD_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What the hub said about a configuration; `received` is None where the ETag still holds.

    `applied` is how far the answering replica has got.
    """

    received: ConfigObject | None
    applied: Position | None
    is_stale: bool


class HubApi:
    """One hub, spoken to as one service instance. Before `open` and after `close` it is as if nobody were there."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._http: httpx2.AsyncClient | None = None
        self._closed_because = "; ".join(settings.problems)

    def open(self, instance_id: str) -> None:
        """Make ready to ask. Blocks while certificates are loaded (a tenth of a second): call it in a thread."""
        url = self._settings.hub_url
        if url is None or self._http is not None:
            return
        headers = {"Accept-Encoding": "identity", HUB_INSTANCE: instance_id}
        if self._settings.token is not None:
            headers["Authorization"] = f"Bearer {self._settings.token}"
        try:
            # Plain HTTP needs no certificates: a context that trusts nobody spares loading them.
            tls = httpx2.create_ssl_context() if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._http = httpx2.AsyncClient(
                base_url=url + API_PREFIX,
                headers=headers,
                verify=tls,
                timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
                follow_redirects=False,
                # A proxy between us and loopback would make "this machine" somebody else.
                trust_env=not self._settings.is_hub_local,
            )
        except (httpx2.InvalidURL, ValueError, ImportError, OSError) as error:  # of the URL, proxies or certificates
            self._closed_because = f"the hub cannot be asked with these settings: {error}"

    async def fetch_config(
        self, service: str, environment: str, *, etag: str | None = None, minimum: Position | None = None
    ) -> Answer:
        """The effective configuration. A replica behind `minimum` waits for it, and refuses rather than be stale."""
        headers = {"Accept": "application/json"}
        if etag is not None:
            headers["If-None-Match"] = etag
        if minimum is not None:
            headers[HUB_MIN_REVISION] = str(minimum)
        async with self._request(f"/config/{service}", {"environment": environment}, headers) as response:
            applied = _position(response.headers.get(HUB_REVISION))
            is_stale = response.headers.get(HUB_STALE, "").lower() == "true"
            if response.status_code == httpx2.codes.NOT_MODIFIED:
                if etag is None:
                    raise InvalidAnswer("the answer was 304 to a request without a condition")
                return Answer(None, applied, is_stale)
            received = await read_config_object(await _json_body(response))
        return Answer(received, applied, is_stale)

    async def fetch_instances(self, service: str, environment: str) -> list[ServiceInstance]:
        """All instances of a service in an environment, however they are."""
        query = {"environment": environment, "limit": str(INSTANCES_ON_A_PAGE)}
        found: list[ServiceInstance] = []
        for _ in range(MAX_PAGES):
            async with self._request(f"/discovery/{service}", query, {"Accept": "application/json"}) as response:
                body = await _json_body(response, limit=MAX_PAGE_BYTES)
            try:
                page, upcoming = await run_blocking(_read_instances, body)
            except ValueError as error:
                raise InvalidAnswer(f"the list of instances cannot be read: {error}") from error
            found += page
            if upcoming is None:
                return found
            query["after"] = upcoming
        raise InvalidAnswer(f"the list of instances does not end after {MAX_PAGES} pages")

    async def fetch_keys(self) -> tuple[bytes, ...]:
        """The public keys of all live replicas."""
        async with self._request("/keys", {}, {"Accept": "application/json"}) as response:
            body = await _json_body(response)
        try:
            return read_key_list(strict_json.parse(body))
        except ValueError as error:
            raise InvalidAnswer(f"the list of keys cannot be read: {error}") from error

    async def tell(self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None) -> Any:
        """Send JSON, and return what is answered: an object, or None where the answer is empty."""
        headers = {"Accept": "application/json"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = strict_json.canonical(body)
        async with self._request(path, query, headers, method=method, content=content) as response:
            if response.status_code == httpx2.codes.NO_CONTENT:
                return None
            answer = await _json_body(response)
        try:
            return strict_json.parse(answer)
        except ValueError as error:
            raise InvalidAnswer(f"the answer cannot be read: {error}") from error

    async def watch(
        self, service: str, environment: str, *, after: Position | None
    ) -> AsyncGenerator[ConfigObject | Bookmark]:
        """Events as they come: for one service each is a place to resume after. Ends with an error, never by itself.

        Silence for `SILENCE_SECONDS` is an error too: bytes that are no event do not count as life.
        """
        query = {"service": service, "environment": environment}
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if after is not None:
            query["after"] = headers["Last-Event-ID"] = str(after)
        names = frozenset({"config", "bookmark"})
        async with contextlib.aclosing(
            self._events("/config/watch", query, headers, names, limit=MAX_ANSWER_BYTES)
        ) as events:
            async for name, body in events:
                yield _bookmark(body) if name == "bookmark" else await read_config_object(body)

    async def watch_instances(self, services: Sequence[str], environment: str) -> AsyncGenerator[InstanceEvent]:
        """The instances of services, and every change of them, until an error; it never ends by itself."""
        query: dict[str, str | list[str]] = {"service": list(services), "environment": environment}
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        async with contextlib.aclosing(
            self._events("/discovery/watch", query, headers, instance_events.NAMES, limit=MAX_LIST_BYTES)
        ) as events:
            async for name, body in events:
                try:
                    if len(body) > PARSE_IN_THREAD_BYTES:
                        yield await run_blocking(instance_events.read, name, body)
                    else:
                        yield instance_events.read(name, body)
                except ValueError as error:
                    raise InvalidAnswer(f"an event about instances cannot be read: {error}") from error

    async def _events(
        self,
        path: str,
        query: Mapping[str, str | list[str]],
        headers: Mapping[str, str],
        names: frozenset[str],
        *,
        limit: int,
    ) -> AsyncGenerator[tuple[str, bytes]]:
        """Those of a stream's events that have such a name. Silence is an error, and so is its end."""
        async with self._request(path, query, headers, deadline_seconds=None) as response:
            if response.status_code != httpx2.codes.OK:
                raise InvalidAnswer(f"the answer was HTTP {response.status_code}, which is no event stream")
            events = aiter(httpx2.EventSource(response, max_event_size=limit))
            while True:
                try:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        event = await anext(events)
                        while event.event not in names:
                            event = await anext(events)
                except TimeoutError as error:
                    raise HubUnreachable(f"the event stream was silent for {SILENCE_SECONDS:g} s") from error
                except StopAsyncIteration as error:
                    raise HubUnreachable("the hub ended the event stream") from error
                yield event.event, event.data.encode()

    async def close(self) -> None:
        if self._http is not None:
            http, self._http, self._closed_because = self._http, None, "the client was shut down"
            await http.aclose()

    @contextlib.asynccontextmanager
    async def _request(
        self,
        path: str,
        query: Mapping[str, str | list[str]],
        headers: Mapping[str, str],
        *,
        method: str = "GET",
        content: bytes | None = None,
        deadline_seconds: float | None = ANSWER_SECONDS,
    ) -> AsyncIterator[httpx2.Response]:
        if self._http is None:
            raise InvalidSettings(self._closed_because)
        try:
            async with (
                asyncio.timeout(deadline_seconds),
                self._http.stream(method, path, params=dict(query), headers=dict(headers), content=content) as response,
            ):
                if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                    raise InvalidAnswer("the answer is compressed, which was not asked for")
                if response.has_redirect_location:
                    raise InvalidAnswer(
                        f"the answer was a redirect (HTTP {response.status_code}), which is not followed"
                    )
                if response.status_code >= 400:
                    raise await _problem(response)
                yield response
        except TimeoutError as error:
            raise HubUnreachable("the hub did not answer in time") from error
        except httpx2.TimeoutException as error:
            raise HubUnreachable(f"the hub did not answer in time ({type(error).__name__})") from error
        except httpx2.SSEError as error:
            raise InvalidAnswer(str(error)) from error
        except httpx2.ProtocolError as error:
            raise HubUnreachable(f"the connection broke: {error}") from error
        except httpx2.TransportError as error:
            raise HubUnreachable(str(error) or type(error).__name__) from error


async def _json_body(response: httpx2.Response, *, limit: int = MAX_ANSWER_BYTES) -> bytes:
    if response.status_code != httpx2.codes.OK:
        raise InvalidAnswer(f"the answer was HTTP {response.status_code}, which is not what was asked for")
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise InvalidAnswer("the answer is not JSON by its content type; is this the hub, or a proxy's page?")
    return await _limited_body(response, limit)


async def _limited_body(response: httpx2.Response, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            raise InvalidAnswer(f"the answer is larger than {limit // 1024} KiB")
    return bytes(body)


async def read_config_object(body: bytes) -> ConfigObject:
    """The object that the bytes spell. Raises InvalidAnswer."""
    try:
        if len(body) > PARSE_IN_THREAD_BYTES:
            return await run_blocking(_read_config_object, body)
        return _read_config_object(body)
    except ValueError as error:
        raise InvalidAnswer(f"the configuration cannot be read: {error}") from error


def _read_config_object(body: bytes) -> ConfigObject:
    return ConfigObject.from_json(strict_json.parse(body, max_nodes=MAX_ANSWER_NODES))


def _read_instances(body: bytes) -> tuple[list[ServiceInstance], str | None]:
    """The instances of a page, and where the next one begins. Raises ValueError."""
    answer = strict_json.parse(body, max_nodes=MAX_PAGE_NODES)
    if not isinstance(answer, dict) or not isinstance(answer.get("instances"), list):
        raise ValueError("it has no instances, not even none")
    upcoming = answer.get("next")
    if upcoming is not None and not isinstance(upcoming, str):
        raise ValueError("next must be a string or null")
    return [ServiceInstance.from_json(value) for value in answer["instances"]], upcoming


def _bookmark(body: bytes) -> Bookmark:
    try:
        return Bookmark.from_json(strict_json.parse(body))
    except ValueError as error:
        raise InvalidAnswer(f"a bookmark cannot be read: {error}") from error


async def _problem(response: httpx2.Response) -> CentralHubError:
    problem: Any = None
    # The status alone already says what went wrong; a body that cannot be read adds nothing.
    with contextlib.suppress(InvalidAnswer, ValueError, httpx2.TransportError):
        problem = strict_json.parse(await _limited_body(response, MAX_PROBLEM_BYTES))
    return error_from(
        response.status_code, problem, retry_after_seconds=retry_after(response.headers, now=datetime.now(UTC))
    )


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """The seconds that `Retry-After` asks for (RFC 9110, section 10.2.3: a number or a date), at most five minutes."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            seconds = (parsedate_to_datetime(text) - now).total_seconds()
        except (ValueError, TypeError):  # TypeError: a date without a zone
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _position(text: str | None) -> Position | None:
    if not text or "." not in text:
        return None
    try:
        return Position.parse(text, current_epoch=0)
    except ValueError:
        return None
