"""What only some need is loaded when it is needed, and where it is missing the hub says what to install."""

import subprocess
import sys

import pytest

from central_hub.connections.health_probe import Probed
from central_hub.monitoring.infrastructure import Component, ProbeSettings, Section
from central_hub.monitoring.probes.asking import Probes

_REPORT = """
import sys
import central_hub.service, central_hub.api.app, central_hub.monitoring.probes.asking
print("aiokafka" in sys.modules)
"""


def test_importing_the_hub_loads_no_kafka() -> None:
    result = subprocess.run([sys.executable, "-c", _REPORT], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.split() == ["False"]


async def test_a_library_that_is_missing_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("aiokafka", "aiokafka.conn"):
        monkeypatch.setitem(sys.modules, name, None)
    kafka = Component("kafka", Section.MESSAGING, "kafka", {"brokers": ["127.0.0.1:1"]}, ProbeSettings("kafka"))
    found = await Probes(dict).ask(kafka)
    assert found == Probed(None, "Kafka is not spoken here: install central-hub[monitoring]")
