"""Every kind of probe asks a real server: one that is well, one that refuses, and one that is something else."""

import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central_hub.connections.health_probe import Probed
from central_hub.embedded import Endpoints
from central_hub.monitoring.credentials import Credentials
from central_hub.monitoring.infrastructure import Component, ProbeSettings, Section
from central_hub.monitoring.probes.asking import Probes
from central_hub.monitoring.probes.nkey import sign
from tests.integration.probed_servers import (
    ProbedServer,
    clickhouse_server,
    forwarded,
    kafka_broker,
    nats_server,
    redis_server,
)
from tests.wire.health_endpoints import HealthEndpoints, health_endpoints
from tests.wire.small_server import write_certificate

TIMEOUT_SECONDS = 20.0


@pytest.fixture(scope="module")
async def probes() -> AsyncIterator[Probes]:
    made = Probes(dict)
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def redis() -> AsyncIterator[ProbedServer]:
    async with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
async def clickhouse() -> AsyncIterator[ProbedServer]:
    async with clickhouse_server() as server:
        yield server


@pytest.fixture(scope="module")
async def kafka() -> AsyncIterator[ProbedServer]:
    async with kafka_broker() as server:
        yield server


@pytest.fixture(scope="module")
async def endpoints() -> AsyncIterator[HealthEndpoints]:
    async with health_endpoints() as running:
        yield running


def component(kind: str, probe: Mapping[str, Any] | None = None, **connection: Any) -> Component:
    """A component of this connection, probed by this kind with these options."""
    settings = ProbeSettings(kind, timeout_seconds=TIMEOUT_SECONDS, options=probe or {})
    return Component("a-component", Section.DATABASES, kind, connection, settings)


@pytest.fixture(scope="module")
async def postgres(servers: Endpoints) -> AsyncIterator[dict[str, Any]]:
    """The connection to the session's PostgreSQL, which listens at a socket file, through a port."""
    url = sa.make_url(servers.database_url)
    async with forwarded(f"{url.query['host']}/.s.PGSQL.5432") as port:
        yield {
            "host": "localhost",
            "port": port,
            "user": url.username,
            "password": url.password,
            "database": url.database,
        }


def is_well(probed: Probed) -> bool:
    return (probed.ok, probed.reason) == (True, None) and 0 < (probed.latency_ms or 0) < TIMEOUT_SECONDS * 1000


async def test_postgresql_answers_a_query(probes: Probes, postgres: dict[str, Any]) -> None:
    assert is_well(await probes.ask(component("postgres", **postgres)))
    many = {"query": "SELECT generate_series(1, 100000)"}
    assert is_well(await probes.ask(component("postgres", many, **postgres)))


@pytest.mark.parametrize(
    ("changes", "query", "reason"),
    [
        ({"database": "nowhere"}, "SELECT 1", "the database does not exist (SQLSTATE 3D000)"),
        ({"user": "nobody"}, "SELECT 1", "the credentials were refused (SQLSTATE 28P01)"),
        ({"password": "wrong"}, "SELECT 1", "the credentials were refused (SQLSTATE 28P01)"),
        ({"password": None}, "SELECT 1", "the credentials were refused (SQLSTATE 28P01)"),
        ({}, "SELECT 'hush' FROM nothing", "the query is wrong (SQLSTATE 42P01)"),
        ({}, "SELECT 1/0", "it answers with an error (SQLSTATE 22012)"),
        ({"options": {"sslmode": "require"}}, "SELECT 1", "it does not speak TLS"),
        ({"options": {"sslmode": "verify-full"}}, "SELECT 1", "it does not speak TLS"),
    ],
)
async def test_what_postgresql_refuses_is_told(
    probes: Probes,
    postgres: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    query: str,
    reason: str,
) -> None:
    # Were there none in the file, asyncpg would send this password to whatever is probed.
    monkeypatch.setenv("PGPASSWORD", str(postgres["password"]))
    probed = await probes.ask(component("postgres", {"query": query}, **(postgres | changes)))
    assert probed == Probed(False, reason)


