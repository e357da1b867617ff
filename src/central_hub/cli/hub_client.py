"""The hub's interface as commands use it: one request, one answer or one error that says what to do."""

import json
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from central_hub.cli.finding import Hub
from central_hub_client.errors import CentralHubError, HubUnavailable, HubUnreachable, InvalidAnswer, error_from
from central_hub_client.wire import API_PREFIX

CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 30.0
SILENCE_SECONDS: Final = 6.0
"""Of an event stream: three bookmarks have not come."""
MAX_EVENT_BYTES: Final = 8 * 1024 * 1024

_GATEWAY_ERRORS: Final = (502, 503, 504)

MERGE_PATCH: Final = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the hub answered: the JSON value, and the entity tag of what it speaks of."""

    value: Any
    etag: str
    headers: httpx2.Headers


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event. `id` is where to resume; it stays what it was where an event brings none."""

    kind: str
    id: str
    value: Any


class HubClient:
    """One hub and one token. Every method raises CentralHubError: refused (`status` is set) or unreachable."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        headers = {"Accept": "application/json"}
        if hub.token is not None:
            headers["Authorization"] = f"Bearer {hub.token}"
        # Plain HTTP needs no certificates: a context that trusts nobody spares loading them.
        is_tls = hub.url.startswith("https:")
        self._http = httpx2.Client(
            base_url=hub.url + API_PREFIX,
            headers=headers,
            verify=httpx2.create_ssl_context() if is_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            # A proxy between us and loopback would make "this machine" somebody else.
            trust_env=not hub.is_local,
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, /, **query: Any) -> Answer:
        """Read something. Parameters that are None are left out."""
        return self._ask("GET", path, query)

    def pages(self, path: str, /, **query: Any) -> Iterator[dict[str, Any]]:
        """Read a list to its end, page by page."""
        after: str | None = None
        while True:
            page = self.get(path, after=after, **query).value
            yield page
            after = page["next"]
            if after is None:
                return

    def write(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        if_match: str | None = None,
        **query: Any,
    ) -> Answer:
        """Change something, at most once: an answer that got lost is asked for again under the same key."""
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        if if_match is not None:
            headers["If-Match"] = if_match
        try:
            return self._ask(method, path, query, headers, body, content_type)
        except _AnswerLost as lost:
            try:
                return self._ask(method, path, query, headers, body, content_type)
            except HubUnreachable:
                raise lost from None

    def events(self, path: str, *, last_event_id: str | None, **query: Any) -> Iterator[Event]:
        """The events of a stream, until it ends: with HubUnreachable, or by itself when the hub says goodbye."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        timeout = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        with (
            self._reaching(),
            self._http.stream("GET", path, params=_given(query), headers=headers, timeout=timeout) as response,
        ):
            if response.status_code != httpx2.codes.OK:
                response.read()
                self._raise_for(response)
            for event in httpx2.EventSource(response, max_event_size=MAX_EVENT_BYTES):
                yield Event(event.event, event.id, _json(event.data))

    def _ask(
        self,
        method: str,
        path: str,
        query: dict[str, Any],
        headers: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Answer:
        headers = dict(headers or {})
        content = None
        if body is not None:
            headers["Content-Type"] = content_type
            content = _encoded(body)
        with self._reaching():
            response = self._http.request(method, path, params=_given(query), headers=headers, content=content)
        self._raise_for(response)
        value = None if response.status_code == httpx2.codes.NO_CONTENT else _json(response.text)
        return Answer(value, response.headers.get("ETag", ""), response.headers)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
            raise self._nobody_there(error) from error
        except httpx2.SSEError as error:
            raise InvalidAnswer(str(error)) from error
        except (httpx2.ReadError, httpx2.ReadTimeout, httpx2.RemoteProtocolError) as error:
            raise _AnswerLost(
                f"the hub at {self._hub.url} was reached, but its answer did not arrive ({type(error).__name__}): a"
                " change may or may not have been stored; look before you repeat it"
            ) from error
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise HubUnreachable(f"the hub at {self._hub.url} cannot be asked: {error}") from error

    def _nobody_there(self, error: Exception) -> HubUnreachable:
        remedy = (
            "is it running? `central-hub up` starts one"
            if self._hub.is_local
            else "is it running, and is the address right?"
        )
        return HubUnreachable(
            f"no hub answers at {self._hub.url} ({self._hub.url_from}): {error or type(error).__name__}; {remedy}"
        )

    def _raise_for(self, response: httpx2.Response) -> None:
        if response.is_success:
            return
        if response.is_redirect:
            raise InvalidAnswer(f"{self._hub.url} answered with a redirect: name the hub itself with --url")
        problem = None
        if response.headers.get("Content-Type", "").startswith("application/problem+json"):
            problem = _json(response.text)
        error = error_from(response.status_code, problem)
        if problem is None:
            # A proxy whose hub is away speaks for it; whatever else answers like this is something else.
            kind = HubUnavailable if response.status_code in _GATEWAY_ERRORS else InvalidAnswer
            raise kind(
                f"what answers at {self._hub.url} is no hub, or a proxy in front of it (HTTP {response.status_code})",
                status=response.status_code,
            )
        if error.status == httpx2.codes.UNAUTHORIZED:
            error.detail = self._about_the_token()
        raise error

    def _about_the_token(self) -> str:
        if self._hub.token is None:
            return (
                f"the hub at {self._hub.url} wants a token, and there is none: set CENTRAL_HUB_TOKEN, or name a file"
                " with --token-file or the hub's data directory with --data-dir"
            )
        return f"the hub at {self._hub.url} does not accept the token from {self._hub.token_from}"


class _AnswerLost(HubUnreachable):
    """The request was sent, but no answer came: nobody knows what became of it."""


def is_unreachable(error: CentralHubError) -> bool:
    """Whether the hub did not get to decide: it did not answer, could not serve now, or was not a hub."""
    return isinstance(error, HubUnreachable | HubUnavailable | InvalidAnswer)


def _given(query: dict[str, Any]) -> dict[str, Any]:
    return {
        name.rstrip("_"): "true" if value is True else value
        for name, value in query.items()
        if value is not None and value is not False and value != []
    }


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidAnswer("the answer is not JSON: is this a hub?") from error
