"""The hub for tests answers as the real one does, and a manager on it sees what the test says."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import BaseModel, ConfigDict

from central_hub_client import ConfigManager, ServiceDirectory, ServiceInstance, Source
from central_hub_client.testing import FakeHub, NetworkRefused, refuse_network
from central_hub_client.wire import ConfigObject, Position
from tests.conftest import RunningHub

TELLING = ("content-type", "etag", "x-hub-revision", "cache-control")


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)
    batch_size: int = 1


@pytest.fixture
def manager_of(fake_hub: FakeHub) -> Any:
    managers: list[ConfigManager[Settings]] = []

    def build(service: str) -> ConfigManager[Settings]:
        managers.append(ConfigManager(service, Settings, config_dir=None))
        return managers[-1]

    yield build
    for manager in managers:
        manager.stop()


async def events_of(http: httpx2.AsyncClient, count: int, **query: Any) -> AsyncIterator[dict[str, Any]]:
    async with http.stream("GET", "/api/v1/config/watch", params=query) as answer:
        assert answer.status_code == 200, await answer.aread()
        lines = answer.aiter_lines()
        for _ in range(count):
            event: dict[str, Any] = {}
            async for line in lines:
                if not line:
                    break
                name, _, value = line.partition(": ")
                event[name] = json.loads(value) if name == "data" else value
            yield event


def shape(answer: httpx2.Response) -> Any:
    body = answer.json() if answer.content else None
    described = {name for name in TELLING if name in answer.headers}
    if answer.status_code >= 400:
        return answer.status_code, body["code"], body["status"], answer.headers["content-type"]
    return answer.status_code, described, body and body.keys(), body and body["config"], body and body["hash"]


async def test_it_answers_as_the_real_hub_does(hub: RunningHub, service_name: str) -> None:
    # The same documents in the same order; then the same questions.
    documents: list[tuple[str, dict[str, Any]]] = [
        ("default", {"a": {"x": 1, "y": 2}, "list": [1]}),
        ("production", {"a": {"y": 3}, "list": []}),
    ]
    with FakeHub(token="chub_fake") as fake:
        http = httpx2.AsyncClient(base_url=fake.url, headers={"Authorization": "Bearer chub_fake"}, timeout=30)
        for environment, config in documents:
            fake.set(service_name, config, environment=environment)
            stored = await hub.http.post(
                "/api/v1/config/update", json={"service": service_name, "environment": environment, "config": config}
            )
            assert stored.status_code == 200, stored.text
        place = f"/api/v1/config/{service_name}"
        questions: list[tuple[str, dict[str, str]]] = [
            (place, {}),
            (f"{place}?environment=production", {}),
            (f"{place}?environment=elsewhere", {}),
            (f"{place}?after=9.1", {}),
            (f"{place}?after=0.1", {}),
            (f"{place}?after=soon", {}),
            ("/api/v1/config/nobody-has-this", {}),
            ("/api/v1/config/watch?after=9.1&service=" + service_name, {}),
            (f"{place}?environment=NO", {}),
        ]
        for path, headers in questions:
            asked = [await client.get(path, headers=headers) for client in (http, hub.http)]
            assert shape(asked[0]) == shape(asked[1]), path
        for client in (http, hub.http):
            etag = (await client.get(place)).headers["etag"]
            again = await client.get(place, headers={"If-None-Match": etag})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        without = [await client.get(place) for client in (httpx2.AsyncClient(base_url=fake.url), hub.client(None))]
        assert shape(without[0]) == shape(without[1])
        kinds = []
        for client in (http, hub.http):
            events = [event async for event in events_of(client, 2, service=service_name, environment="production")]
            kinds.append([(event["event"], "id" in event, event["data"].keys()) for event in events])
            assert ConfigObject.from_json(events[0]["data"]).hash_is_right()
        assert kinds[0] == kinds[1]
        assert (await http.get("/api/v1/keys")).json() == {"keys": []}
        assert (await http.post(f"{place}", json={"config": {}})).status_code == 405
        await http.aclose()


async def test_a_long_poll_is_answered_by_the_next_change() -> None:
    with FakeHub() as fake:
        first = fake.set("orders", {"a": 1})
        timer = threading.Timer(0.2, fake.set, ("orders", {"a": 2}))
        timer.start()
        async with httpx2.AsyncClient(base_url=fake.url, timeout=30) as http:
            answer = await http.get("/api/v1/config/orders", params={"after": str(first), "wait": 30})
            assert answer.json()["config"] == {"a": 2}
            assert answer.json()["previous_revision"] == first.revision
            nothing = await http.get("/api/v1/config/orders", params={"after": "1.2", "wait": 0.05})
            assert nothing.status_code == 304


def test_a_change_reaches_a_running_manager(fake_hub: FakeHub, manager_of: Callable[..., Any]) -> None:
    fake_hub.set("orders", {"batch_size": 10, "key_of_the_next_build": True})
    manager = manager_of("orders")
    manager.start(deadline=20)
    assert (manager.current, manager.status.source) == (Settings(batch_size=10), Source.HUB)
    fake_hub.set("orders", {"batch_size": 20})
    fake_hub.wait_until_applied(manager)
    assert manager.current == Settings(batch_size=20)
    fake_hub.set("orders", {"batch_size": "many"})
    fake_hub.wait_until_applied(manager)
    assert manager.current == Settings(batch_size=20)
    assert manager.status.rejected is not None
    fake_hub.delete("orders")
    fake_hub.wait_until_applied(manager)
    assert manager.current == Settings()
    assert fake_hub.asked[0].instance_id is not None


def test_a_directory_finds_the_instances_that_were_put_there(fake_hub: FakeHub) -> None:
    fake_hub.instances = [
        ServiceInstance("billing", "default", "a", "healthy", host="127.0.0.1", port=8080, labels={"team": "data"}),
        ServiceInstance("billing", "default", "b", "draining"),
        ServiceInstance("billing", "staging", "c", "healthy"),
        ServiceInstance("orders", "default", "d", "healthy"),
    ]
    with ServiceDirectory("billing") as directory:
        assert directory.instances("billing") == tuple(fake_hub.instances[:2])
        fake_hub.stop()
        assert directory.pick("billing").instance.url == "http://127.0.0.1:8080"


def test_the_global_document_lies_under_every_service(fake_hub: FakeHub, manager_of: Callable[..., Any]) -> None:
    assert fake_hub.set("_global", {"batch_size": 7}) == Position(1, 1)
    manager = manager_of("orders")
    with pytest.raises(LookupError):
        fake_hub.wait_until_applied(manager)
    fake_hub.set("orders", {})
    manager.start(deadline=20)
    assert manager.current == Settings(batch_size=7)
    assert fake_hub.set("_global", {"batch_size": 7}) == Position(1, 2)  # nothing new, no revision
    fake_hub.set("_global", {"batch_size": 8})
    fake_hub.wait_until_applied(manager)
    assert manager.current == Settings(batch_size=8)


def test_a_manager_goes_on_without_its_hub_and_hears_it_again(
    fake_hub: FakeHub, manager_of: Callable[..., Any]
) -> None:
    fake_hub.set("orders", {"batch_size": 10})
    manager = manager_of("orders")
    manager.start(deadline=20)
    fake_hub.stop()
    deadline = time.monotonic() + 20
    while manager.status.error_code != "unreachable":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert manager.current == Settings(batch_size=10)
    fake_hub.set("orders", {"batch_size": 20})
    fake_hub.start()
    fake_hub.wait_until_applied(manager)
    assert manager.current == Settings(batch_size=20)


def test_what_no_hub_takes_is_refused_where_it_is_set() -> None:
    fake = FakeHub()
    for service, config in (("status", {}), ("Orders", {}), ("orders", {"n": float("nan")}), ("orders", {"n": 2**60})):
        with pytest.raises(ValueError, match=r"."):
            fake.set(service, config)
    assert fake.position == Position(1, 0)


def test_the_network_is_refused_and_loopback_is_not(fake_hub: FakeHub) -> None:
    with socket.socket() as connection, pytest.raises(NetworkRefused):
        connection.connect(("192.0.2.1", 80))
    with socket.socket(type=socket.SOCK_DGRAM) as connection, pytest.raises(NetworkRefused):
        connection.sendto(b"x", ("192.0.2.1", 53))
    with pytest.raises(NetworkRefused):
        socket.create_connection(("hub.example", 80))
    with refuse_network():
        pass
    with socket.socket() as connection, pytest.raises(NetworkRefused):
        connection.connect_ex(("192.0.2.1", 80))
    socket.create_connection(("127.0.0.1", int(fake_hub.url.rpartition(":")[2]))).close()


def test_a_stopped_hub_answers_nobody_though_a_forked_process_holds_its_sockets(fake_hub: FakeHub) -> None:
    context = multiprocessing.get_context("fork")
    is_there = context.Event()
    child = context.Process(target=hold_everything, args=(is_there,))
    child.start()
    try:
        assert is_there.wait(20)
        address = ("127.0.0.1", int(fake_hub.url.rpartition(":")[2]))
        fake_hub.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=20)
        fake_hub.start()
        socket.create_connection(address, timeout=20).close()
    finally:
        child.kill()
        child.join()


def hold_everything(is_there: Event) -> None:
    is_there.set()
    time.sleep(60)


TESTS_OF_A_SERVICE = """
import os
import pytest
from central_hub_client import ConfigManager

