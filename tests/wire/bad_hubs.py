"""What may answer in a hub's place."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.wire.scripted_server import Exchange

Handler = Callable[[Exchange], Awaitable[None]]


def answering(status: str, body: bytes = b"", **headers: str) -> Handler:
    async def handler(exchange: Exchange) -> None:
        await exchange.respond(status, body, **headers)

    return handler


def answering_json(body: bytes) -> Handler:
    return answering("200 OK", body, Content_Type="application/json")


async def hang(exchange: Exchange) -> None:
    await asyncio.sleep(3600)


async def cut_off(exchange: Exchange) -> None:
    await exchange.send(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"service":')
    exchange.writer.close()


async def drip(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90000\r\n\r\n")
    while True:
        await exchange.send(b" ")
        await asyncio.sleep(0.05)


async def flood(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 62914560\r\n\r\n")
    for _ in range(60):
        await exchange.send(b" " * 1024 * 1024)


async def not_http(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.6\r\n")
    exchange.writer.close()


html = answering("200 OK", b"<html>Sign in</html>", Content_Type="text/html")
redirect = answering("302 Found", Location="http://127.0.0.1:1/elsewhere")
