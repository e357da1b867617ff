"""A manager with whatever answers in the hub's place: it starts in time, keeps what is good, and says the rest."""

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from central_hub_client import ConfigClient, ConfigManager, SettingsChange, Source, keeper
from central_hub_client.last_known_good import LastKnownGood, Remembered
from central_hub_client.wire import Position
from tests.unit.client.objects import SERVICE, config_object
from tests.wire.bad_hubs import Handler, answering, cut_off, flood, hang, html, not_http, redirect
from tests.wire.one_config import OneConfig
from tests.wire.scripted_server import Exchange, scripted_server
from tests.wire.waiting import until

NOBODY = "http://127.0.0.1:1"


class Operational(BaseModel):
    model_config = ConfigDict(frozen=True)
    batch_size: int = Field(100, ge=1)
    label: str = "none"
    password: SecretStr = SecretStr("")


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)
    operational: Operational = Operational()


def document(batch_size: Any, **more: Any) -> dict[str, Any]:
    return {"operational": {"batch_size": batch_size} | more}


@pytest.fixture
async def manager_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Any]]:
    """Build managers of the hub at a URL, with files and a cache of this test's own; they are stopped at the end."""
    monkeypatch.setattr(keeper, "CHECK_SECONDS", 0.1)
    monkeypatch.delenv("CENTRAL_HUB_URL", raising=False)
    managers: list[ConfigManager[Any]] = []

    def build(url: str, schema: type[Any] | None = Settings, **arguments: Any) -> ConfigManager[Any]:
        cache = {"central_hub_url": url, "token": "hunter2", "cache_dir": tmp_path / "cache"}
        managers.append(ConfigManager(SERVICE, schema, **({"config_dir": tmp_path} | cache | arguments)))  # type: ignore[arg-type]
        return managers[-1]

    yield build
    for manager in managers:
        await manager.stop_async()


async def test_a_service_takes_what_the_hub_has_and_follows_it(manager_of: Callable[..., Any]) -> None:
    hub = OneConfig(config_object(1, document(150)))
    async with scripted_server(hub) as server, manager_of(server.url) as manager:
        assert manager.current == Settings(operational=Operational(batch_size=150))
        assert (manager.status.source, manager.status.revision, manager.status.stale) == (Source.HUB, 1, False)
        hub.current = config_object(2, document(200))
        await until(lambda: manager.current.operational.batch_size == 200)
        assert manager.get("operational.batch_size") == 200
        assert manager.report().applied == Position(1, 2)
        assert manager.explain("operational.batch_size").place == "revision 1.2 by alice"


async def test_a_client_of_ones_own_is_run_in_the_background(manager_of: Callable[..., Any], tmp_path: Path) -> None:
    hub = OneConfig(config_object(1, document(150)))
    async with scripted_server(hub) as server:
        client = ConfigClient(SERVICE, server.url, safe_defaults={"operational": {"label": "safe"}}, cache_dir=tmp_path)
        async with ConfigManager(SERVICE, Settings, hub=client) as manager:
            assert manager.current.operational.model_dump(include={"batch_size", "label"}) == {
                "batch_size": 150,
                "label": "safe",
            }
            assert manager.explain("operational.label").layer == "safe defaults"


WRONG_HASH = json.dumps(config_object(9, document(1), hash="sha256:00").to_json()).encode()

BAD_HUBS = {
    "server error": (answering("500 Internal Server Error"), "unavailable"),
    "not found": (answering("404 Not Found"), "not_found"),
    "forbidden": (answering("403 Forbidden"), "forbidden"),
    "unauthenticated": (answering("401 Unauthorized"), "unauthenticated"),
    "no json": (answering("200 OK", b"{", Content_Type="application/json"), "invalid_answer"),
    "wrong hash": (answering("200 OK", WRONG_HASH, Content_Type="application/json"), "invalid_answer"),
    "html": (html, "invalid_answer"),
    "redirect": (redirect, "invalid_answer"),
    "cut off": (cut_off, "unreachable"),
    "60 MB": (flood, "invalid_answer"),
    "not http": (not_http, "unreachable"),
}


