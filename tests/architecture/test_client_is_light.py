"""What a service pays for when it imports the client."""

import subprocess
import sys

HEAVY = (
    "fastapi starlette uvicorn sqlalchemy asyncpg nats central_hub prometheus_client opentelemetry pydantic_settings"
    " pytest"
).split()

_REPORT = f"""
import sys
import central_hub_client
print(*sorted(set(sys.modules) & {set(HEAVY)!r}))
"""


def test_importing_the_client_loads_no_server_no_database_and_no_bus() -> None:
    result = subprocess.run([sys.executable, "-c", _REPORT], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.split() == []


def test_the_heavy_modules_are_there_to_be_loaded() -> None:
    # Where they were not installed, the test above would pass whatever the client does.
    everything = (
        "import central_hub.service, central_hub.api.app, asyncpg, nats, uvicorn, opentelemetry.metrics, pytest"
    )
    report = _REPORT.replace("import central_hub_client", everything)
    result = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, timeout=60, check=True)
    assert sorted(result.stdout.split()) == sorted(HEAVY)
