"""Fixtures for the tests of a service: `fake_hub`, `override`, `network_refused`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from central_hub_client.config_manager import ConfigManager
from central_hub_client.sources import environment
from central_hub_client.testing import FakeHub, refuse_network

Override = Callable[[ConfigManager[Any], Mapping[str, Any]], None]


@pytest.fixture
def network_refused() -> Iterator[None]:
    """Python's sockets reach this machine and no other."""
    with refuse_network():
        yield


@pytest.fixture
def fake_hub(network_refused: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A running hub of this test's own, named by `CENTRAL_HUB_URL`; nothing else of the environment counts, nothing is
    remembered from test to test, and the network is refused."""
    for name in [name for name in environment.variables() if name.startswith("CENTRAL_HUB_")]:
        monkeypatch.delenv(name)
    with FakeHub() as hub:
        monkeypatch.setenv("CENTRAL_HUB_URL", hub.url)
        monkeypatch.setenv("CENTRAL_HUB_CACHE_DIR", str(tmp_path / "central-hub-cache"))
        yield hub


@pytest.fixture
def override() -> Iterator[Override]:
    """`override(manager, {"operational.batch_size": 1})`: above everything else, to the end of the test."""
    with ExitStack() as stack:

        def override(manager: ConfigManager[Any], values: Mapping[str, Any]) -> None:
            stack.enter_context(manager.override(values))

        yield override
