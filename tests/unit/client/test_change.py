"""What a listener is told."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub_client.change import Callback, ConfigChange, Listener, changed_paths

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "ü"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c", "ab"]), children),
    max_leaves=8,
)
configs = st.dictionaries(st.sampled_from(["a", "b", "c", "ab"]), json_values, max_size=4)


def test_the_paths_of_added_removed_and_replaced_leaves_are_named() -> None:
    old = {"a": {"b": 1, "c": 2}, "d": [1, 2], "e": {"f": None}}
    new = {"a": {"b": 1, "c": 3}, "d": [1, 2, 3], "g": {}}
    assert changed_paths(old, new) == ("a.c", "d", "e.f", "g")


def test_an_object_that_becomes_a_leaf_changes_there_and_below() -> None:
    assert changed_paths({"a": 1}, {"a": {"b": 2}}) == ("a", "a.b")
    assert changed_paths({"a": {"b": 2}}, {"a": {}}) == ("a", "a.b")
    assert changed_paths({}, {"a": {"b": {}}}) == ("a.b",)


def test_values_that_are_equal_in_python_but_not_in_json_differ() -> None:
    assert changed_paths({"a": 1, "b": [0]}, {"a": True, "b": [False]}) == ("a", "b")
    assert changed_paths({"a": 1}, {"a": 1.0}) == ("a",)


def test_the_order_of_keys_is_no_change() -> None:
    assert changed_paths({"a": [{"x": 1, "y": 2}]}, {"a": [{"y": 2, "x": 1}]}) == ()


@given(configs)
def test_nothing_differs_from_itself(config: dict[str, Any]) -> None:
    assert changed_paths(config, config) == ()


@given(configs, configs)
def test_a_difference_has_the_same_paths_in_both_directions(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert changed_paths(old, new) == changed_paths(new, old)


async def told(callback: Callback, *configs: dict[str, Any], between: float = 0.0) -> None:
    """Let a listener that has seen {} hear of these, one after the other."""
    listener = Listener(callback, {})
    task = asyncio.create_task(listener.run())
    for config in configs:
        listener.tell(config)
        await asyncio.sleep(between)
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_plain_and_an_async_function_are_told() -> None:
    heard: list[ConfigChange] = []

    async def later(change: ConfigChange) -> None:
        await asyncio.sleep(0)
        heard.append(change)

    await told(heard.append, {"a": 1})
    await told(later, {"a": 1})
    assert heard == [ConfigChange({}, {"a": 1}, ("a",))] * 2


async def test_changes_that_come_while_a_listener_is_busy_reach_it_as_one() -> None:
    heard: list[ConfigChange] = []

    async def slow(change: ConfigChange) -> None:
        await asyncio.sleep(0.02)
        heard.append(change)

    await told(slow, {"a": 1}, {"a": 2}, {"a": 3}, between=0.001)
    assert [change.new["a"] for change in heard] == [1, 3]
    assert heard[1].old == {"a": 1}


async def test_a_configuration_that_is_the_same_is_not_told() -> None:
    heard: list[ConfigChange] = []
    await told(heard.append, {}, {})
    assert heard == []


@pytest.mark.parametrize("error", [RuntimeError("bug"), asyncio.CancelledError()])
async def test_a_listener_that_fails_is_told_of_the_next_change_all_the_same(error: BaseException) -> None:
    heard: list[int] = []

    def failing(change: ConfigChange) -> None:
        heard.append(change.new["a"])
        raise error

    await told(failing, {"a": 1}, {"a": 2}, between=0.005)
    assert heard == [1, 2]


async def test_a_listener_that_alters_what_it_is_given_alters_nothing_else() -> None:
    config = {"a": {"b": 1}}

    def vandal(change: ConfigChange) -> None:
        change.new["a"]["b"] = 2

    await told(vandal, config)
    assert config == {"a": {"b": 1}}
