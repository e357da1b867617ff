import io
import json
import logging
from collections.abc import Iterator

import pytest

from examples.polygon_historical_downloader import events
from examples.polygon_historical_downloader.settings import LogFormat, Logging, LogLevel


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(events.HANDLER, "stream", stream)
    return stream


def test_json_lines_carry_the_event_and_its_values(output: io.StringIO) -> None:
    events.configure(Logging(level=LogLevel.INFO, format=LogFormat.JSON))
    events.info("page_stored", symbol="EURUSD", rows=3)
    line = json.loads(output.getvalue())
    assert (line["event"], line["level"], line["symbol"], line["rows"]) == ("page_stored", "info", "EURUSD", 3)


def test_format_and_level_follow_the_settings_at_once(output: io.StringIO) -> None:
    events.configure(Logging(level=LogLevel.WARNING, format=LogFormat.JSON))
    events.info("unheard")
    events.configure(Logging(level=LogLevel.INFO, format=LogFormat.CONSOLE))
    events.info("heard", rows=3)
    out = output.getvalue()
    assert "unheard" not in out
    assert out.rstrip().endswith("heard rows=3")


def test_the_lines_of_libraries_have_the_same_form(output: io.StringIO) -> None:
    events.configure(Logging(format=LogFormat.JSON))
    logging.getLogger("central_hub_client").warning("the hub does not answer: %s", "refused")
    assert json.loads(output.getvalue())["event"] == "the hub does not answer: refused"
