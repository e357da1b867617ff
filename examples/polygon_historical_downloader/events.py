"""Progress lines on standard output: an event with values, as a JSON line or as text."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

from .settings import LogFormat, Logging

_LOGGER: Final = logging.getLogger("polygon_historical_downloader")
HANDLER: Final = logging.StreamHandler(sys.stdout)


def info(event: str, **values: Any) -> None:
    """What happened, with its values; never the API key."""
    _LOGGER.info(event, extra={"values": values})


def warning(event: str, **values: Any) -> None:
    """The same, for what a person should know about."""
    _LOGGER.warning(event, extra={"values": values})


def configure(logging_settings: Logging) -> None:
    """Write the log as `logging_settings` say; may be called again whenever they change."""
    HANDLER.setFormatter(_JsonFormatter() if logging_settings.format is LogFormat.JSON else _TextFormatter())
    root = logging.getLogger()
    root.addHandler(HANDLER)  # does nothing the second time
    root.setLevel(logging_settings.level.value)
    # These write a line per request, which the events say better.
    for library in ("httpx2", "httpcore2"):
        logging.getLogger(library).setLevel(logging.WARNING)


def _values(record: logging.LogRecord) -> dict[str, Any]:
    values: dict[str, Any] = dict(getattr(record, "values", {}))
    if record.exc_info is not None and record.exc_info[0] is not None:
        values["error"] = logging.Formatter().formatException(record.exc_info)
    return values


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        return json.dumps(line | _values(record), default=str)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        values = " ".join(f"{name}={value}" for name, value in _values(record).items())
        return f"{time} {record.levelname.lower():7} {record.getMessage()} {values}".rstrip()
