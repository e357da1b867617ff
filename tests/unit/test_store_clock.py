"""The hub's own clock may be wrong, or set: leases run by the store's."""

from datetime import UTC, datetime, timedelta

import pytest

from central_hub import store_clock
from central_hub.store_clock import TOLERANCE, StoreClock

MINUTE = timedelta(minutes=1)


class _WrongHost(datetime):
    """A host whose clock is an hour late, and may be set."""

    wrong_by = timedelta(hours=-1)

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.now(UTC) + cls.wrong_by


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> type[_WrongHost]:
    monkeypatch.setattr(store_clock, "datetime", _WrongHost)
    monkeypatch.setattr(_WrongHost, "wrong_by", timedelta(hours=-1))
    return _WrongHost


def test_a_host_whose_clock_is_wrong_goes_by_the_stores(host: type[_WrongHost]) -> None:
    told = StoreClock()
    assert abs(datetime.now(UTC) - told()) > MINUTE
    told.follow(datetime.now(UTC))
    assert abs(datetime.now(UTC) - told()) < MINUTE


@pytest.mark.parametrize("hours", [-5, 5])
def test_setting_the_clock_of_the_host_moves_nothing(
    host: type[_WrongHost], hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = StoreClock()
    told.follow(datetime.now(UTC))
    before = told()
    monkeypatch.setattr(_WrongHost, "wrong_by", timedelta(hours=hours))
    assert timedelta(0) <= told() - before < MINUTE


def test_what_an_answer_takes_on_its_way_does_not_make_time_jump_back_and_forth() -> None:
    told = StoreClock()
    store = told() + 10 * MINUTE
    told.follow(store)
    before = told()
    told.follow(before - TOLERANCE / 2)
    assert told() >= before
    told.follow(before + 2 * TOLERANCE)
    assert told() >= before + 2 * TOLERANCE
