"""The interface is what its OpenAPI document says: thousands of generated requests find no difference."""

import asyncio
import random
import sys
from pathlib import Path

import pytest

from tests.conftest import RunningHub

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.timeout(600)
async def test_generated_requests_find_nothing_that_the_document_does_not_say(hub: RunningHub, tmp_path: Path) -> None:
    # Always the same requests: a rare find must not fail whoever comes by. New ones are for the long run.
    await generate_requests(hub, tmp_path, examples=8, seed=1)


@pytest.mark.soak
async def test_ever_new_requests_find_nothing_either(hub: RunningHub, tmp_path: Path) -> None:
    await generate_requests(hub, tmp_path, examples=200, seed=random.randrange(2**32))


async def generate_requests(hub: RunningHub, directory: Path, *, examples: int, seed: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIGURATION)),
        *("run", f"{hub.url}/openapi.json", "--header", f"Authorization: Bearer {hub.token}"),
        *("--seed", str(seed), "--max-examples", str(examples), "--request-timeout", "10", "--no-color"),
        # A watch never ends by itself; both have tests of their own.
        *("--exclude-path", "/api/v1/config/watch", "--exclude-path", "/api/v1/discovery/watch"),
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    report = output.decode()
    assert process.returncode == 0, report[:20_000]
    assert "Test cases:" in report