@pytest.mark.parametrize(("handler", "code"), BAD_HUBS.values(), ids=BAD_HUBS)
async def test_a_bad_hub_keeps_no_service_from_starting(
    manager_of: Callable[..., Any], tmp_path: Path, handler: Handler, code: str
) -> None:
    (tmp_path / "default.json").write_text('{"operational": {"label": "local"}}')
    async with scripted_server(handler) as server:
        manager = manager_of(server.url)
        started = time.monotonic()
        await manager.start_async(deadline=30)
        assert time.monotonic() - started < 15  # the error ended the wait
        assert manager.current.operational == Operational(label="local")
        assert (manager.status.source, manager.status.error_code) == (Source.FILES, code)
        assert manager.status.stale
        server.handler = OneConfig(config_object(1, document(7)))
        await until(lambda: manager.current.operational.batch_size == 7, within=40)
        server.handler = handler
        for _ in range(3):
            await asyncio.sleep(0.1)
            assert manager.current.operational.batch_size == 7


async def test_a_hub_that_does_not_answer_costs_the_deadline_and_no_more(
    manager_of: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "default.json").write_text('{"operational": {"label": "local"}}')
    async with scripted_server(hang) as server:
        manager = manager_of(server.url)
        started = time.monotonic()
        await manager.start_async(deadline=0.5)
        assert 0.4 < time.monotonic() - started < 5
        assert manager.current.operational.label == "local"
        assert manager.status.stale


