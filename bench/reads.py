"""GET of a document with a token on 32 connections, against a bare ASGI application and against nginx."""

import asyncio
import base64
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import httpx2

from bench.figures import Figure, at_least
from bench.hub import Hub, Servers, running_hub
from bench.load import Load, Seen, request
from bench.server import Server, free_port, running

CONNECTIONS: Final = 32
ROUNDS: Final = 9
PILOT: Final = "polygon-historical-downloader"
LARGE: Final = "of-45-kilobytes"


@dataclass(frozen=True)
class _Side:
    """One of the servers that are compared, with what it is asked and must answer."""

    server: Server
    request: str
    status: int = 200


@dataclass(frozen=True)
class _Speed:
    rate: float
    cpu_seconds: float
    """Of the server, for one request."""


async def measure(servers: Servers, *, seconds: float) -> list[Figure]:
    """Reads of three sizes, and of an unchanged document."""
    figures: list[Figure] = []
    async with running_hub(servers) as hub:
        for name, config in documents().items():
            await hub.put(name, config)
            figures += await _compare(servers, hub, name, seconds=seconds)
    return figures


def documents() -> dict[str, dict[str, Any]]:
    """The pilot's document, and two that are as large as the 95th percentile and the largest of a big fleet."""
    sample = resources.files("central_hub") / "sample" / f"{PILOT}.json"
    return {
        PILOT: json.loads(sample.read_text()),
        LARGE: {f"section-{i}": {f"key-{j}": "v" * 24 for j in range(20)} for i in range(56)},
        "of-1-megabyte": {f"section-{i}": {f"key-{j}": "v" * 80 for j in range(100)} for i in range(97)},
    }


async def drive(load: Load) -> Seen:
    """Run the load generator in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.load"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(json.dumps(asdict(load)).encode())
    if process.returncode != 0:
        raise RuntimeError("the load generator failed")
    return Seen(**json.loads(output))


async def _compare(servers: Servers, hub: Hub, name: str, *, seconds: float) -> list[Figure]:
    path = f"/api/v1/config/{name}"
    answer = await hub.http.get(path)
    etag = answer.headers["etag"]
    body = answer.content
    size = f"{len(body) / 1024:.1f} KB" if len(body) < 1_000_000 else f"{len(body) / 1e6:.1f} MB"
    not_modified = await hub.http.get(path, headers={"If-None-Match": etag})
    plain = request("GET", path, hub.headers)
    conditional = request("GET", path, {**hub.headers, "If-None-Match": etag})
    async with AsyncExitStack() as stack:
        sides = {
            "hub": _Side(hub, plain),
            "bare": _Side(await stack.enter_async_context(_bare(servers.directory, answer)), plain),
            "hub 304": _Side(hub, conditional, 304),
            "bare 304": _Side(
                await stack.enter_async_context(_bare(servers.directory, not_modified)), conditional, 304
            ),
        }
        if shutil.which("nginx"):
            nginx = await stack.enter_async_context(_nginx(servers.directory, body))
            sides["nginx"] = _Side(nginx, request("GET", "/file", {}))
        # In turns, so that whatever else the machine is doing meets all of them.
        rounds = [{which: await _speed(side, seconds / ROUNDS) for which, side in sides.items()} for _ in range(ROUNDS)]

    def rate(which: str) -> str:
        return f"{statistics.median(speeds[which].rate for speeds in rounds):,.0f}/s"

    def rates(which: str, other: str) -> float:
        return statistics.median(speeds[which].rate / speeds[other].rate for speeds in rounds)

    def cpu(which: str) -> str:
        return f"{statistics.median(speeds[which].cpu_seconds for speeds in rounds) * 1e6:,.0f} µs"

    def cpus(which: str, other: str) -> float:
        return statistics.median(speeds[which].cpu_seconds / speeds[other].cpu_seconds for speeds in rounds)

    get, unchanged = f"GET of {size}", f"304 for {size}"
    figures = [
        at_least(get, rate("hub"), f"bare ASGI {rate('bare')}", rates("hub", "bare"), 0.8),
        Figure(f"… processor time of one {get}", cpu("hub"), f"bare ASGI {cpu('bare')}", cpus("hub", "bare")),
        at_least(unchanged, rate("hub 304"), f"GET {rate('hub')}", rates("hub 304", "hub"), 1.0),
        Figure(unchanged, rate("hub 304"), f"bare ASGI {rate('bare 304')}", rates("hub 304", "bare 304")),
        Figure(
            f"… processor time of one {unchanged}",
            cpu("hub 304"),
            f"bare ASGI {cpu('bare 304')}",
            cpus("hub 304", "bare 304"),
        ),
    ]
    if "nginx" in sides:
        figures.append(Figure(get, rate("hub"), f"nginx, a file, {rate('nginx')}", rates("hub", "nginx")))
    return figures


async def _speed(side: _Side, seconds: float) -> _Speed:
    load = Load(side.server.port, [side.request] * CONNECTIONS, seconds, side.status)
    before = side.server.cpu_seconds()
    seen = await drive(load)
    return _Speed(seen.answers / seen.seconds, (side.server.cpu_seconds() - before) / seen.answers)


@asynccontextmanager
async def _bare(directory: Path, answer: httpx2.Response) -> AsyncIterator[Server]:
    # The very bytes of the hub's answer, header and body; the server adds the date to both.
    status, body = answer.status_code, base64.b64encode(answer.content).decode()
    headers = [[name, value] for name, value in answer.headers.items() if name != "date"]
    file = directory / f"bare-{status}.json"
    file.write_text(json.dumps({"status": status, "headers": headers, "body": body}))
    port = free_port()
    argv = [sys.executable, "-m", "bench.bare_asgi", str(port), str(file)]
    async with running(argv, port, log=directory / "bare.log", is_ready_with=str(status)) as server:
        yield server


@asynccontextmanager
async def _nginx(directory: Path, body: bytes) -> AsyncIterator[Server]:
    root = Path(tempfile.mkdtemp(dir=directory))
    # Its worker runs as another user, who must be able to come here.
    for place in (directory, root):
        place.chmod(0o755)
    (root / "file").write_bytes(body)
    port = free_port()
    (root / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;\n"
        "events { worker_connections 512; }\n"
        "http { access_log off; keepalive_requests 100000000; open_file_cache max=10;\n"
        f"  server {{ listen 127.0.0.1:{port}; root {root}; default_type application/json; }} }}\n"
    )
    argv = ["nginx", "-p", str(root), "-c", str(root / "nginx.conf")]
    async with running(argv, port, log=root / "log", ready_path="/file") as server:
        yield server
