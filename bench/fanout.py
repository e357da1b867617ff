"""One accepted update until the last of many NATS subscribers has it, against raw NATS with the same payload."""

import asyncio
import json
import statistics
import sys
import time
from typing import Final

import nats
from nats.aio.msg import Msg

from bench.figures import Figure, at_most
from bench.hub import Servers, running_hub
from bench.reads import PILOT, documents
from central_hub_client.wire import update_subject

ROUNDS: Final = 15
_RAW_SUBJECT: Final = "bench.raw"


async def measure(servers: Servers, *, subscribers: int) -> list[Figure]:
    """The same subscribers hear both, in turns."""
    async with running_hub(servers) as hub:
        config = documents()[PILOT]
        await hub.put(PILOT, config)
        payload = (await hub.http.get(f"/api/v1/config/{PILOT}")).content
        subject = update_subject(PILOT, "default")
        publisher = await nats.connect(servers.endpoints.nats_url)
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "bench.fanout",
                str(subscribers),
                servers.endpoints.nats_url,
                subject,
                _RAW_SUBJECT,
            ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        await process.stdout.readline()
        raw, full = [], []
        for number in range(ROUNDS):
            started = time.monotonic()
            await publisher.publish(_RAW_SUBJECT, payload)
            await publisher.flush()
            raw.append(await _last(process.stdout) - started)
            started = time.monotonic()
            answer = await hub.http.post(
                f"/api/v1/config/{PILOT}", json={"config": {"operational": {"batch_size": number}}, "mode": "merge"}
            )
            answer.raise_for_status()
            full.append(await _last(process.stdout) - started)
        process.terminate()
        await process.wait()
        await publisher.close()
    fast, slow = statistics.median(raw[1:]) * 1000, statistics.median(full[1:]) * 1000
    return [
        at_most(
            f"update → last of {subscribers:,} NATS subscribers",
            f"{slow:.0f} ms",
            f"raw NATS {fast:.0f} ms",
            slow / fast,
            1.5,
        )
    ]


async def _last(output: asyncio.StreamReader) -> float:
    async with asyncio.timeout(30):
        heard: float = json.loads(await output.readline())
    return heard


async def _subscribe(count: int, url: str, subjects: list[str]) -> None:
    heard = dict.fromkeys(subjects, 0)

    async def on_message(message: Msg) -> None:
        heard[message.subject] += 1
        if heard[message.subject] == count:
            heard[message.subject] = 0
            print(time.monotonic(), flush=True)

    clients = []
    for _ in range(count):
        client = await nats.connect(url)
        for subject in subjects:
            await client.subscribe(subject, cb=on_message)
        clients.append(client)
    for client in clients:
        await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_subscribe(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
