"""The processes that answer for consumers, and what is remembered of their answers."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from central_hub.validation import consumer_checker
from central_hub.validation.consumer_checker import Consumer, ConsumerChecker


@pytest.fixture
async def checker() -> AsyncIterator[ConsumerChecker]:
    checker = ConsumerChecker()
    yield checker
    await checker.stop()


@pytest.mark.parametrize("names", [5, {"batch": 7}, {"batch": ["b"]}])
async def test_a_schema_whose_other_names_are_none_is_unusable_and_ends_no_process(
    checker: ConsumerChecker, names: Any
) -> None:
    odd = Consumer("odd", json.dumps({"x-other-names": names}))
    await checker.judge([odd], {"batch": {"size": 1}}, "document")
    told = checker.known(odd, "document")
    assert told is not None
    assert told.unusable == "cannot be used: it does not describe a settings model"


async def test_answers_that_name_many_keys_are_forgotten_sooner(
    checker: ConsumerChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_checker, "_KEPT_VERDICTS", 100)
    narrow = Consumer("narrow", json.dumps({"properties": {"known": {}}}))
    few, many = {"a": 1}, {f"key_{number}": 1 for number in range(60)}
    for number in range(5):
        await checker.judge([narrow], few, f"few {number}")
    await checker.judge([narrow], many, "many")
    assert checker.known(narrow, "few 0") is not None
    await checker.judge([narrow], many, "many more")
    assert checker.known(narrow, "many") is None
    told = checker.known(narrow, "many more")
    assert told is not None
    assert len(told.unknown) == 60
