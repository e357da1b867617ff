"""The interface is what its OpenAPI document says: thousands of generated requests find no difference."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.conftest import RunningHub

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.timeout(600)
async def test_generated_requests_find_nothing_that_the_document_does_not_say(hub: RunningHub, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIGURATION), "run"),
        *(f"{hub.url}/openapi.json", "--header", f"Authorization: Bearer {hub.token}", "--max-examples", "8"),
        # A watch never ends by itself; it has tests of its own.
        *("--exclude-path", "/api/v1/config/watch", "--request-timeout", "10", "--no-color"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    report = output.decode()
    assert process.returncode == 0, report
    assert "Test cases:" in report
