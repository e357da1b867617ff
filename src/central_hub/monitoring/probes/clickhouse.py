"""Asks a ClickHouse server by a query over HTTP."""

import re
from typing import Final
from urllib.parse import urlencode

import httpx2

from central_hub.connections.health_probe import Probed, first_answer, plain_transport, said
from central_hub.connections.pinned_request import Target, read_a_little
from central_hub.monitoring.probes.connection import Connection, endpoint
from central_hub.monitoring.probes.options import ClickHouseOptions
from central_hub.monitoring.probes.reach import Reach, tls_context

_REASONS: Final = {
    81: "the database does not exist",
    **dict.fromkeys((192, 193, 194, 497, 516), "the credentials were refused"),
    **dict.fromkeys((46, 47, 60, 62), "the query is wrong"),
    159: "the query took too long",
    202: "too many queries at once",
    241: "its memory is used up",
}
"""What the codes of ClickHouse's errors mean (src/Common/ErrorCodes.cpp), of those that a probe meets."""
_CODE: Final = re.compile(rb"Code: (\d{1,5})[.,]")


async def ask(connection: Connection, options: ClickHouseOptions, reach: Reach) -> Probed:
    """Whether it answers the query."""
    host, port = endpoint(connection)
    # Until the query has ended no status is sent: one that fails in the middle is no success.
    parameters = {"wait_end_of_query": "1"} | ({"database": connection.database} if connection.database else {})
    target = Target("https" if connection.options.tls else "http", host, port, f"/?{urlencode(parameters)}")
    addresses = await reach.addresses(host)
    async with plain_transport(tls_context(options)) as transport:
        answer = await first_answer(
            transport,
            target,
            addresses,
            method="POST",
            headers=_credentials(connection),
            content=options.query.encode(),
        )
        if isinstance(answer, Probed):
            return answer
        response, latency_ms = answer
        try:
            body = await read_a_little(response)
        finally:
            await response.aclose()
    if response.status_code == 200:
        return Probed(True, None, latency_ms)
    return Probed(False, _reason(response, body), latency_ms)


def _credentials(connection: Connection) -> dict[str, str]:
    """Never in the URL, which proxies and the server itself write to their logs."""
    headers = {"X-ClickHouse-User": connection.user, "X-ClickHouse-Key": connection.password}
    return {name: value for name, value in headers.items() if value is not None}


def _reason(response: httpx2.Response, body: bytes) -> str:
    status = said(response.status_code)
    told = re.fullmatch(r"\d{1,5}", response.headers.get("X-ClickHouse-Exception-Code", ""))
    found = _CODE.match(body)
    if told is None and found is None:
        return status
    code = int(told[0] if told is not None else found[1])  # type: ignore[index]
    meaning = _REASONS.get(code)
    return f"{status}: ClickHouse error {code}" + (f", {meaning}" if meaning else "")
