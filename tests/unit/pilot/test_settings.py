import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from importlib.resources import files
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from central_hub_client import layers
from examples.polygon_historical_downloader.dates import resolve
from examples.polygon_historical_downloader.series import Series, wanted_period, wanted_series
from examples.polygon_historical_downloader.settings import Settings
from examples.polygon_historical_downloader.timeframes import Timeframe

MONDAY = datetime(2026, 11, 23, 13, 37, 42, tzinfo=UTC)


def sample(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((files("central_hub") / "sample" / f"{name}.json").read_bytes())
    return document


EFFECTIVE = layers.merge([sample("_global"), sample("polygon-historical-downloader")])


def leaves(document: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def changed(path: str, value: Any) -> Settings:
    patch: Any = value
    for key in reversed(path.split(".")):
        patch = {key: patch}
    return Settings.model_validate(layers.merge([EFFECTIVE, patch]))


def test_every_key_of_the_document_is_declared_but_the_gateways_rate_limits() -> None:
    declared = set(leaves(Settings().model_dump(mode="json")))
    assert {leaf for leaf in leaves(EFFECTIVE) if not leaf.startswith("rate_limits.")} == declared


def test_the_safe_defaults_are_the_sample_document() -> None:
    assert Settings.model_validate(EFFECTIVE) == Settings()


def test_a_key_that_this_build_does_not_know_stops_nothing() -> None:
    assert changed("operational.invented_later", 1) == Settings()


def test_what_is_missing_takes_its_safe_default() -> None:
    assert (
        Settings.model_validate({"operational": {"batch_size": 7}}).operational.symbols
        == Settings().operational.symbols
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("operational.batch_size", 0),
        ("operational.batch_size", 50_001),
        ("operational.batch_size", "many"),
        ("operational.max_parallel", 0),
        ("operational.max_retries", -1),
        ("operational.retry_delay_seconds", -1),
        ("operational.gap_check_interval_hours", 0),
        ("operational.symbols", ["eurusd"]),
        ("operational.symbols", ["../v1"]),
        ("operational.timeframes", ["7m"]),
        ("download.start_date", "yesterday"),
        ("download.end_date", "2026-13-01"),
        ("download.rate_limit_per_sec", 0),
        ("download.granularity.trading_pairs.timeframe", "fortnight"),
        ("download.granularity.trading_pairs.multiplier", 7),
        ("gap_detection.schedule", "at night"),
        ("gap_detection.schedule", "0 0 31 2 *"),
        ("gap_detection.max_gap_days", 0),
        ("gap_detection.completeness_threshold_intraday", 1.1),
        ("circuit_breaker.failure_threshold", 0),
        ("health_check.interval_seconds", 0),
        ("logging.level", "LOUD"),
        ("logging.format", "xml"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(path: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        changed(path, value)


def test_settings_cannot_be_altered() -> None:
    def sections(model: BaseModel) -> Iterator[BaseModel]:
        yield model
        for name in type(model).model_fields:
            if isinstance(value := getattr(model, name), BaseModel):
                yield from sections(value)

    assert all(section.model_config["frozen"] for section in sections(Settings()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", date(2026, 11, 23)),
        ("today-7days", date(2026, 11, 16)),
        ("today-1day", date(2026, 11, 22)),
        ("2026-02-28", date(2026, 2, 28)),
    ],
)
def test_a_date_is_absolute_or_counted_back_from_today(text: str, expected: date) -> None:
    assert resolve(text, MONDAY.date()) == expected


@pytest.mark.parametrize("text", ["", "today+1day", "today-days", "tomorrow", "2026-02-30", "today-7days\n"])
def test_what_is_not_a_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|day"):
        resolve(text, MONDAY.date())


def test_every_symbol_is_wanted_in_every_timeframe() -> None:
    assert len(wanted_series(Settings())) == 4 * 7


def test_a_class_gets_no_bars_finer_than_its_granularity_and_always_the_granularity_itself() -> None:
    settings = changed("download.granularity.trading_pairs", {"timeframe": "hour", "multiplier": 2})
    settings = Settings.model_validate(
        layers.merge([settings.model_dump(mode="json"), {"operational": {"symbols": ["EURUSD", "EURGBP"]}}])
    )
    by_symbol: dict[str, list[Timeframe]] = {}
    for series in wanted_series(settings):
        by_symbol.setdefault(series.symbol, []).append(series.timeframe)
    assert by_symbol["EURUSD"] == [Timeframe.H2, Timeframe.H4, Timeframe.D1, Timeframe.W1]
    assert by_symbol["EURGBP"][0] is Timeframe.M5


def test_a_symbol_named_twice_is_wanted_once() -> None:
    settings = changed("operational.symbols", ["EURUSD", "EURUSD"])
    assert wanted_series(settings).count(Series("EURUSD", Timeframe.M5)) == 1


def test_only_complete_bars_are_wanted() -> None:
    def end(timeframe: Timeframe) -> datetime:
        return datetime.fromtimestamp(wanted_period(timeframe, Settings(), MONDAY).end / 1000, UTC)

    assert end(Timeframe.M5) == datetime(2026, 11, 23, 13, 35, tzinfo=UTC)
    assert end(Timeframe.H4) == datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert end(Timeframe.D1) == datetime(2026, 11, 23, tzinfo=UTC)
    assert end(Timeframe.W1) == datetime(2026, 11, 22, tzinfo=UTC)


def test_the_period_begins_with_the_bar_that_holds_the_start_date_and_ends_with_the_end_date() -> None:
    settings = changed("download", {"start_date": "2026-10-01", "end_date": "2026-10-02"})
    period = wanted_period(Timeframe.W1, settings, MONDAY)
    assert datetime.fromtimestamp(period.start / 1000, UTC) == datetime(2026, 9, 27, tzinfo=UTC)
    period = wanted_period(Timeframe.H1, settings, MONDAY)
    assert datetime.fromtimestamp(period.end / 1000, UTC) == datetime(2026, 10, 3, tzinfo=UTC)


def test_a_period_that_has_not_come_yet_is_empty() -> None:
    period = wanted_period(Timeframe.D1, changed("download.start_date", "2027-01-01"), MONDAY)
    assert period.start == period.end
