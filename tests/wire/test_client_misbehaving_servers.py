"""Whatever answers in the hub's place, the client keeps what it has, says why, and never waits for long."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from central_hub_client import ConfigClient, Source
from central_hub_client.errors import InvalidAnswer
from central_hub_client.hub_api import MAX_ANSWER_BYTES, read_config_object, retry_after
from tests.unit.client.objects import bookmark, config_object
from tests.wire.bad_hubs import Handler, answering, answering_json, cut_off, drip, flood, hang, html, not_http, redirect
from tests.wire.scripted_server import Exchange, ScriptedServer, scripted_server
from tests.wire.waiting import until

GOOD = config_object(7, {"batch_size": 150})


async def behave(exchange: Exchange) -> None:
    """As a hub with one configuration does."""
    if "/config/watch" in exchange.request.target:
        await exchange.open_stream()
        while True:
            await exchange.send_event(bookmark(GOOD.revision))
            await asyncio.sleep(1)
    elif exchange.request.headers.get("if-none-match") == GOOD.etag:
        await exchange.send(f"HTTP/1.1 304 Not Modified\r\nX-Hub-Revision: {GOOD.position}\r\n\r\n".encode())
    else:
        await exchange.respond_config(GOOD)


async def compressed(exchange: Exchange) -> None:
    await exchange.respond_config(GOOD, Content_Encoding="gzip")


def spoilt(**changes: Any) -> bytes:
    return json.dumps(config_object(9, {"batch_size": 1}).to_json() | changes).encode()


MISBEHAVIOUR = {
    "500": (answering("500 Internal Server Error"), "unavailable"),
    "html": (html, "invalid_answer"),
    "html 404": (answering("404 Not Found", b"<html>", Content_Type="text/html"), "not_found"),
    "403": (
        answering(
            "403 Forbidden", b'{"code": "forbidden", "detail": "not yours"}', Content_Type="application/problem+json"
        ),
        "forbidden",
    ),
    "401": (answering("401 Unauthorized"), "unauthenticated"),
    "redirect": (redirect, "invalid_answer"),
    "304 to nobody's question": (answering("304 Not Modified"), "invalid_answer"),
    "204": (answering("204 No Content"), "invalid_answer"),
    "cut off": (cut_off, "unreachable"),
    "no http": (not_http, "unreachable"),
    "compressed": (compressed, "invalid_answer"),
    "60 MB": (flood, "invalid_answer"),
    "empty": (answering_json(b""), "invalid_answer"),
    "no json": (answering_json(b"{"), "invalid_answer"),
    "duplicate keys": (answering_json(spoilt()[:-1] + b', "epoch": 1}'), "invalid_answer"),
    "NaN": (answering_json(b'{"config": NaN}'), "invalid_answer"),
    "a list": (answering_json(b"[]"), "invalid_answer"),
    "deep": (answering_json(b"[" * 100_000), "invalid_answer"),
    "wrong types": (answering_json(spoilt(epoch="1")), "invalid_answer"),
    "wrong hash": (answering_json(spoilt(hash="sha256:" + "0" * 64)), "invalid_answer"),
    "another service": (answering_json(spoilt(service="billing")), "invalid_answer"),
    "another environment": (answering_json(spoilt(environment="staging")), "invalid_answer"),
    "unknown requires": (answering_json(spoilt(requires=["rollout"])), "invalid_answer"),
}


@pytest.mark.parametrize(("handler", "word"), MISBEHAVIOUR.values(), ids=MISBEHAVIOUR.keys())
async def test_a_bad_answer_changes_nothing_and_has_its_word(
    client_of: Callable[..., ConfigClient], handler: Handler, word: str
) -> None:
    async with scripted_server(handler) as server:
        client = client_of(server.url)
        started = time.monotonic()
        await client.init_async()
        assert time.monotonic() - started < 2.5
        assert await client.get_config() == {"batch_size": 10}
        assert (client.status.source, client.status.error_code) == (Source.DEFAULTS, word)


# To a client that holds something, 304 is the answer that it hopes for.
GOING_BAD = {name: case for name, case in MISBEHAVIOUR.items() if not name.startswith("304")}


@pytest.mark.parametrize(("handler", "word"), GOING_BAD.values(), ids=GOING_BAD.keys())
async def test_a_good_configuration_survives_a_server_that_goes_bad(
    client_of: Callable[..., ConfigClient], handler: Handler, word: str
) -> None:
    async with scripted_server(behave) as server:
        client = client_of(server.url)
        await client.init_async()
        server.handler = handler
        assert await client.get_config(force_refresh=True) == {"batch_size": 150}
        assert client.status.revision == 7
        assert client.status.error_code == word
        server.handler = behave
        await client.get_config(force_refresh=True)
        assert (client.status.error, client.status.stale) == (None, False)


@pytest.mark.parametrize("handler", [hang, drip])
async def test_a_server_that_never_finishes_costs_two_seconds_at_the_start(
    client_of: Callable[..., ConfigClient], handler: Handler
) -> None:
    async with scripted_server(handler) as server:
        client = client_of(server.url)
        started = time.monotonic()
        await client.init_async()
        assert 1.9 < time.monotonic() - started < 2.5
        assert client.get_value("batch_size") == 10


async def test_a_hub_that_begins_to_hang_or_to_drip_takes_nothing_away_and_costs_ten_seconds_at_most(
    client_of: Callable[..., ConfigClient],
) -> None:
    async def suffer(handler: Handler) -> float:
        async with scripted_server(behave) as server:
            client = client_of(server.url)
            await client.init_async()
            server.handler = handler
            started = time.monotonic()
            assert await client.get_config(force_refresh=True) == {"batch_size": 150}
            took = time.monotonic() - started
            assert client.status.error_code == "unreachable"
            server.handler = behave
            await until(lambda: client.status.error is None, within=40)
            return took

    assert max(await asyncio.gather(suffer(hang), suffer(drip))) < 15


@pytest.mark.parametrize("last_words", [b"event: config\ndata: ", b": ", b"data: x\n"])
async def test_an_event_that_never_ends_is_given_up_and_the_next_stream_is_heard(
    client_of: Callable[..., ConfigClient], last_words: bytes
) -> None:
    async def endless(exchange: Exchange) -> None:
        if "/config/watch" not in exchange.request.target:
            await behave(exchange)
        elif streams_of(server) == 1:
            await exchange.open_stream()
            await exchange.send(last_words)
            for _ in range(60):
                await exchange.send(b"x" * 2**20)
                await asyncio.sleep(0)
        else:
            await exchange.open_stream()
            await exchange.send_event(config_object(8, {"batch_size": 8}))
            await asyncio.sleep(60)

    async with scripted_server(endless) as server:
        client = client_of(server.url)
        await client.init_async()
        await until(lambda: client.get_value("batch_size") == 8, within=30)


async def test_an_event_that_cannot_be_used_keeps_no_later_one_from_being_applied(
    client_of: Callable[..., ConfigClient],
) -> None:
    async def confused(exchange: Exchange) -> None:
        if "/config/watch" not in exchange.request.target:
            await behave(exchange)
            return
        await exchange.open_stream()
        for changes in ({"hash": "sha256:00"}, {"requires": ("rollout",)}, {"service": "billing"}):
            await exchange.send_event(config_object(8, {"batch_size": 666}, **changes))
        await went_on.wait()
        await exchange.send_event(config_object(9, {"batch_size": 9}))
        await asyncio.sleep(60)

    went_on = asyncio.Event()
    async with scripted_server(confused) as server:
        client = client_of(server.url)
        await client.init_async()
        await until(lambda: client.status.error_code == "invalid_answer")
        assert client.get_value("batch_size") == 150
        went_on.set()
        await until(lambda: client.get_value("batch_size") == 9)
        assert client.status.error is None


async def test_an_answer_cut_after_any_byte_is_no_configuration() -> None:
    whole = json.dumps(GOOD.to_json()).encode()
    assert await read_config_object(whole) == GOOD
    for length in range(len(whole)):
        with pytest.raises(InvalidAnswer):
            await read_config_object(whole[:length])


async def test_a_slow_answer_is_taken_when_it_comes(client_of: Callable[..., ConfigClient]) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.5)
        await behave(exchange)

    async with scripted_server(slow) as server:
        client = client_of(server.url)
        await client.init_async(deadline_seconds=0.1)
        assert client.get_value("batch_size") == 10
        await until(lambda: client.get_value("batch_size") == 150)


async def test_a_refused_connection_ends_the_start_at_once(client_of: Callable[..., ConfigClient]) -> None:
    client = client_of("http://127.0.0.1:1")
    started = time.monotonic()
    await client.init_async()
    assert time.monotonic() - started < 0.5
    assert client.status.error_code == "unreachable"


async def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else(
    client_of: Callable[..., ConfigClient],
) -> None:
    async with scripted_server(behave) as elsewhere:
        async with scripted_server(answering("307 Moved", Location=f"{elsewhere.url}/api/v1/config/pilot")) as server:
            await client_of(server.url).init_async()
        assert elsewhere.requests == []


async def test_no_more_is_read_than_an_answer_may_be_large(client_of: Callable[..., ConfigClient]) -> None:
    sent = 0

    async def endless(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                await exchange.send(b" " * 65536)
                sent += 65536

    async with scripted_server(endless) as server:
        await client_of(server.url).init_async()
        await until(lambda: sent > MAX_ANSWER_BYTES)
        assert sent < MAX_ANSWER_BYTES + 16 * 1024 * 1024  # what the sockets in between hold


async def test_retry_after_is_kept_to(client_of: Callable[..., ConfigClient]) -> None:
    busy = answering("503 Service Unavailable", b"", Retry_After="1")
    async with scripted_server(busy) as server:
        client = client_of(server.url)
        await client.init_async()
        await until(lambda: len(server.asked("config/pilot")) >= 3)
        asked = [request.at for request in server.asked("config/pilot")]
        assert min(later - earlier for earlier, later in pairwise(asked)) > 0.95
        assert client.status.error_code == "unavailable"


def test_retry_after_is_a_number_or_a_date_and_at_most_five_minutes() -> None:
    now = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
    assert retry_after({"Retry-After": "7"}, now=now) == 7
    assert retry_after({"Retry-After": "999999"}, now=now) == 300
    assert retry_after({"Retry-After": "Mon, 23 Nov 2026 14:00:30 GMT"}, now=now) == 30
    assert retry_after({"Retry-After": "Mon, 23 Nov 2026 13:00:00 GMT"}, now=now + timedelta(hours=1)) == 0
    assert retry_after({"Retry-After": "soon"}, now=now) is None
    assert retry_after({}, now=now) is None


async def test_a_hub_that_is_down_is_asked_ever_more_seldom(client_of: Callable[..., ConfigClient]) -> None:
    async with scripted_server(answering("502 Bad Gateway")) as server:
        await client_of(server.url).init_async()
        await asyncio.sleep(4)
        # Full jitter from 0.2 s, doubling: six or seven on average; without back-off it would be hundreds.
        assert 2 <= len(server.asked("config/pilot")) < 25


async def test_the_client_says_who_asks(client_of: Callable[..., ConfigClient]) -> None:
    async with scripted_server(behave) as server:
        client = client_of(server.url, instance_id="web-1", environment="staging")
        await client.init_async()
        request = server.asked("config/pilot")[0]
        assert request.target == "/api/v1/config/pilot?environment=staging"
        assert request.headers["authorization"] == "Bearer hunter2"
        assert request.headers["x-hub-instance"] == "web-1"


async def test_what_is_held_is_asked_for_with_its_etag(client_of: Callable[..., ConfigClient]) -> None:
    async with scripted_server(behave) as server:
        client = client_of(server.url)
        await client.init_async()
        await client.get_config(force_refresh=True)
        assert server.asked("config/pilot")[-1].headers["if-none-match"] == GOOD.etag
        assert client.status.error is None


async def test_polling_goes_on_where_streams_are_not_let_through(client_of: Callable[..., ConfigClient]) -> None:
    current = GOOD

    async def without_streams(exchange: Exchange) -> None:
        if "/config/watch" in exchange.request.target:
            await exchange.respond("404 Not Found", b"<html>", Content_Type="text/html")
        else:
            await exchange.respond_config(current)

    async with scripted_server(without_streams) as server:
        client = client_of(server.url)
        await client.init_async()
        current = config_object(8, {"batch_size": 200})
        await until(lambda: client.get_value("batch_size") == 200)


async def test_a_poll_is_made_once_in_the_time_to_live(client_of: Callable[..., ConfigClient]) -> None:
    async with scripted_server(behave) as server:
        await client_of(server.url, cache_ttl_seconds=1).init_async()
        await asyncio.sleep(3.2)
        assert 3 <= len(server.asked("config/pilot")) <= 5


def streams_of(server: ScriptedServer) -> int:
    return len(server.asked("config/watch"))


async def test_a_silent_stream_is_given_up_after_five_seconds_whatever_else_it_sends(
    client_of: Callable[..., ConfigClient],
) -> None:
    async def comments_only(exchange: Exchange) -> None:
        if "/config/watch" not in exchange.request.target:
            await behave(exchange)
            return
        await exchange.open_stream()
        await exchange.send_event(bookmark(7))
        while True:
            await exchange.send(b": still here\n\nevent: other\ndata: x\n\n")
            await asyncio.sleep(0.2)

    async with scripted_server(comments_only) as server:
        client = client_of(server.url)
        await client.init_async()
        await until(lambda: streams_of(server) == 1)
        opened = time.monotonic()
        await until(lambda: streams_of(server) == 2)
        assert 4.9 < time.monotonic() - opened < 7.5


async def test_a_stream_resumes_after_what_was_heard_last(client_of: Callable[..., ConfigClient]) -> None:
    async def once(exchange: Exchange) -> None:
        if "/config/watch" not in exchange.request.target:
            await behave(exchange)
            return
        await exchange.open_stream()
        if streams_of(server) == 1:
            await exchange.send_event(config_object(8, {"batch_size": 8}))
            await exchange.send_event(bookmark(12))
            exchange.writer.close()
        else:
            await asyncio.sleep(60)

    async with scripted_server(once) as server:
        client = client_of(server.url)
        await client.init_async()
        await until(lambda: streams_of(server) == 2)
        first, second = server.asked("config/watch")
        assert first.target.endswith("&after=1.7")
        assert second.target.endswith("&after=1.12")
        assert second.headers["last-event-id"] == "1.12"
        assert client.get_value("batch_size") == 8


async def test_a_history_that_is_gone_makes_the_client_start_anew(client_of: Callable[..., ConfigClient]) -> None:
    async def forgetful(exchange: Exchange) -> None:
        if "/config/watch" not in exchange.request.target:
            await behave(exchange)
        elif "after=" in exchange.request.target and streams_of(server) == 1:
            await exchange.respond("410 Gone", b'{"code": "history_gone"}', Content_Type="application/problem+json")
        else:
            await exchange.open_stream()
            await exchange.send_event(config_object(90, {"batch_size": 90}))
            await asyncio.sleep(60)

    async with scripted_server(forgetful) as server:
        client = client_of(server.url)
        await client.init_async()
        await until(lambda: client.get_value("batch_size") == 90)


async def test_an_event_that_is_too_large_to_be_pushed_is_fetched(client_of: Callable[..., ConfigClient]) -> None:
    async def hinting(exchange: Exchange) -> None:
        if "/config/watch" in exchange.request.target:
            await exchange.open_stream()
            await exchange.send_event(config_object(8, is_hint=True))
            await asyncio.sleep(60)
        elif "x-hub-min-revision" in exchange.request.headers:
            await exchange.respond_config(config_object(8, {"batch_size": 8}))
        else:
            await behave(exchange)

    async with scripted_server(hinting) as server:
        client = client_of(server.url)
        await client.init_async()
        await until(lambda: client.get_value("batch_size") == 8)
        assert [request.headers.get("x-hub-min-revision") for request in server.asked("config/pilot")] == [None, "1.8"]


async def test_a_lagging_replica_takes_nothing_back_and_confirms_nothing(
    client_of: Callable[..., ConfigClient],
) -> None:
    async def lagging(exchange: Exchange) -> None:
        if "/config/watch" in exchange.request.target:
            await exchange.open_stream()
            await exchange.send_event(config_object(6, {"batch_size": 6}))
            await exchange.send_event(bookmark(6))
            await asyncio.sleep(60)
        await exchange.respond_config(config_object(6, {"batch_size": 6}))

    async with scripted_server(behave) as server:
        client = client_of(server.url)
        await client.init_async()
        await until(lambda: streams_of(server) == 1)
    async with scripted_server(lagging) as server:
        other = client_of(server.url)
        await client.shutdown()
        await other.init_async()
        await until(lambda: streams_of(server) == 1)
        await asyncio.sleep(0.2)
        assert other.get_value("batch_size") == 150
        assert other.status.source is Source.LAST_KNOWN_GOOD


async def test_a_new_epoch_lowers_the_revision_and_says_so(
    client_of: Callable[..., ConfigClient], caplog: pytest.LogCaptureFixture
) -> None:
    async def restored(exchange: Exchange) -> None:
        if "/config/watch" in exchange.request.target:
            await exchange.open_stream()
            await exchange.send_event(bookmark(3, epoch=2))
            await asyncio.sleep(60)
        await exchange.respond_config(config_object(3, {"batch_size": 3}, epoch=2))

    async with scripted_server(behave) as server:
        client = client_of(server.url)
        await client.init_async()
        with caplog.at_level(logging.WARNING, "central_hub_client"):
            server.handler = restored
            await client.get_config(force_refresh=True)
        assert (client.status.epoch, client.status.revision) == (2, 3)
        assert "the history was replaced (a new epoch began): service=pilot old=1.7 new=2.3" in caplog.text


async def test_a_stream_of_a_new_epoch_makes_the_client_ask(client_of: Callable[..., ConfigClient]) -> None:
    is_restored = asyncio.Event()

    async def restoring(exchange: Exchange) -> None:
        if "/config/watch" in exchange.request.target:
            await exchange.open_stream()
            while True:
                await exchange.send_event(bookmark(3, epoch=2) if is_restored.is_set() else bookmark(7))
                await asyncio.sleep(0.1)
        elif is_restored.is_set():
            await exchange.respond_config(config_object(3, {"batch_size": 3}, epoch=2))
        else:
            await behave(exchange)

    async with scripted_server(restoring) as server:
        client = client_of(server.url)
        await client.init_async()
        is_restored.set()
        await until(lambda: client.get_value("batch_size") == 3)


async def test_the_token_is_in_no_log_line_and_no_repr(
    client_of: Callable[..., ConfigClient], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for handler, _ in MISBEHAVIOUR.values():
            async with scripted_server(handler) as server:
                client = client_of(server.url)
                await client.init_async(deadline_seconds=0.2)
                assert "hunter2" not in repr(client)
                assert "hunter2" not in repr(client.status)
                await client.shutdown()
    assert caplog.text
    assert "hunter2" not in caplog.text
