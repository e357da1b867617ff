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
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, Final

import httpx2

from bench.figures import Figure, at_least
from bench.hub import Hub, Servers, running_hub
from bench.load import Load, Seen, request
from bench.server import Server, free_port, running

CONNECTIONS: Final = 32
ROUNDS: Final = 3
PILOT: Final = "polygon-historical-downloader"


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
        "of-45-kilobytes": {f"section-{i}": {f"key-{j}": "v" * 24 for j in range(20)} for i in range(56)},
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
        bare = await stack.enter_async_context(_bare(servers.directory, answer))
        unchanged = await stack.enter_async_context(_bare(servers.directory, not_modified))
        nginx = await stack.enter_async_context(_nginx(servers.directory, body)) if shutil.which("nginx") else None
        # In turns, so that whatever else the machine is doing meets all of them.
        rates: dict[str, list[float]] = {"hub": [], "bare": [], "hub304": [], "bare304": [], "nginx": []}
        for _ in range(ROUNDS):
            rates["bare"].append(await _rate(bare, plain, 200, seconds))
            rates["hub"].append(await _rate(hub, plain, 200, seconds))
            rates["bare304"].append(await _rate(unchanged, conditional, 304, seconds))
            rates["hub304"].append(await _rate(hub, conditional, 304, seconds))
            if nginx is not None:
                rates["nginx"].append(await _rate(nginx, request("GET", "/file", {}), 200, seconds))
    rate = {what: statistics.median(values) if values else 0.0 for what, values in rates.items()}
    figures = [
        at_least(
            f"GET {size}",
            _per_second(rate["hub"]),
            f"bare ASGI {_per_second(rate['bare'])}",
            rate["hub"] / rate["bare"],
            0.8,
        ),
        at_least(
            f"304 for {size}",
            _per_second(rate["hub304"]),
            f"GET {_per_second(rate['hub'])}",
            rate["hub304"] / rate["hub"],
            1.0,
        ),
        Figure(
            f"304 for {size}",
            _per_second(rate["hub304"]),
            f"bare ASGI {_per_second(rate['bare304'])}",
            rate["hub304"] / rate["bare304"],
        ),
    ]
    if nginx is not None:
        against = f"nginx, a file, {_per_second(rate['nginx'])}"
        figures.append(Figure(f"GET {size}", _per_second(rate["hub"]), against, rate["hub"] / rate["nginx"]))
    return figures


async def _rate(server: Server, text: str, status: int, seconds: float) -> float:
    seen = await drive(Load(server.port, [text] * CONNECTIONS, seconds, status))
    return seen.answers / seen.seconds


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


def _per_second(rate: float) -> str:
    return f"{rate:,.0f}/s"
