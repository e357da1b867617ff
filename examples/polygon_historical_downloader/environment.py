"""Connection settings: where the API and the database file are, the key, and the own port. Never the hub's business."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

_LAST_PORT: Final = 65_535


class MissingEnvironment(Exception):
    """The service cannot start without an environment variable. The message says which."""


@dataclass(frozen=True)
class Connection:
    """Read once, at the start."""

    base_url: str
    database: Path
    api_key: str = field(repr=False)
    status_port: int | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """Raises MissingEnvironment."""
        api_key = os.environ.get("POLYGON_API_KEY", "")
        if not api_key:
            raise MissingEnvironment("POLYGON_API_KEY is not set; with the stand-in server any word will do")
        port = os.environ.get("POLYGON_STATUS_PORT", "")
        if port and not (port.isdecimal() and 1 <= int(port) <= _LAST_PORT):
            raise MissingEnvironment(f"POLYGON_STATUS_PORT is {port!r}, and no port")
        return cls(
            base_url=os.environ.get("POLYGON_BASE_URL", "https://api.polygon.io").rstrip("/"),
            database=Path(os.environ.get("POLYGON_DATABASE", "polygon-bars.sqlite")),
            api_key=api_key,
            status_port=int(port) if port else None,
        )