async def test_a_query_that_is_left_is_cancelled_at_the_server(probes: Probes, postgres: dict[str, Any]) -> None:
    connection = postgres
    running = {"query": "SELECT pg_sleep(1000) /* left */"}
    settings = ProbeSettings("postgres", timeout_seconds=1.0, options=running)
    slow = Component("slow", Section.DATABASES, "postgresql", connection, settings)
    assert await probes.ask(slow) == Probed(False, "no answer within 1 s")
    # A division by zero where somebody still runs it: what a query returns is not looked at, whether it fails is.
    still = "SELECT 1 / (count(*) - 1) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%/* left */'"
    still = still.replace("count(*) - 1", "CASE WHEN count(*) > 1 THEN 0 ELSE 1 END")
    for _ in range(100):
        probed = await probes.ask(component("postgres", {"query": still}, **connection))
        if probed.ok:
            break
    assert is_well(probed)


async def test_redis_answers_ping(probes: Probes, redis: ProbedServer) -> None:
    assert is_well(await probes.ask(component("redis", host="localhost", port=redis.port, password=redis.password)))
    of_a_user = {"user": "watcher", "password": redis.password}
    assert is_well(await probes.ask(component("redis", host="127.0.0.1", port=redis.port, **of_a_user)))
    of_a_database = {"database": "3", "password": redis.password}
    assert is_well(await probes.ask(component("redis", host="127.0.0.1", port=redis.port, **of_a_database)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"password": None}, "a password is needed"),
        ({"password": "wrong"}, "the credentials were refused"),
        ({"user": "mallory"}, "the credentials were refused"),
        ({"user": "nobody"}, "the user may not do this"),
        ({"database": "99"}, "the database does not exist"),
    ],
)
async def test_what_redis_refuses_is_told(
    probes: Probes, redis: ProbedServer, changes: dict[str, Any], reason: str
) -> None:
    connection = {"host": "127.0.0.1", "port": redis.port, "password": redis.password} | changes
    assert await probes.ask(component("redis", **connection)) == Probed(False, reason)


async def test_redis_is_asked_over_tls(probes: Probes, redis: ProbedServer) -> None:
    secured = {"host": "127.0.0.1", "port": redis.tls_port, "password": redis.password, "options": {"tls": True}}
    assert is_well(await probes.ask(component("redis", {"ca_file": redis.ca_file}, **secured)))
    assert is_well(await probes.ask(component("redis", {"verify": False}, **secured)))
    untrusted = await probes.ask(component("redis", **secured))
    assert untrusted == Probed(False, "its certificate is not trusted")
    # The certificate is one for the address, not for the name.
    misnamed = await probes.ask(component("redis", {"ca_file": redis.ca_file}, **(secured | {"host": "localhost"})))
    assert misnamed == Probed(False, "its certificate is not trusted")
    nowhere = await probes.ask(component("redis", {"ca_file": "/nowhere/ca.pem"}, **secured))
    endless = await probes.ask(component("redis", {"ca_file": "/dev/zero"}, **secured))
    assert endless == Probed(None, "the file of certificate authorities cannot be read: /dev/zero")
    assert nowhere == Probed(None, "the file of certificate authorities cannot be read: /nowhere/ca.pem")


async def test_clickhouse_answers_a_query(probes: Probes, clickhouse: ProbedServer) -> None:
    at = {"host": "127.0.0.1", "port": clickhouse.port, "user": "default", "password": clickhouse.password}
    assert is_well(await probes.ask(component("clickhouse", **at, database="default")))
    many = {"query": "SELECT number FROM numbers(1000000)"}
    assert is_well(await probes.ask(component("clickhouse", many, **at)))


@pytest.mark.parametrize(
    ("changes", "query", "reason"),
    [
        ({"password": "wrong"}, "SELECT 1", "answered 401: ClickHouse error 193, the credentials were refused"),
        ({"user": "nobody"}, "SELECT 1", "ClickHouse error 192, the credentials were refused"),
        ({"database": "nowhere"}, "SELECT 1", "answered 404: ClickHouse error 81, the database does not exist"),
        ({}, "SELECT 'hush' FROM nothing", "answered 404: ClickHouse error 60, the query is wrong"),
        ({}, "SELECT throwIf(number = 90000) FROM numbers(100000)", "answered 500: ClickHouse error 395"),
    ],
)
async def test_what_clickhouse_refuses_is_told(
    probes: Probes, clickhouse: ProbedServer, changes: dict[str, Any], query: str, reason: str
) -> None:
    at = {"host": "127.0.0.1", "port": clickhouse.port, "user": "default", "password": clickhouse.password} | changes
    probed = await probes.ask(component("clickhouse", {"query": query}, **at))
    assert probed.ok is False
    assert (probed.reason or "").endswith(reason)


