"""Health that is measured, metrics that count, keys that verify what the bus carries."""

import asyncio
import base64
import socket
from pathlib import Path
from typing import Any

import nats
import orjson

from central_hub import process
from central_hub.embedded import Endpoints
from central_hub.security.signing import is_signed
from central_hub_client.wire import BOOKMARK_SUBJECT, HUB_KEY_ID, HUB_SIGNATURE, STREAM, update_subject
from tests.conftest import DatabaseUrls, RunningHub, hub_settings
from tests.integration.test_config_documents import path, put


async def test_health_names_the_components_and_the_position(hub: RunningHub, service_name: str) -> None:
    revision = (await put(hub, service_name, {"a": 1})).json()["revision"]
    for answer in (await hub.http.get("/health"), await hub.http.get("/api/v1/health")):
        health = answer.json()
        assert health["state"] == "healthy"
        assert health["reasons"] == []
        assert health["applied"] == f"1.{revision}"
        assert health["components"]["postgres"]["ok"] is True
        assert health["components"]["nats"]["ok"] is True


async def test_live_and_ready_answer_at_the_root_and_under_the_prefix(hub: RunningHub) -> None:
    assert (await hub.http.get("/health/live")).json() == {"state": "live"}
    assert (await hub.http.get("/health/ready")).json() == {"state": "ready"}
    assert (await hub.http.get("/api/v1/health/live")).status_code == 200
    assert (await hub.http.get("/api/v1/health/ready")).status_code == 200


async def test_no_answer_waits_for_the_acknowledgement_of_its_first_packet(
    servers: Endpoints, database: DatabaseUrls, tmp_path: Path
) -> None:
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with process.listening_socket(hub_settings(servers, database, tmp_path)) as listener:
        async with await asyncio.start_server(look, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            assert await accepted
            writer.close()


def value_of(exposition: str, series: str) -> float:
    for line in exposition.splitlines():
        name, _, value = line.rpartition(" ")
        if name == series:
            return float(value)
    return 0.0


async def test_metrics_count_requests_writes_and_watchers(hub: RunningHub, service_name: str) -> None:
    reads = 'central_hub_requests_total{method="GET",route="/config/{service}",status="200"}'
    created = 'central_hub_writes_total{outcome="created"}'
    refused = 'central_hub_writes_total{outcome="precondition_required"}'
    before = (await hub.http.get("/metrics")).text
    revision = (await put(hub, service_name, {"a": 1})).json()["revision"]
    await put(hub, service_name, {"a": 2})
    await hub.http.get(path(service_name))
    await hub.http.get(path(service_name), headers={"X-Request-Id": "not-hot"})
    async with hub.http.stream("GET", "/api/v1/config/watch", params={"service": service_name}) as stream:
        chunks = stream.aiter_bytes()
        await anext(chunks)
        after = (await hub.http.get("/api/v1/metrics")).text
    assert value_of(after, reads) - value_of(before, reads) == 2
    assert value_of(after, created) - value_of(before, created) == 1
    assert value_of(after, refused) - value_of(before, refused) == 1
    assert value_of(after, "central_hub_applied_revision") == revision
    assert value_of(after, "central_hub_watchers") == 1
    for series in ("central_hub_tail_lag_seconds", "central_hub_event_loop_lag_seconds", "central_hub_pool_in_use"):
        assert f"\n{series} " in after


async def test_what_is_announced_is_the_signed_config_object(
    hub: RunningHub, servers: Endpoints, service_name: str
) -> None:
    keys = {key["id"]: key for key in (await hub.http.get("/api/v1/keys")).json()["keys"]}
    client = await nats.connect(servers.nats_client_url)
    received: asyncio.Queue[Any] = asyncio.Queue()
    await client.subscribe(update_subject(service_name, "default"), cb=received.put)
    await client.subscribe(BOOKMARK_SUBJECT, cb=received.put)
    await client.flush()
    written = (await put(hub, service_name, {"a": 1})).json()
    assert written["announced"] is True
    messages: dict[str, Any] = {}
    async with asyncio.timeout(5):
        while len(messages) < 2:
            message = await received.get()
            messages[message.subject] = message
            key = keys[message.headers[HUB_KEY_ID]]
            assert key["algorithm"] == "ed25519"
            public_key = base64.b64decode(key["public_key"])
            assert is_signed(message.data, message.headers[HUB_SIGNATURE], public_key)
    update = messages[update_subject(service_name, "default")]
    assert orjson.loads(update.data) == (await hub.http.get(path(service_name))).json()
    assert update.headers["Nats-Msg-Id"] == f"1.{written['revision']}.{service_name}.default"
    last = await client.jetstream().get_last_msg(STREAM, update.subject, direct=True)
    assert last.data == update.data
    await client.close()
