"""The processes that answer for consumers, and what is remembered of their answers."""

import json
from collections.abc import AsyncIterator

import pytest

from central_hub.validation import consumer_checker
from central_hub.validation.consumer_checker import Consumer, ConsumerChecker


@pytest.fixture
async def checker() -> AsyncIterator[ConsumerChecker]:
    checker = ConsumerChecker()
    yield checker
    await checker.stop()


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
