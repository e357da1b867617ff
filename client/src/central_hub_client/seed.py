"""A seed: an export baked into an image, for the very first start with nobody there. The last resort of all sources."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from central_hub_client import strict_json
from central_hub_client.wire import ConfigObject

MAX_SEED_NODES: Final = 1_000_000


def read(path: Path, service: str, environment: str) -> ConfigObject | None:
    """The configuration of (service, environment) in the file. Raises OSError and ValueError."""
    return find(strict_json.parse(path.read_bytes(), max_nodes=MAX_SEED_NODES), service, environment)


def find(content: Any, service: str, environment: str) -> ConfigObject | None:
    """The configuration of (service, environment) in a seed: one config object, or a list of them.

    Raises ValueError where the content is not that, or the entry's hash is not that of its content.
    """
    entries: Iterable[Any] = content if isinstance(content, list) else [content]
    for entry in entries:
        candidate = ConfigObject.from_json(entry)
        if (candidate.service, candidate.environment) == (service, environment) and candidate.config is not None:
            if not candidate.hash_is_right():
                raise ValueError("its hash is not that of its content")
            return candidate
    return None
