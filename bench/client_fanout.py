"""One update until the last of many clients runs on it, against raw NATS subscribers that check the same message.

Run as a program it is a part of the fleet: `python -m bench.client_fanout raw|managed COUNT ...`.
"""

import asyncio
import hashlib
import json
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from typing import Any, Final

import nats
from nats.aio.msg import Msg

from bench.figures import Figure, at_most
from bench.hub import Hub, Servers, running_hub
from bench.reads import PILOT, documents
from central_hub_client import ConfigClient, ConfigManager
from central_hub_client.trust import is_signed, parse_public_keys
from central_hub_client.wire import update_subject

ROUNDS: Final = 8
CLIENTS_A_PROCESS: Final = 50


async def measure(servers: Servers, *, clients: int) -> list[Figure]:
    """The same updates over the same bus, first to those that only check, then to those that apply."""
    async with running_hub(servers) as hub:
        await hub.put(PILOT, documents()[PILOT])
        answer = (await hub.http.get("/api/v1/keys")).json()
        keys = ",".join(key["public_key"] for key in answer["keys"])
        nats_url, url = servers.endpoints.nats_url, f"http://127.0.0.1:{hub.port}"
        raw = await _seconds(hub, "raw", clients, [nats_url, keys])
        managed = await _seconds(hub, "managed", clients, [nats_url, keys, url, hub.token])
    return [
        at_most(
            f"update → in use in the last of {clients:,} clients",
            f"{managed * 1e3:.0f} ms",
            f"raw NATS, parsed, hashed and checked: {raw * 1e3:.0f} ms",
            managed / raw,
            2.0,
        )
    ]


async def _seconds(hub: Hub, kind: str, clients: int, arguments: list[str]) -> float:
    """The median over the rounds, from the request to the last of all processes."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.client_fanout", kind, str(CLIENTS_A_PROCESS), *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(clients // CLIENTS_A_PROCESS)
    ]
    try:
        for process in processes:
            await _line(process)
        rounds = []
        for number in range(1, ROUNDS + 1):
            began = time.monotonic()
            change = {"config": {"operational": {"batch_size": number}}, "mode": "merge"}
            (await hub.http.post(f"/api/v1/config/{PILOT}", json=change)).raise_for_status()
            rounds.append(max([float(await _line(process)) for process in processes]) - began)
            await asyncio.sleep(0.2)
        return statistics.median(rounds[1:])
    finally:
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in processes:
            await process.wait()


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(180):
        return (await process.stdout.readline()).decode()


class _Tally:
    """Prints when the last of `count` has heard of a number for the first time."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._heard: dict[int, int] = {}
        self._lock = threading.Lock()

    def heard(self, number: int) -> None:
        with self._lock:
            self._heard[number] = self._heard.get(number, 0) + 1
            if self._heard[number] == self._count:
                print(time.monotonic(), flush=True)


async def _subscribe(count: int, nats_url: str, keys_text: str) -> None:
    keys, tally = parse_public_keys(keys_text), _Tally(count)

    async def on_message(message: Msg) -> None:
        assert is_signed(message.data, message.headers, keys)
        received = json.loads(message.data)
        spelled = json.dumps(received["config"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert received["hash"] == f"sha256:{hashlib.sha256(spelled.encode()).hexdigest()}"
        tally.heard(received["config"]["operational"]["batch_size"])

    clients = []
    for _ in range(count):
        client = await nats.connect(nats_url)
        await client.subscribe(update_subject(PILOT, "default"), cb=on_message)
        clients.append(client)
    for client in clients:
        await client.flush()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)


def _manage(count: int, nats_url: str, keys_text: str, url: str, token: str) -> None:
    tally = _Tally(count)
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as cache_dir, ExitStack() as stack:
        for number in range(count):
            client = ConfigClient(
                *(PILOT, url),
                token=token,
                enable_nats_updates=True,
                nats_url=nats_url,
                cache_dir=cache_dir,
                instance_id=f"bench-{number}",
            )
            manager: ConfigManager[Any] = ConfigManager(PILOT, hub=client, config_dir=None, register=False)
            stack.enter_context(manager)
            manager.on_config_update(lambda change: tally.heard(change.new["operational"]["batch_size"]))
        time.sleep(3.0)  # each tells over the bus after it was started
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1] == "raw":
        asyncio.run(_subscribe(int(sys.argv[2]), *sys.argv[3:]))
    else:
        _manage(int(sys.argv[2]), *sys.argv[3:])
