"""The log of a hub: one event a line on stderr, for people or as JSON, whoever wrote it."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog
from rich.console import Console

from central_hub.cli.legible import visible

# Of these only what is wrong: they would tell of every connection, and SQLAlchemy of every statement.
_TALKATIVE = ("uvicorn", "nats", "sqlalchemy", "asyncio", "httpx2", "httpcore2")


def set_up_logging(level: str, form: Literal["console", "json"]) -> None:
    """Send everything that is logged, by structlog and by the standard library, to stderr in one form."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(form)],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _rendering(form: Literal["console", "json"]) -> list[structlog.typing.Processor]:
    # Tracebacks without the values of variables: those may be secrets.
    if form == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    terminal = Console(stderr=True)
    return [
        _make_legible,
        structlog.dev.ConsoleRenderer(
            colors=terminal.is_terminal and not terminal.no_color,
            exception_formatter=structlog.dev.plain_traceback,
            pad_event_to=24,
        ),
    ]


def _make_legible(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = visible(value)
    return event