async def test_starting_without_a_hub_is_quick_and_blocks_no_event_loop(manager_of: Callable[..., Any]) -> None:
    lags = []
    stop = asyncio.Event()

    async def tick() -> None:
        while not stop.is_set():
            before = time.monotonic()
            await asyncio.sleep(0.001)
            lags.append(time.monotonic() - before)

    async with scripted_server(hang) as server:
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0.01)
        manager = manager_of(server.url)
        await manager.start_async(deadline=1.0)
        await manager.stop_async()
        stop.set()
        await ticking
    # A start that blocked would hold the loop for the whole second; the 10 ms promised need room on a busy machine.
    assert max(lags) < 0.3
    assert sorted(lags)[len(lags) // 2] < 0.02


async def test_a_service_starts_from_what_was_last_good_with_the_hub_dead(manager_of: Callable[..., Any]) -> None:
    hub = OneConfig(config_object(1, document(150)))
    async with scripted_server(hub) as server, manager_of(server.url) as manager:
        assert manager.current.operational.batch_size == 150
    async with manager_of(NOBODY) as manager:
        assert manager.current.operational.batch_size == 150
        assert (manager.status.source, manager.status.revision) == (Source.LAST_KNOWN_GOOD, 1)
        assert manager.status.stale
        assert manager.status.error_code == "unreachable"


async def test_a_build_starts_from_the_newest_that_its_own_model_takes(
    manager_of: Callable[..., Any], tmp_path: Path
) -> None:
    files = LastKnownGood(tmp_path / "cache", SERVICE, "default", None)
    files.open()
    for revision, batch_size in ((1, 10), (2, 20), (3, "of the next build")):
        files.save(Remembered(config_object(revision, document(batch_size)), confirmed_at=time.time()))
    files.close()
    async with manager_of(NOBODY) as manager:
        assert (manager.current.operational.batch_size, manager.status.revision) == (20, 2)
        assert manager.status.source is Source.LAST_KNOWN_GOOD


async def test_what_the_model_refuses_is_not_used_not_kept_and_told(
    manager_of: Callable[..., Any], tmp_path: Path
) -> None:
    hub = OneConfig(config_object(1, document(150)))
    async with scripted_server(hub) as server:
        async with manager_of(server.url) as manager:
            hub.current = config_object(2, document("many"))
            await until(lambda: manager.status.rejected is not None)
            assert manager.current.operational.batch_size == 150
            assert (manager.status.revision, manager.status.rejected.revision) == (1, 2)
            assert manager.status.rejected.reason.startswith("operational.batch_size: ")
            assert manager.status.stale
            report = manager.report()
            assert (report.applied, report.rejected) == (Position(1, 1), Position(1, 2))
            assert report.reason == manager.status.rejected.reason
            (tmp_path / "default.json").write_text('{"operational": {"label": "a file still counts"}}')
            await until(lambda: manager.current.operational.label == "a file still counts")
            assert manager.current.operational.batch_size == 150
        hub.current = config_object(3, document(300))
        async with manager_of(NOBODY) as manager:
            assert (manager.current.operational.batch_size, manager.status.revision) == (150, 1)
        async with manager_of(server.url) as manager:
            assert manager.current.operational.batch_size == 300
            assert manager.status.rejected is None
            assert not manager.status.stale


async def test_an_invalid_configuration_at_the_first_start_leaves_the_rest(
    manager_of: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "default.json").write_text('{"operational": {"label": "local"}}')
    hub = OneConfig(config_object(1, document(0)))
    async with scripted_server(hub) as server, manager_of(server.url) as manager:
        assert manager.current.operational == Operational(label="local")
        assert manager.status.rejected.revision == 1
        hub.current = config_object(2, document(5))
        await until(lambda: manager.current.operational.batch_size == 5)
        assert manager.status.rejected is None


async def test_a_deletion_told_by_the_hub_takes_its_layer_away(manager_of: Callable[..., Any]) -> None:
    hub = OneConfig(config_object(1, document(150)))
    async with scripted_server(hub) as server, manager_of(server.url) as manager:
        hub.current = config_object(2, deleted=True)
        await until(lambda: manager.current.operational.batch_size == 100)
        assert manager.status.revision == 2


async def test_in_a_storm_of_updates_the_last_counts_and_nobody_sees_time_run_backwards(
    manager_of: Callable[..., Any],
) -> None:
    hub = OneConfig(config_object(1, document(1)))
    async with scripted_server(hub) as server, manager_of(server.url) as manager:
        heard: list[tuple[int, int]] = []
        manager.on_config_update(
            lambda change: heard.append((change.old.operational.batch_size, change.new.operational.batch_size))
        )
        for n in range(2, 302):
            hub.current = config_object(n, document(n))
            await asyncio.sleep(0.002)
        await until(lambda: heard[-1:] and heard[-1][1] == 301)
        assert manager.current.operational.batch_size == 301
        news = [new for _, new in heard]
        assert news == sorted(set(news))
        assert [old for old, _ in heard[1:]] == news[:-1]


async def test_a_change_is_told_with_the_revision_that_brought_it(manager_of: Callable[..., Any]) -> None:
    hub = OneConfig(config_object(1, document(150)))
    async with scripted_server(hub) as server, manager_of(server.url) as manager:
        told: list[SettingsChange[Settings]] = []

        @manager.on_change("operational.batch_size")  # type: ignore[untyped-decorator]
        def note(change: SettingsChange[Settings]) -> None:
            told.append(change)

        hub.current = config_object(2, document(150, label="new"))
        hub.current = config_object(3, document(200, label="new"))
        await until(lambda: bool(told))
        [change] = told
        assert (change.changed, change.revision, change.epoch) == (("operational.batch_size",), 3, 1)
        with manager.override({"operational.batch_size": 1}):
            await until(lambda: len(told) == 2)
        assert (told[1].new.operational.batch_size, told[1].revision) == (1, 3)


async def test_callbacks_that_raise_hang_or_call_back_hold_up_nobody(
    manager_of: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    hub = OneConfig(config_object(1, document(1)))
    async with scripted_server(hub) as server, manager_of(server.url) as manager:
        seen: dict[str, list[int]] = {"plain": [], "async": [], "iterator": [], "back": []}

        def size(change: SettingsChange[Settings]) -> int:
            return change.new.operational.batch_size

        def back(change: SettingsChange[Settings]) -> None:
            with manager.override({"operational.label": "inside"}):
                stop = manager.on_config_update(print)
                seen["back"].append(manager.get("operational.batch_size"))
                stop()

        async def on_the_loop(change: SettingsChange[Settings]) -> None:
            asyncio.current_task()
            seen["async"].append(size(change))

        async def hang_async(change: SettingsChange[Settings]) -> None:
            await asyncio.sleep(3600)

        async def follow() -> None:
            async for change in manager.changes("operational.batch_size"):
                seen["iterator"].append(size(change))

        go_on = threading.Event()
        manager.on_config_update(lambda change: go_on.wait(60))
        manager.on_config_update(hang_async)
        manager.on_config_update(lambda change: 1 / 0)
        manager.on_config_update(back, "operational.batch_size")
        manager.on_config_update(on_the_loop, "*.batch_size")
        manager.on_config_update(lambda change: seen["plain"].append(size(change)), "operational.**")
        elsewhere: list[Any] = []
        manager.on_config_update(elsewhere.append, "features.**")
        following = asyncio.create_task(follow())
        await asyncio.sleep(0)
        for n in (2, 3, 4):
            hub.current = config_object(n, document(n))
            await until(lambda n=n: all(values[-1:] == [n] for values in seen.values()))  # type: ignore[misc]
        go_on.set()
        assert not elsewhere
        assert "ZeroDivisionError" in caplog.text
        await manager.stop_async()
        await asyncio.wait_for(following, 10)


async def test_a_callback_may_stop_the_manager_and_start_it_again(manager_of: Callable[..., Any]) -> None:
    hub = OneConfig(config_object(1, document(1)))
    async with scripted_server(hub) as server, manager_of(server.url) as manager:
        seen: list[str] = []

        def restart(change: SettingsChange[Settings]) -> None:
            manager.stop()
            manager.start()
            seen.append(f"restarted at {change.new.operational.batch_size}")

        async def stop(change: SettingsChange[Settings]) -> None:
            if change.new.operational.batch_size == 3:
                await manager.stop_async()
                seen.append("stopped")

        manager.on_config_update(restart)
        hub.current = config_object(2, document(2))
        await until(lambda: seen == ["restarted at 2"], within=20)
        manager.on_config_update(stop)
        hub.current = config_object(3, document(3))
        await until(lambda: {"restarted at 3", "stopped"} <= set(seen), within=20)
        assert manager.current.operational.batch_size == 3


async def test_a_hub_that_registers_nobody_now_is_asked_again_when_it_said(manager_of: Callable[..., Any]) -> None:
    class Busy(OneConfig):
        async def __call__(self, exchange: Exchange) -> None:
            if "/discovery/" in exchange.request.target:
                await exchange.respond("429 Too Many Requests", Retry_After="2")
            else:
                await super().__call__(exchange)

    async with scripted_server(Busy(config_object(1, document(150)))) as server, manager_of(server.url) as manager:
        await until(lambda: len(server.asked("discovery/register")) >= 3, within=20)
        asked = [request.at for request in server.asked("discovery/register")]
        # By itself it would come again after a second at most, and then after two.
        assert min(later - earlier for earlier, later in itertools.pairwise(asked)) > 1.95
        assert manager.current.operational.batch_size == 150


async def test_what_hides_the_hub_and_what_nobody_takes_is_reported(
    manager_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PILOT_OPERATIONAL__BATCH_SIZE", "9")
    (tmp_path / "default.json").write_text('{"operational": {"label": "local"}}')
    hub = OneConfig(config_object(1, document(150, label="hub", typo=1) | {"dead": {"a": 1}}))
    async with scripted_server(hub) as server:
        async with manager_of(server.url) as manager:
            report = manager.report()
            assert report.shadowed == ("operational.batch_size",)
            assert report.unknown == report.unread == ("dead.a", "operational.typo")
            assert report.local_keys == ("operational.batch_size", "operational.label")
            assert report.defaulted == ("operational.password",)
            found = manager.explain("operational.batch_size")
            assert [origin.value for origin in found.hidden] == [150]
            assert manager.explain("operational.label").layer == "hub"
        async with manager_of(server.url, None) as manager:
            manager.get("operational.batch_size")
            assert manager.report().unread == ("dead.a", "operational.label", "operational.typo")
            assert manager.report().unknown == ()


async def test_secrets_are_resolved_in_memory_and_shown_and_kept_nowhere(
    manager_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(10)
    monkeypatch.setenv("DATABASE_PASSWORD", "s3cret-env")
    (tmp_path / "mounted").write_text("s3cret-file\n")
    references = {
        "password": {"$secret": "env://DATABASE_PASSWORD"},
        "label": {"$secret": f"file://{tmp_path}/mounted"},
    }
    hub = OneConfig(config_object(1, document(1, **references)))
    async with scripted_server(hub) as server, manager_of(server.url) as manager:
        assert manager.current.operational.password.get_secret_value() == "s3cret-env"
        assert manager.current.operational.label == "s3cret-file"
        (tmp_path / "other").write_text("s3cret-new")
        (tmp_path / "other").rename(tmp_path / "mounted")
        await until(lambda: manager.current.operational.label == "s3cret-new")
        (tmp_path / "mounted").unlink()
        await until(lambda: "cannot be read again" in caplog.text)
        assert manager.current.operational.label == "s3cret-new"
        hub.current = config_object(2, document(2, password={"$secret": "env://NOBODY_SET_THIS"}))
        await until(lambda: manager.status.rejected is not None)
        assert "env://NOBODY_SET_THIS" in manager.status.rejected.reason
        assert manager.current.operational.batch_size == 1
        shown = map(repr, [manager, manager.explain(), manager.status, manager.report()])
        assert "s3cret" not in " ".join(shown) + caplog.text
        assert manager.explain("operational.password").layer == "hub"
    kept = b"".join(path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert b"$secret" in kept
    assert b"s3cret" not in kept


async def test_reads_are_never_torn_while_values_change(manager_of: Callable[..., Any]) -> None:
    hub = OneConfig(config_object(1, document(1, label="1")))
    async with scripted_server(hub) as server, manager_of(server.url) as manager:
        torn: list[Any] = []
        reads = itertools.count()
        stop = asyncio.Event()

        def read() -> None:
            while not stop.is_set():
                next(reads)
                operational = manager.current.operational
                if str(operational.batch_size) != operational.label:
                    torn.append(operational)

        readers = [asyncio.create_task(asyncio.to_thread(read)) for _ in range(2)]
        for n in range(2, 60):
            hub.current = config_object(n, document(n, label=str(n)))
            await asyncio.sleep(0.005)
        await until(lambda: manager.current.operational.batch_size == 59)
        stop.set()
        await asyncio.gather(*readers)
        assert not torn
        assert next(reads) > 1000


async def test_an_iterator_that_is_left_is_forgotten(manager_of: Callable[..., Any]) -> None:
    hub = OneConfig(config_object(1, document(1)))
    async with scripted_server(hub) as server, manager_of(server.url) as manager:

        async def first() -> int:
            async with contextlib.aclosing(manager.changes()) as changes:
                async for change in changes:
                    return int(change.new.operational.batch_size)
            return 0

        waiting = asyncio.create_task(first())
        await asyncio.sleep(0)
        hub.current = config_object(2, document(2))
        assert await asyncio.wait_for(waiting, 10) == 2
        assert not manager._subscribers


async def test_a_hub_that_keeps_no_list_of_instances_is_told_of_once_and_followed_all_the_same(
    manager_of: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Older(OneConfig):
        async def __call__(self, exchange: Exchange) -> None:
            if "/discovery/" in exchange.request.target:
                await exchange.respond("404 Not Found")
            else:
                await super().__call__(exchange)

    hub = Older(config_object(1, document(150)))
    async with scripted_server(hub) as server, manager_of(server.url) as manager:
        await until(lambda: len(server.asked("discovery/register")) >= 2)
        hub.current = config_object(2, document(200))
        await until(lambda: manager.current.operational.batch_size == 200)
    assert caplog.text.count("this hub keeps no list of instances") == 1
