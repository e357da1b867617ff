"""BaseService in one event loop: order, deadlines, failures, cancellation, health."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from pydantic import BaseModel

from central_hub_client import ConfigManager, IncompleteConfig
from central_hub_client.base_service import BaseService, PartFailed, Steps


class Recorder:
    """A part that writes down what happens to it, and does `on_start` and `on_stop` meanwhile."""

    def __init__(
        self,
        name: str,
        events: list[str],
        on_start: Callable[[], Awaitable[None]] | None = None,
        on_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self.dead: str | None = None
        self.unready: str | None = None
        self._events = events
        self._on_start = on_start
        self._on_stop = on_stop

    async def start(self) -> None:
        self._events.append(f"+{self.name}")
        if self._on_start is not None:
            await self._on_start()

    async def stop(self) -> None:
        self._events.append(f"-{self.name}")
        if self._on_stop is not None:
            await self._on_stop()

    def why_dead(self) -> str | None:
        return self.dead

    def why_unready(self) -> str | None:
        return self.unready


class Needy(BaseModel):
    url: str


@pytest.fixture(autouse=True)
async def _nothing_is_left_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for task in asyncio.all_tasks() - before - {asyncio.current_task()}:
        task.cancel()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CENTRAL_HUB_URL", "CENTRAL_HUB_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)


def make_service() -> BaseService[object]:
    return BaseService(ConfigManager("orders", config_dir=None), drain_seconds=0.05)


async def fail() -> None:
    raise OSError("no such host")


async def hang() -> None:
    await asyncio.Event().wait()


async def hang_for_good() -> None:
    """Ignores being cancelled once, as careless code does, and would go on for longer than any test waits."""
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        await asyncio.sleep(600)


async def test_parts_start_in_order_and_stop_in_reverse_with_the_configuration_around_them() -> None:
    service, events = make_service(), []
    is_running = []

    async def note() -> None:
        is_running.append(service.config._keeper.is_running)

    service.add(Recorder("a", events, note, note))
    service.add(Recorder("b", events))
    async with service:
        assert events == ["+a", "+b"]
    assert events == ["+a", "+b", "-b", "-a"]
    assert is_running == [True, True]
    assert not service.config._keeper.is_running


async def test_a_start_that_fails_half_way_stops_what_was_started_and_says_why() -> None:
    service, events = make_service(), []
    for part in (Recorder("a", events), Recorder("b", events, fail), Recorder("c", events)):
        service.add(part, name=part.name)
    with pytest.raises(PartFailed, match="b did not start: OSError") as caught:
        await service.start()
    assert isinstance(caught.value.__cause__, OSError)
    assert events == ["+a", "+b", "-a"]
    assert not service.config._keeper.is_running


async def test_a_start_that_is_cancelled_stops_what_was_started() -> None:
    service, events = make_service(), []
    began = asyncio.Event()

    async def begin_and_hang() -> None:
        began.set()
        await hang()

    service.add(Recorder("a", events))
    service.add(Recorder("b", events, begin_and_hang))
    starting = asyncio.create_task(service.start())
    await began.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert events == ["+a", "+b", "-a"]


async def test_a_start_that_ends_well_while_it_is_cancelled_is_undone() -> None:
    service, events = make_service(), []
    began = asyncio.Event()

    async def start_all_the_same() -> None:
        began.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return

    service.add(Recorder("a", events, start_all_the_same))
    starting = asyncio.create_task(service.start())
    await began.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert events == ["+a", "-a"]


async def test_a_part_that_does_not_start_in_time_fails_the_start() -> None:
    service, events = make_service(), []
    service.add(Recorder("a", events))
    service.add(Recorder("b", events, hang), name="b", start_seconds=0.05)
    with pytest.raises(PartFailed, match=r"b did not start within 0\.05 s"):
        await service.start()
    assert events == ["+a", "+b", "-a"]


@pytest.mark.parametrize("trouble", [fail, hang, hang_for_good])
async def test_a_part_that_does_not_stop_holds_up_nobody(trouble: Callable[[], Awaitable[None]]) -> None:
    service, events = make_service(), []
    service.add(Recorder("a", events))
    service.add(Recorder("b", events, on_stop=trouble), stop_seconds=0.05)
    async with service:
        pass
    assert events == ["+a", "+b", "-b", "-a"]


async def test_a_stop_that_is_cancelled_goes_on_to_its_end() -> None:
    service, events = make_service(), []
    began, may_end = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        began.set()
        await may_end.wait()

    service.add(Recorder("a", events))
    service.add(Recorder("b", events, on_stop=wait))
    await service.start()
    stopping = asyncio.create_task(service.stop())
    await began.wait()
    stopping.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert events == ["+a", "+b", "-b", "-a"]


async def test_what_the_work_raises_reaches_the_caller_after_everything_was_stopped() -> None:
    events: list[str] = []

    class Failing(BaseService[object]):
        async def work(self) -> None:
            raise LookupError("of the work")

    service = Failing(ConfigManager("orders", config_dir=None))
    service.add(Recorder("a", events))
    with pytest.raises(LookupError, match="of the work"):
        await service.run()
    assert events == ["+a", "-a"]


async def test_work_that_goes_on_while_draining_is_cancelled_after_the_deadline() -> None:
    ended: list[str] = []

    class Endless(BaseService[object]):
        async def work(self) -> None:
            self.drain()
            try:
                await hang()
            finally:
                ended.append("cancelled")

    await Endless(ConfigManager("orders", config_dir=None), drain_seconds=0.05).run()
    assert ended == ["cancelled"]


async def test_work_that_ignores_its_cancellation_holds_up_nobody() -> None:
    events: list[str] = []

    class Stubborn(BaseService[object]):
        async def work(self) -> None:
            self.drain()
            await hang_for_good()

    service = Stubborn(ConfigManager("orders", config_dir=None), drain_seconds=0.05)
    service.add(Recorder("a", events))
    await service.run()
    assert events == ["+a", "-a"]


async def test_draining_while_starting_gives_up_the_start() -> None:
    service, events = make_service(), []

    async def drain_and_hang() -> None:
        service.drain()
        await hang()

    service.add(Recorder("a", events))
    service.add(Recorder("b", events, drain_and_hang))
    await service.run()
    assert events == ["+a", "+b", "-a"]


async def test_health_tells_every_reason() -> None:
    service, events = make_service(), []
    database = service.add(Recorder("a", events), name="database")
    assert service.liveness.ok
    assert service.readiness.reasons == ("config: not started yet", "database: not started yet")
    async with service:
        assert service.readiness.ok
        assert service.readiness.reasons == ()
        database.unready = "no connection"
        assert service.readiness.reasons == ("database: no connection",)
        assert service.liveness.ok
        database.dead = "its thread ended"
        assert service.liveness.reasons == ("database: its thread ended",)
        assert service.readiness.reasons == ("database: its thread ended", "database: no connection")
        database.dead = database.unready = None
        service.drain()
        assert service.readiness.reasons == ("the service is draining",)
        assert service.liveness.ok


async def test_a_missing_configuration_makes_unready_and_says_which_value() -> None:
    async with BaseService(ConfigManager("orders", Needy, config_dir=None)) as service:
        assert not service.readiness.ok
        assert "config: " in service.readiness.reasons[0]
        assert "url" in service.readiness.reasons[0]
        assert service.liveness.ok
    strict = BaseService(ConfigManager("orders", Needy, config_dir=None, strict=True))
    with pytest.raises(PartFailed) as caught:
        await strict.start()
    assert isinstance(caught.value.__cause__, IncompleteConfig)


async def test_a_service_runs_once() -> None:
    service = make_service()
    async with service:
        pass
    with pytest.raises(RuntimeError, match="runs once"):
        await service.start()


async def test_a_part_may_start_and_stop_without_waiting() -> None:
    events: list[str] = []

    class Plain:
        def start(self) -> None:
            events.append("start")

        def stop(self) -> None:
            events.append("stop")

    service = make_service()
    service.add(Plain())
    async with service:
        assert events == ["start"]
    assert events == ["start", "stop"]


async def test_a_pause_ends_with_its_time_or_with_draining() -> None:
    service = make_service()
    async with asyncio.timeout(20), service:
        await service.pause(0.01)
        assert not service.draining.is_set()
        asyncio.get_running_loop().call_later(0.05, service.drain)
        await service.pause(600)
        assert service.draining.is_set()


async def test_functions_are_parts_and_a_service_may_do_without_a_configuration() -> None:
    said: list[str] = []

    async def close() -> None:
        said.append("close")

    service: BaseService[None] = BaseService(name="parts")
    service.add(Steps(start=lambda: said.append("open"), stop=close))
    service.add(Steps(stop=lambda: said.append("flush")))
    async with service:
        assert service.readiness.ok
        assert said == ["open"]
    assert said == ["open", "flush", "close"]
    with pytest.raises(RuntimeError, match="parts has no configuration"):
        _ = service.config
