"""Patterns, and who is told what in which thread."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from central_hub_client.change import changed_paths
from central_hub_client.notifications import Changes, SettingsChange, Subscriber, matcher
from central_hub_client.wire import Position
from tests.wire.waiting import until


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("**", ["a", "a.b.c"], []),
        ("a.**", ["a", "a.b", "a.b.c"], ["ab", "b.a"]),
        ("a.*", ["a.b"], ["a", "a.b.c"]),
        ("a.*.c", ["a.b.c"], ["a.c", "a.b.b.c"]),
        ("**.c", ["c", "a.c", "a.b.c"], ["c.a", "abc"]),
        ("a.b+c", ["a.b+c"], ["a.bbc"]),
    ],
)
def test_a_pattern_fits_paths_key_by_key(pattern: str, fits: list[str], fits_not: list[str]) -> None:
    assert all(map(matcher(pattern), fits))
    assert not any(map(matcher(pattern), fits_not))


Values = dict[str, int]


def subscriber(callback: Callable[[SettingsChange[Values]], None], pattern: str = "**") -> Subscriber[Values]:
    return Subscriber(callback, pattern, {"a": 0}, changed_paths)


async def test_what_comes_while_a_callback_is_busy_is_told_as_one() -> None:
    told: list[SettingsChange[Values]] = []
    go_on = threading.Event()

    def callback(change: SettingsChange[Values]) -> None:
        told.append(change)
        go_on.wait(20)

    one = subscriber(callback)
    for n in range(1, 6):
        one.tell({"a": n})
        await until(lambda: bool(told))
    go_on.set()
    await until(lambda: len(told) == 2)
    assert [(change.old["a"], change.new["a"]) for change in told] == [(0, 1), (1, 5)]


async def test_what_does_not_fit_or_has_not_changed_is_not_told() -> None:
    told: list[tuple[str, ...]] = []
    one = subscriber(lambda change: told.append(change.changed), "b.**")
    one.tell({"a": 1})
    one.tell({"a": 1})
    one.tell({"a": 2, "b": 1})
    await until(lambda: told == [("b",)])


async def test_after_the_end_nothing_is_told_and_no_thread_is_left() -> None:
    told: list[object] = []
    before = set(threading.enumerate())
    one = subscriber(told.append)
    one.tell({"a": 1})
    await until(lambda: len(told) == 1)
    one.stop()
    one.tell({"a": 2})
    await until(lambda: set(threading.enumerate()) <= before)
    assert len(told) == 1


async def test_an_async_callback_runs_on_the_loop_it_was_registered_from() -> None:
    where: list[threading.Thread] = []

    async def callback(change: SettingsChange[Values]) -> None:
        where.append(threading.current_thread())

    one: Subscriber[Values] = Subscriber(callback, "**", {"a": 0}, changed_paths)
    await asyncio.to_thread(one.tell, {"a": 1})
    await until(lambda: len(where) == 1)
    elsewhere: list[Subscriber[Values]] = []
    await asyncio.to_thread(lambda: elsewhere.append(Subscriber(callback, "**", {"a": 0}, changed_paths)))
    elsewhere[0].tell({"a": 1})
    await until(lambda: len(where) == 2)
    assert where[0] is threading.current_thread()
    assert where[1] is not threading.current_thread()


@pytest.mark.parametrize("error", [RuntimeError("bug"), asyncio.CancelledError(), SystemExit(1)])
async def test_a_plain_callback_that_fails_is_told_of_the_next_change_all_the_same(error: BaseException) -> None:
    told: list[int] = []

    def failing(change: SettingsChange[Values]) -> None:
        told.append(change.new["a"])
        raise error

    one = subscriber(failing)
    for n in (1, 2, 3):
        one.tell({"a": n})
        await until(lambda n=n: told[-1:] == [n])  # type: ignore[misc]


@pytest.mark.parametrize("error", [RuntimeError("bug"), asyncio.CancelledError()])
async def test_an_async_callback_that_fails_is_told_of_the_next_change_all_the_same(error: BaseException) -> None:
    told: list[int] = []

    async def failing(change: SettingsChange[Values]) -> None:
        told.append(change.new["a"])
        raise error

    for one in (
        Subscriber(failing, "**", {"a": 0}, changed_paths),
        await asyncio.to_thread(lambda: Subscriber(failing, "**", {"a": 0}, changed_paths)),
    ):
        for n in (1, 2, 3):
            one.tell({"a": n})
            await until(lambda n=n: told[-1:] == [n])  # type: ignore[misc]


def test_a_callback_whose_event_loop_is_gone_is_forgotten() -> None:
    async def callback(change: SettingsChange[Values]) -> None: ...

    async def register() -> tuple[Subscriber[Values], Changes[Values]]:
        return Subscriber(callback, "**", {"a": 0}, changed_paths), Changes("**", {"a": 0}, changed_paths)

    one, iterator = asyncio.run(register())
    for n in (1, 2):
        one.tell({"a": n})
        iterator.tell({"a": n})


def test_telling_never_waits() -> None:
    go_on = threading.Event()
    one = subscriber(lambda change: go_on.wait(30) and None)
    started = time.monotonic()
    for n in range(1000):
        one.tell({"a": n + 1})
    assert time.monotonic() - started < 15
    go_on.set()


def test_a_change_shows_no_values() -> None:
    assert "hunter2" not in repr(SettingsChange({"a": "hunter2"}, {"a": "hunter2 again"}, ("a",)))


async def test_a_change_carries_the_position_that_belongs_to_its_values() -> None:
    told: list[SettingsChange[Values]] = []
    one, iterator = subscriber(told.append), Changes("**", {"a": 0}, changed_paths)
    for n in (1, 2):
        for listener in (one, iterator):
            listener.tell({"a": n}, Position(3, n))
        await until(lambda n=n: len(told) == n)  # type: ignore[misc]
    one.tell({"a": 3})
    await until(lambda: len(told) == 3)
    assert [(change.new["a"], change.revision, change.epoch) for change in told] == [
        (1, 1, 3),
        (2, 2, 3),
        (3, None, None),
    ]
    change = await anext(aiter(iterator))
    assert (change.new, change.revision, change.epoch) == ({"a": 2}, 2, 3)