MANAGER = ConfigManager("orders", config_dir=None)

def test_it_follows(fake_hub):
    assert os.environ["CENTRAL_HUB_URL"] == fake_hub.url
    assert "CENTRAL_HUB_TOKEN" not in os.environ
    fake_hub.set("orders", {"operational": {"batch_size": 150}})
    with ConfigManager("orders", config_dir=None) as config:
        assert config["operational.batch_size"] == 150

def test_an_override_lasts_for_its_test(override):
    override(MANAGER, {"a.b": 1})
    override(MANAGER, {"a.b": 2})
    assert MANAGER.get("a.b") == 2

def test_and_no_longer():
    assert MANAGER.get("a.b") is None
"""


def test_the_plugin_is_found_by_itself(tmp_path: Path) -> None:
    (tmp_path / "test_service.py").write_text(TESTS_OF_A_SERVICE)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"CENTRAL_HUB_URL": "http://hub.example", "CENTRAL_HUB_TOKEN": "x"},
    )
    assert "3 passed" in result.stdout, result.stdout + result.stderr


def test_the_fake_hub_needs_no_pytest() -> None:
    program = "import sys, central_hub_client.testing; assert not {'pytest', '_pytest'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


def test_a_process_that_holds_a_fake_hub_ends_at_once() -> None:
    program = (
        "from central_hub_client.testing import FakeHub; h = FakeHub(); h.start(); print(h.url, flush=True); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    url = process.stdout.readline().decode().strip()
    assert httpx2.get(f"{url}/api/v1/health/ready").status_code == 200
    process.communicate(b"\n", timeout=20)
    assert process.returncode == 0
