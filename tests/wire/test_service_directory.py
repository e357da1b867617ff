"""A directory of instances: fed by a hub, and by one that is dead, slow, wrong or back again."""

import asyncio
import contextlib
import json
import os
import re
import socket
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from central_hub_client import NoInstance, ServiceDirectory, Source, directory_feed
from central_hub_client.routing.hash_ring import owner
from tests.conftest import RunningHub
from tests.integration.instances import beat, register
from tests.wire.scripted_server import Exchange, scripted_server
from tests.wire.waiting import until

SERVICE = "billing"
PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/call-another-service.md"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(directory_feed, "POLL_SECONDS", 0.1)
    for name in ("URL", "TOKEN", "ENVIRONMENT"):
        monkeypatch.delenv(f"CENTRAL_HUB_{name}", raising=False)
    monkeypatch.setenv("CENTRAL_HUB_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def dead_url() -> Iterator[str]:
    """An address where nobody answers, and nobody else will."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


def listed(name: str, state: str = "healthy", **told: Any) -> dict[str, Any]:
    return {"service": SERVICE, "environment": "default", "instance_id": name, "state": state} | told


class FakeList:
    """What a scripted hub answers: a list, or a status."""

    def __init__(self, *instances: dict[str, Any]) -> None:
        self.instances = list(instances)
        self.status = "200 OK"

    async def __call__(self, exchange: Exchange) -> None:
        body = json.dumps({"instances": self.instances, "next": None}).encode()
        await exchange.respond(self.status, body, Content_Type="application/json")


def called(directory: ServiceDirectory, service: str = SERVICE, count: int = 20) -> Counter[str]:
    return Counter(directory.pick(service).instance.instance_id for _ in range(count))


async def healthy(hub: RunningHub, service: str, name: str, **told: Any) -> None:
    made = await register(hub.http, service, name, **told)
    assert (await beat(hub.http, made)).status_code == 200


async def test_a_directory_picks_from_what_the_hub_lists_and_follows_it(hub: RunningHub, service_name: str) -> None:
    await healthy(hub, service_name, "heavy", weight=3, host="10.0.0.7", port=8080, zone="eu")
    await healthy(hub, service_name, "light", zone="us")
    await register(hub.http, service_name, "starts")
    async with ServiceDirectory(service_name, central_hub_url=hub.url, token=hub.token, zone="us") as directory:
        assert called(directory, service_name) == {"heavy": 15, "light": 5}
        assert {found.instance_id for found in directory.instances(service_name)} == {"heavy", "light", "starts"}
        choice = directory.pick(service_name, "same_zone", zone="eu")
        assert (choice.instance.url, choice.fallbacks) == ("http://10.0.0.7:8080", ())
        assert directory.pick(service_name, "same_zone").instance.instance_id == "light"
        members = [found for found in directory.instances(service_name) if found.state == "healthy"]
        assert directory.pick(service_name, "consistent_hash", key="k").instance == owner(members, "k")
        with directory.calling(service_name) as random_choice:
            assert random_choice.instance in members
        status = directory.status(service_name)
        assert (status.source, status.stale, status.instances, status.eligible) == (Source.HUB, False, 3, 2)
        await healthy(hub, service_name, "late")
        await until(lambda: "late" in called(directory, service_name))
        answer = await hub.http.delete(f"/api/v1/discovery/{service_name}/heavy")
        assert answer.status_code == 204
        await until(lambda: set(called(directory, service_name)) == {"light", "late"})


async def test_all_pages_of_a_large_service_are_read(
    hub: RunningHub, service_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("central_hub_client.hub_api.INSTANCES_ON_A_PAGE", 3)
    for number in range(10):
        await healthy(hub, service_name, f"i{number}")
    async with ServiceDirectory(service_name, central_hub_url=hub.url, token=hub.token) as directory:
        assert called(directory, service_name) == {f"i{number}": 2 for number in range(10)}


async def test_a_call_asks_nobody_and_works_with_the_hub_dead(
    start_hub: Callable[..., Awaitable[RunningHub]], tmp_path: Path
) -> None:
    running = await start_hub()
    await healthy(running, SERVICE, "one")
    arguments: dict[str, Any] = {"central_hub_url": running.url, "token": running.token}
    async with ServiceDirectory(SERVICE, **arguments) as directory:
        await running.stop()
        await until(lambda: directory.status(SERVICE).error_code == "unreachable")
        assert called(directory) == {"one": 20}
        status = directory.status(SERVICE)
        assert (status.source, status.stale, status.is_kept) == (Source.HUB, True, False)
    assert called(directory) == {"one": 20}  # what is known stays
    # A process that starts while the hub is dead begins with what others of its machine knew.
    async with ServiceDirectory(SERVICE, **arguments) as another:
        assert called(another) == {"one": 20}
        status = another.status(SERVICE)
        assert (status.source, status.stale, status.error_code) == (Source.LAST_KNOWN_GOOD, True, "unreachable")
        assert status.age_seconds is not None
        assert status.age_seconds < 60
    # But not of another hub, nor of another environment.
    for changes in ({"central_hub_url": running.url.replace("127.0.0.1", "localhost")}, {"environment": "staging"}):
        async with ServiceDirectory(SERVICE, **arguments | changes) as elsewhere:
            with pytest.raises(NoInstance, match="nothing is known"):
                elsewhere.pick(SERVICE)


async def test_a_hub_that_comes_back_without_the_fleet_does_not_empty_the_list() -> None:
    answers = FakeList(listed("a"), listed("b"))
    async with (
        scripted_server(answers) as server,
        ServiceDirectory(SERVICE, central_hub_url=server.url) as directory,
    ):
        answers.status, answers.instances = "503 Service Unavailable", []
        await until(lambda: directory.status(SERVICE).error_code == "unavailable")
        assert called(directory) == {"a": 10, "b": 10}
        answers.status, answers.instances = "200 OK", [listed("a", "expired"), listed("b", "expired")]
        await until(lambda: directory.status(SERVICE).is_kept)
        assert called(directory) == {"a": 10, "b": 10}
        answers.instances = [listed("a", "draining"), listed("b")]
        await until(lambda: not directory.status(SERVICE).is_kept)
        assert called(directory) == {"b": 20}
        answers.instances = [listed("a", "draining")]
        await until(lambda: directory.status(SERVICE).eligible == 1 and directory.status(SERVICE).is_kept)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b'{"instances": 7}',
        b'{"instances": [{"service": "x"}], "next": null}',
        b'{"instances": [], "next": 7}',
        b'{"instances": [], "next": "for ever"}',
    ],
)
async def test_what_is_no_list_of_instances_takes_nothing_away(body: bytes) -> None:
    answers = FakeList(listed("a"))
    async with (
        scripted_server(answers) as server,
        ServiceDirectory(SERVICE, central_hub_url=server.url) as directory,
    ):

        async def wrong(exchange: Exchange) -> None:
            await exchange.respond("200 OK", body, Content_Type="application/json")

        server.handler = wrong
        await until(lambda: directory.status(SERVICE).error_code == "invalid_answer")
        assert called(directory) == {"a": 20}


async def test_a_start_waits_no_longer_than_its_deadline_and_a_late_answer_counts() -> None:
    may_answer = asyncio.Event()
    answers = FakeList(listed("a"))

    async def slow(exchange: Exchange) -> None:
        await may_answer.wait()
        await answers(exchange)

    async with scripted_server(slow) as server:
        directory = ServiceDirectory(SERVICE, central_hub_url=server.url)
        await directory.start_async(0.2)
        with pytest.raises(NoInstance, match="has not answered yet"):
            directory.pick(SERVICE)
        may_answer.set()
        await until(lambda: directory.status(SERVICE).eligible == 1)
        await directory.stop_async()


async def test_without_anybody_to_call_the_error_says_why(dead_url: str) -> None:
    nobody = ServiceDirectory(SERVICE, central_hub_url=dead_url)
    await asyncio.to_thread(nobody.start)
    with pytest.raises(NoInstance, match="nothing is known of it"):
        nobody.pick(SERVICE)
    await asyncio.to_thread(nobody.stop)
    async with (
        scripted_server(FakeList(listed("a", "draining"), listed("b", weight=0))) as server,
        ServiceDirectory(SERVICE, central_hub_url=server.url) as directory,
    ):
        with pytest.raises(NoInstance, match="can be called: 1 draining, 1 of weight 0"):
            directory.pick(SERVICE)


async def test_the_example_of_the_documentation_calls_an_instance(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [source] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

    async def answer(exchange: Exchange) -> None:
        target = exchange.request.target
        if target.startswith("/invoices/customer-7"):
            await exchange.respond("200 OK", b"[1, 2, 3]", Content_Type="application/json")
        elif target.startswith("/api/v1/discovery/billing"):
            await FakeList(listed("a", host="127.0.0.1", port=int(server.url.rpartition(":")[2])))(exchange)
        else:
            await FakeList()(exchange)

    async with scripted_server(answer) as server:
        monkeypatch.setenv("CENTRAL_HUB_URL", server.url)
        names: dict[str, Any] = {"__name__": "example"}
        exec(compile(source, str(PAGE), "exec"), names)  # noqa: S102 - our own documentation
        await names["main"]()
    assert capsys.readouterr().out.split() == ["3", "False"]


async def test_a_token_that_may_not_read_is_told_of(hub: RunningHub, service_name: str) -> None:
    token = await hub.new_token(services=["other"])
    async with ServiceDirectory(service_name, central_hub_url=hub.url, token=token) as directory:
        assert directory.status(service_name).error_code == "forbidden"
        with pytest.raises(NoInstance, match="does not cover"):
            directory.pick(service_name)


async def test_a_service_may_be_followed_later(hub: RunningHub, service_name: str) -> None:
    await healthy(hub, service_name, "one")
    async with ServiceDirectory(central_hub_url=hub.url, token=hub.token) as directory:
        with pytest.raises(ValueError, match="not followed"):
            directory.pick(service_name)
        directory.follow(service_name)
        directory.follow(service_name)
        assert directory.services == (service_name,)
        await until(lambda: directory.status(service_name).eligible == 1)
    with pytest.raises(ValueError, match="cannot name a service"):
        directory.follow("No Service")


async def test_stopped_it_has_no_thread_and_started_again_it_goes_on() -> None:
    answers = FakeList(listed("a"))
    async with scripted_server(answers) as server:
        directory = ServiceDirectory(SERVICE, central_hub_url=server.url)
        before = threading.active_count()
        for name in ("a", "b"):
            answers.instances = [listed(name)]
            await asyncio.to_thread(directory.start)
            await asyncio.to_thread(directory.start)  # does nothing
            await until(lambda name=name: name in called(directory))  # type: ignore[misc]
            await directory.stop_async()
        await until(lambda: threading.active_count() <= before + 2)  # threads of `to_thread` itself stay


FORKING = """
import os, sys, time
from central_hub_client import ServiceDirectory, directory_feed
directory_feed.POLL_SECONDS = 0.1
directory = ServiceDirectory("billing", central_hub_url=sys.argv[1])
directory.start()

def say(who):
    seen = None
    while True:
        names = ",".join(sorted({directory.pick("billing").instance.instance_id for _ in range(10)}))
        if names != seen:
            seen = names
            os.write(1, f"{who} {names}\\n".encode())
        time.sleep(0.01)

say("parent" if os.fork() else "child")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
async def test_a_forked_worker_goes_on_with_what_the_parent_knew_and_hears_the_news_itself() -> None:
    answers = FakeList(listed("a"))
    async with scripted_server(answers) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", FORKING, server.url), stdout=asyncio.subprocess.PIPE, start_new_session=True
        )
        assert process.stdout is not None
        said: set[str] = set()

        async def says(*expected: str) -> None:
            assert process.stdout is not None
            async with asyncio.timeout(30):
                while not set(expected) <= said:
                    said.add((await process.stdout.readline()).decode().strip())

        try:
            await says("parent a", "child a")
            answers.instances = [listed("a"), listed("b")]
            await says("parent a,b", "child a,b")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)  # its own group: the worker is its child, not ours
            await process.wait()
