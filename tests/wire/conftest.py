"""Clients for the tests of what passes between them and a hub."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from central_hub_client import ConfigClient
from tests.unit.client.objects import SERVICE


@pytest.fixture
async def client_of(tmp_path: Path) -> AsyncIterator[Callable[..., ConfigClient]]:
    """Build clients of the hub at a URL, with a cache of this test's own; they are shut down at the end."""
    clients: list[ConfigClient] = []

    def build(url: str | None, service: str = SERVICE, **arguments: Any) -> ConfigClient:
        defaults: dict[str, Any] = {"safe_defaults": {"batch_size": 10}, "token": "hunter2", "cache_dir": tmp_path}
        clients.append(ConfigClient(service, url, **(defaults | arguments)))
        return clients[-1]

    yield build
    for client in clients:
        await client.shutdown()
