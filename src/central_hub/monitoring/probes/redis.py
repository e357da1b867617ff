"""Asks a server that speaks the protocol of Redis by PING: Redis, Valkey, DragonflyDB.

Three commands that are answered by one line each need no library. https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

import asyncio
import re
import time
from typing import Final

from central_hub.connections.health_probe import Probed
from central_hub.monitoring.probes.connection import Connection, endpoint
from central_hub.monitoring.probes.options import RedisOptions
from central_hub.monitoring.probes.reach import Found, Reach, answered, tls_if_asked

_REASONS: Final = {
    "NOAUTH": "a password is needed",
    "WRONGPASS": "the credentials were refused",
    "NOPERM": "the user may not do this",
    "DENIED": "it only takes connections of its own machine",
    "LOADING": "it is loading its data",
    "BUSY": "it is busy with a script",
    "MISCONF": "it cannot save its data",
    "MASTERDOWN": "it has lost its primary",
    "CLUSTERDOWN": "its cluster is down",
    "OOM": "its memory is used up",
}
"""The first word of an error, of those that a probe meets."""
_WORD: Final = re.compile(rb"-([A-Z]{2,20}) ")


async def ask(connection: Connection, options: RedisOptions, reach: Reach) -> Probed:
    """Whether it answers PING, after AUTH and SELECT where they are needed."""
    host, port = endpoint(connection)
    tls = tls_if_asked(connection.options.tls, options)
    started = time.perf_counter()
    async with reach.dial(host, port, tls) as (reader, writer):
        for command, answer in _commands(connection):
            writer.write(_spelled(command))
            await _expect(reader, command[0], answer)
        return answered(started)


def _commands(connection: Connection) -> list[tuple[list[str], bytes]]:
    """Each with what it is answered when all is well."""
    commands = [(["PING"], b"+PONG")]
    if connection.database not in (None, "0"):
        commands.insert(0, (["SELECT", str(connection.database)], b"+OK"))
    if connection.password is not None:
        # Without a user, as servers before Redis 6 want it.
        user = [] if connection.user is None else [connection.user]
        commands.insert(0, (["AUTH", *user, connection.password], b"+OK"))
    return commands


def _spelled(command: list[str]) -> bytes:
    words = [word.encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


async def _expect(reader: asyncio.StreamReader, command: str, answer: bytes) -> None:
    try:
        line = await reader.readuntil(b"\r\n")
    except asyncio.IncompleteReadError:
        raise Found(False, "the connection was closed without a valid answer") from None
    except asyncio.LimitOverrunError:
        raise Found(False, "what answers is no Redis") from None
    if line.rstrip() == answer:
        return
    if not line.startswith(b"-"):
        raise Found(False, "what answers is no Redis")
    word = _WORD.match(line)
    if word is not None and (meaning := _REASONS.get(word[1].decode())):
        raise Found(False, meaning)
    # What else AUTH and SELECT are refused for is a plain ERR, whose words differ from one server to the next.
    refused = {"AUTH": "the credentials were refused", "SELECT": "the database does not exist"}
    raise Found(False, refused.get(command, f"{command} is answered with an error"))