async def test_kafka_tells_of_its_cluster(probes: Probes, kafka: ProbedServer) -> None:
    broker = f"127.0.0.1:{kafka.port}"
    assert is_well(await probes.ask(component("kafka", brokers=[broker])))
    assert is_well(await probes.ask(component("kafka", brokers=["127.0.0.1:1", broker])))
    # Twice: whoever asks for a topic must not make it.
    for _ in range(2):
        probed = await probes.ask(component("kafka", {"topics": ["ticks"]}, brokers=[broker]))
        assert (probed.ok, probed.reason) == (False, "the topic ticks is not there")
    few = await probes.ask(component("kafka", {"min_brokers": 3}, brokers=[broker]))
    assert (few.ok, few.reason) == (False, "1 of 3 brokers are there")


async def test_kafka_lets_in_who_signs_in(probes: Probes, kafka: ProbedServer) -> None:
    at = {"brokers": [f"localhost:{kafka.tls_port}"], "user": "watcher"}
    assert is_well(await probes.ask(component("kafka", **at, password=kafka.password)))
    wrong = await probes.ask(component("kafka", **at, password="wrong"))
    assert wrong == Probed(False, "the credentials were refused")
    other_way = {"password": kafka.password, "options": {"mechanism": "SCRAM-SHA-256"}}
    assert await probes.ask(component("kafka", **at, **other_way)) == Probed(False, "it lets nobody in in this way")


async def test_the_nats_of_a_hub_answers(probes: Probes, servers: Endpoints) -> None:
    url = sa.make_url(servers.nats_url)
    at = {"host": url.host, "port": url.port}
    assert is_well(await probes.ask(component("nats", **at, user=url.username, password=url.password)))
    refused = Probed(False, "the credentials were refused")
    assert await probes.ask(component("nats", **at)) == refused
    assert await probes.ask(component("nats", **at, user=url.username, password="wrong")) == refused
    plain = await probes.ask(component("nats", **at, options={"tls": True}))
    assert plain == Probed(False, "it does not speak TLS")


async def test_nats_is_asked_with_a_token_over_tls(probes: Probes, tmp_path: Path) -> None:
    write_certificate(tmp_path)
    async with nats_server('token: "open-sesame"', tmp_path) as server:
        at = {"host": "127.0.0.1", "port": server.port, "token": "open-sesame"}
        assert is_well(await probes.ask(component("nats", {"ca_file": server.ca_file}, **at)))
        assert await probes.ask(component("nats", **at)) == Probed(False, "its certificate is not trusted")
        wrong = await probes.ask(component("nats", {"verify": False}, **(at | {"token": "wrong"})))
        assert wrong == Probed(False, "the credentials were refused")


async def test_nats_is_asked_with_an_nkey(probes: Probes) -> None:
    seed = seed_of(Ed25519PrivateKey.generate())
    public, _ = sign(seed, b"")
    async with nats_server(f"users: [ {{ nkey: {public} }} ]") as server:
        at = {"host": "127.0.0.1", "port": server.port}
        assert is_well(await probes.ask(component("nats", **at, nkey=seed)))
        other = seed_of(Ed25519PrivateKey.generate())
        assert await probes.ask(component("nats", **at, nkey=other)) == Probed(False, "the credentials were refused")
        assert await probes.ask(component("nats", **at, nkey="SUNOSEED")) == Probed(None, "its nkey is no seed")


@pytest.mark.parametrize(
    ("probe", "ok", "reason"),
    [
        ({"path": "/ok"}, True, None),
        ({"path": "/ok", "contains": "ok"}, True, None),
        ({"path": "/ok", "contains": "nok"}, False, "answered 200, without the text that is expected"),
        ({"path": "/endless", "contains": "nok"}, False, "answered 200, without the text that is expected"),
        ({"path": "/endless", "contains": "xxx"}, True, None),
        ({"path": "/silent-body"}, True, None),
        ({"path": "/unready"}, False, "answered 503"),
        ({"path": "/unready", "expect_status": [200, 503]}, True, None),
        ({"path": "/ok", "expect_status": 204}, False, "answered 200"),
        ({"path": "/redirect"}, False, "answered 302; redirects are not followed"),
        ({"path": "/redirect", "expect_status": [302]}, True, None),
        ({"path": "/empty", "method": "HEAD"}, True, None),
        ({"path": "/garbage"}, False, "the connection was closed without a valid answer"),
    ],
)
async def test_http_is_judged_as_the_file_says(
    probes: Probes, endpoints: HealthEndpoints, probe: dict[str, Any], ok: bool, reason: str | None
) -> None:
    url = f"http://localhost:{endpoints.port}/never?asked"
    probed = await probes.ask(component("http", probe, url=url, user="watcher", password="hush"))
    assert (probed.ok, probed.reason) == (ok, reason)
    request = endpoints.requests[-1]
    assert request.startswith(f"{probe.get('method', 'GET')} {probe['path']} HTTP/1.1\r\n")
    assert f"Authorization: Basic {base64.b64encode(b'watcher:hush').decode()}\r\n" in request


