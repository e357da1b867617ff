"""infrastructure.yaml under a hub that runs: taken over when it is right, and never a credential of it shown."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from central_hub.errors import StartupRefused
from central_hub.monitoring.infrastructure import Infrastructure
from tests.conftest import RunningHub
from tests.integration.test_config_documents import assert_problem

SECRET = "hunter2-and-a-half"
TEXT = """version: 1
databases:
  orders:
    type: postgresql
    description: Orders.
    host: ${ORDERS_HOST:-10.0.0.7}
    port: 5432
    database: trading
    user: trading
    password: ${ORDERS_PASSWORD}
    options: {sslmode: require}
    labels: {team: platform}
  cache: {type: redis, host: h, port: 6379, password: {$secret: "file:///run/secrets/cache"}}
messaging:
  bus: {type: nats, host: h, port: 4222, token: "${ORDERS_PASSWORD}"}
"""
ONE_MORE = "  more: {type: kafka, brokers: [a:9092]}\n"
StartHub = Callable[..., Awaitable[RunningHub]]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORDERS_PASSWORD", SECRET)
    file = tmp_path / "infrastructure.yaml"
    file.write_text(TEXT)
    return file


@pytest.fixture
async def running(path: Path, start_hub: StartHub) -> RunningHub:
    return await start_hub(infrastructure_file=path)


def write(path: Path, text: str | None) -> None:
    path.unlink() if text is None else path.write_text(text)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - of a file, which sets no event
            await asyncio.sleep(0.05)


async def test_services_are_told_how_to_connect_and_where_the_credentials_are(running: RunningHub) -> None:
    orders = {
        "name": "orders",
        "type": "postgresql",
        "description": "Orders.",
        "connection": {
            "host": "10.0.0.7",
            "port": 5432,
            "database": "trading",
            "user": "trading",
            "password": {"$secret": "env://ORDERS_PASSWORD"},
            "options": {"sslmode": "require"},
        },
        "labels": {"team": "platform"},
    }
    assert (await running.http.get("/api/v1/config/database/orders")).json() == orders
    everything = (await running.http.get("/api/v1/config/databases/all")).json()
    assert [database["name"] for database in everything["databases"]] == ["cache", "orders"]
    assert everything["databases"][1] == orders
    bus = (await running.http.get("/api/v1/config/messaging/bus")).json()
    assert bus["connection"] == {"host": "h", "port": 4222, "token": {"$secret": "env://ORDERS_PASSWORD"}}
    for unknown in ("database/bus", "messaging/orders", "database/nothing"):
        assert_problem(await running.http.get(f"/api/v1/config/{unknown}"), 404, "not_found")


async def test_a_hub_without_a_file_knows_of_no_infrastructure(hub: RunningHub) -> None:
    for target in ("database/orders", "databases/all", "messaging/bus"):
        assert_problem(await hub.http.get(f"/api/v1/config/{target}"), 404, "not_found")
    assert hub.service.infrastructure.current == Infrastructure()


async def test_a_change_is_taken_over_when_it_is_right_and_only_then(running: RunningHub, path: Path) -> None:
    file = running.service.infrastructure
    heard: list[Infrastructure] = []
    file.listen(heard.append)
    write(path, TEXT + ONE_MORE)
    await until(lambda: "more" in file.current.components)
    assert heard == [file.current]

    write(path, TEXT + ONE_MORE + "  wrong: {type: nats, host: h, port: x, password: literal}\nnodes: {}\n")
    await until(lambda: file.error is not None)
    assert file.error is not None
    assert [line.partition(":")[0] for line in file.error.splitlines()] == [
        "line 17, column 38",
        "line 17, column 51",
        "line 18, column 1",
    ]
    assert "more" in file.current.components
    health = (await running.http.get("/health")).json()
    assert health["state"] == "degraded"
    assert "central_hub_infrastructure_refused 1.0" in (await running.http.get("/metrics")).text
    assert health["reasons"] == ["infrastructure: line 17, column 38: must be a whole number, and 2 more"]

    write(path, TEXT)
    await until(lambda: file.error is None)
    assert file.current.components.keys() == {"orders", "cache", "bus"}
    assert len(heard) == 2
    assert (await running.http.get("/health")).json()["state"] == "healthy"


async def test_a_file_that_vanishes_leaves_what_it_said(running: RunningHub, path: Path) -> None:
    file = running.service.infrastructure
    write(path, None)
    await until(lambda: file.error is not None)
    assert file.error == "the file cannot be read: No such file or directory; what it said before goes on"
    assert "orders" in file.current.components
    write(path, TEXT)
    await until(lambda: file.error is None)


async def test_a_mounted_config_map_that_is_swapped_is_noticed(path: Path, start_hub: StartHub) -> None:
    """Kubernetes lets `file` point at `..data/file`, and `..data` at a directory, which it swaps."""
    mount = path.parent / "mount"
    for number, text in enumerate((TEXT, TEXT + ONE_MORE)):
        (mount / f"..{number}").mkdir(parents=True)
        (mount / f"..{number}" / "infrastructure.yaml").write_text(text)
    (mount / "..data").symlink_to("..0")
    (mount / "infrastructure.yaml").symlink_to("..data/infrastructure.yaml")
    running = await start_hub(infrastructure_file=mount / "infrastructure.yaml")
    assert "more" not in running.service.infrastructure.current.components
    (mount / "..data_tmp").symlink_to("..1")
    (mount / "..data_tmp").rename(mount / "..data")
    await until(lambda: "more" in running.service.infrastructure.current.components)


async def test_a_file_that_is_still_being_written_is_not_read_half(running: RunningHub, path: Path) -> None:
    file = running.service.infrastructure
    heard: list[Infrastructure] = []
    file.listen(heard.append)
    # What is written so far would be a right file at every line of the messaging section, with less in it.
    for number in range(25):
        write(path, TEXT + "".join(f"  n{each}: {{type: tcp, host: h, port: 1}}\n" for each in range(number)))
        await asyncio.sleep(0.1)
    assert heard == []
    await until(lambda: "n23" in file.current.components)
    assert len(heard) == 1
    assert file.error is None


async def test_a_pipe_in_the_place_of_the_file_is_refused_and_the_next_file_is_taken(
    running: RunningHub, path: Path, start_hub: StartHub
) -> None:
    file = running.service.infrastructure
    write(path, None)
    os.mkfifo(path)
    await until(lambda: file.error is not None)
    assert file.error == "the file cannot be read: it is no regular file; what it said before goes on"
    with pytest.raises(StartupRefused, match="it is no regular file"):
        await start_hub(infrastructure_file=path)
    write(path, None)
    write(path, TEXT + ONE_MORE)
    await until(lambda: "more" in file.current.components)


async def test_what_only_looks_different_is_told_to_nobody(running: RunningHub, path: Path) -> None:
    file = running.service.infrastructure
    heard: list[Infrastructure] = []
    file.listen(heard.append)
    write(path, f"# A comment.\n{TEXT}")
    read = file.current
    await until(lambda: file.current is not read)
    assert heard == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "the file cannot be read: No such file or directory"),
        ("", "line 1, column 1: the key `version` is missing"),
        (TEXT.replace("5432", "x"), "line 7, column 11: must be a whole number"),
        (TEXT.replace("ORDERS_PASSWORD", "NOT_SET"), "line 10, column 15: the environment variable NOT_SET is not set"),
    ],
)
async def test_a_hub_does_not_start_on_a_file_that_is_not_right(
    path: Path, start_hub: StartHub, text: str | None, said: str
) -> None:
    write(path, text)
    with pytest.raises(StartupRefused) as caught:
        await start_hub(infrastructure_file=path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


async def test_no_answer_and_no_log_line_has_a_credential_in_it(
    running: RunningHub, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = (await running.http.get("/openapi.json")).json()
    said = [str(document)]
    names = dict.fromkeys(("service", "instance_id", "token_id", "alert_id"), "one") | {"name": "orders"}
    for text in (TEXT, TEXT + f"  x: {{type: nats, password: {SECRET}, host: '${{ORDERS_PASSWORD}} x'}}\n"):
        write(path, text)
        await until(lambda text=text: (running.service.infrastructure.error is None) == (text == TEXT))
        for route, operations in document["paths"].items():
            if "get" in operations and not route.endswith("/watch"):
                said.append((await running.http.get(route.format(**names))).text)
    said += [running.service.infrastructure.error or "", *capsys.readouterr()]
    assert "infrastructure_refused" in said[-2] + said[-1]
    assert [text for text in said if SECRET in text] == []
