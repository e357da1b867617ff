"""Asks an HTTP endpoint, once."""

import base64
from urllib.parse import urlsplit

import httpx2

from central_hub.connections.health_probe import Probed, first_answer, plain_transport, said
from central_hub.connections.pinned_request import Target, read_a_little
from central_hub.monitoring.probes.connection import Connection, endpoint
from central_hub.monitoring.probes.options import LARGEST_BODY_BYTES, HttpOptions
from central_hub.monitoring.probes.reach import Reach, tls_context


async def ask(connection: Connection, options: HttpOptions, reach: Reach) -> Probed:
    """Whether it answers with a status that is expected, and with the text that is."""
    target = _target(connection, options)
    addresses = await reach.addresses(target.host)
    async with plain_transport(tls_context(options), largest_body=2 * LARGEST_BODY_BYTES) as transport:
        answer = await first_answer(
            transport, target, addresses, method=options.method, headers=_headers(connection, options)
        )
        if isinstance(answer, Probed):
            return answer
        response, latency_ms = answer
        try:
            reason = await _reason(response, options, reach)
        finally:
            await response.aclose()
        return Probed(reason is None, reason, latency_ms)


async def _reason(response: httpx2.Response, options: HttpOptions, reach: Reach) -> str | None:
    """Why the answer is not what is expected; None where it is."""
    status = response.status_code
    if not (status in options.expect_status if options.expect_status else 200 <= status < 300):
        await read_a_little(response)
        return said(status)
    if options.contains is None:
        await read_a_little(response)
        return None
    text = options.contains.encode()
    # A little less than all the time: what came until then can still be judged.
    seconds = reach.seconds_left() * 0.9
    found = text in await read_a_little(response, largest=LARGEST_BODY_BYTES, seconds=seconds, until=text)
    return None if found else f"answered {status}, without the text that is expected"


def _target(connection: Connection, options: HttpOptions) -> Target:
    """What the `url` says; of a component that has none, the root at its host and port."""
    host, port = endpoint(connection)
    scheme, path = "https" if connection.options.tls else "http", "/"
    if connection.url is not None:
        parts = urlsplit(connection.url)
        scheme, path = parts.scheme, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme, host, port, options.path or path)


def _headers(connection: Connection, options: HttpOptions) -> dict[str, str]:
    return _authorization(connection) | {name: str(value) for name, value in options.headers.items()}


def _authorization(connection: Connection) -> dict[str, str]:
    if connection.token is not None:
        return {"Authorization": f"Bearer {connection.token}"}
    if connection.user is None:
        return {}
    pair = f"{connection.user}:{connection.password or ''}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