async def test_the_url_of_a_component_is_what_is_asked(probes: Probes, endpoints: HealthEndpoints) -> None:
    await probes.ask(component("http", url=f"http://127.0.0.1:{endpoints.port}/ok?depth=2", token="t"))
    assert endpoints.requests[-1].startswith("GET /ok?depth=2 HTTP/1.1\r\n")
    assert "Authorization: Bearer t\r\n" in endpoints.requests[-1]


async def test_an_endpoint_is_asked_with_headers_that_are_revealed(endpoints: HealthEndpoints) -> None:
    probes = Probes(Credentials({"KEY": "hush"}).reveal)
    probe = {"path": "/ok", "headers": {"X-Api-Key": {"$secret": "env://KEY"}, "X-Plain": "plain"}}
    at = {"host": "127.0.0.1", "port": endpoints.port, "user": "watcher", "password": {"$secret": "env://KEY"}}
    assert is_well(await probes.ask(component("http", probe, **at)))
    shown = base64.b64encode(b"watcher:hush").decode()
    for header in ("X-Api-Key: hush", "X-Plain: plain", f"Authorization: Basic {shown}"):
        assert f"{header}\r\n" in endpoints.requests[-1]
    missing = await probes.ask(component("http", probe, **(at | {"password": {"$secret": "env://NO_SUCH_KEY"}})))
    assert missing == Probed(None, "env://NO_SUCH_KEY: the environment variable is not set")


async def test_the_certificate_of_an_endpoint_is_checked(probes: Probes, tmp_path: Path) -> None:
    write_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    async with health_endpoints(tls) as secured:
        url = f"https://127.0.0.1:{secured.port}/ok"
        untrusted = Probed(False, "its certificate is not trusted")
        assert await probes.ask(component("http", url=url)) == untrusted
        assert is_well(await probes.ask(component("http", {"verify": False}, url=url)))
        trusted = {"ca_file": str(tmp_path / "cert")}
        assert is_well(await probes.ask(component("http", trusted, url=url)))
        # The certificate is one for the address, not for the name.
        assert await probes.ask(component("http", trusted, url=url.replace("127.0.0.1", "localhost"))) == untrusted


async def test_credentials_of_clickhouse_are_in_no_url(probes: Probes, endpoints: HealthEndpoints) -> None:
    at = {"host": "127.0.0.1", "port": endpoints.port, "user": "watcher", "password": "hush", "database": "ticks"}
    endpoints.answer = "/unready"
    try:
        assert (await probes.ask(component("clickhouse", **at))).reason == "answered 503"
    finally:
        endpoints.answer = None
    first, *headers = endpoints.requests[-1].split("\r\n")
    assert first == "POST /?wait_end_of_query=1&database=ticks HTTP/1.1"
    assert {"X-ClickHouse-User: watcher", "X-ClickHouse-Key: hush"} <= set(headers)


async def test_tcp_is_well_where_somebody_listens(
    probes: Probes, endpoints: HealthEndpoints, servers: Endpoints
) -> None:
    assert is_well(await probes.ask(component("tcp", host="localhost", port=endpoints.port)))
    url = f"http://127.0.0.1:{endpoints.port}/ok"
    assert is_well(await probes.ask(component("tcp", url=url)))
    assert await probes.ask(component("tcp", host="127.0.0.1", port=1)) == Probed(False, "the connection was refused")


def seed_of(key: Ed25519PrivateKey) -> str:
    """As `nk -gen user` writes it, but for the checksum, which nobody reads."""
    raw = bytes([144 | 160 >> 5, (160 & 31) << 3]) + key.private_bytes_raw() + b"\0\0"
    return base64.b32encode(raw).decode().rstrip("=")
