"""The Python in the documentation, run as it stands against a hub."""

import ast
import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from central_hub_client import ConfigClient, Source
from tests.conftest import RunningHub

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ["client/README.md", "docs/how-to/write-a-service.md"]
STORED = 250


@pytest.mark.parametrize("page", EXAMPLES)
async def test_an_example_takes_its_configuration_from_the_hub(
    page: str, hub: RunningHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    (source,) = [block for block in blocks if "ConfigClient" in block]
    answer = await hub.http.post(
        "/api/v1/config/update", json={"service": "my-service", "config": {"operational": {"batch_size": STORED}}}
    )
    assert answer.status_code == 200, answer.text
    monkeypatch.setenv("CENTRAL_HUB_URL", hub.url)
    monkeypatch.setenv("CENTRAL_HUB_TOKEN", await hub.new_token(services=["my-service"]))
    monkeypatch.setenv("CENTRAL_HUB_CACHE_DIR", str(tmp_path))
    names: dict[str, Any] = {"__name__": "example"}
    code = compile(source.replace("http://127.0.0.1:7000", hub.url), page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, names)  # noqa: S307 - our own documentation
    assert inspect.isawaitable(running)
    await running
    client = names["service"].client if "service" in names else names["client"]
    assert isinstance(client, ConfigClient)
    assert client.get_value("operational.batch_size") == STORED
    assert client.status.source is Source.HUB


async def test_the_example_of_layered_settings_takes_the_hubs_value(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "docs/how-to/layered-settings.md"
    (source,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    body = {"service": "my-service", "mode": "merge", "config": {"operational": {"batch_size": STORED}}}
    answer = await hub.http.post("/api/v1/config/update", json=body)
    assert answer.status_code == 200, answer.text
    monkeypatch.setenv("CENTRAL_HUB_URL", hub.url)
    monkeypatch.setenv("CENTRAL_HUB_TOKEN", await hub.new_token(services=["my-service"]))
    monkeypatch.setenv("CENTRAL_HUB_CACHE_DIR", str(tmp_path))
    names: dict[str, Any] = {"__name__": "example"}
    running = eval(compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)  # noqa: S307
    await running
    said = capsys.readouterr().out.splitlines()  # the hub's log is among it
    assert str(STORED) in said
    assert "hub None" in said
    assert any(line.startswith(f"operational.batch_size = {STORED} from hub (revision ") for line in said)


async def test_the_first_example_has_the_hubs_value_and_says_where_it_comes_from(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    body = {"service": "my-service", "mode": "merge", "config": {"batch_size": STORED}}
    answer = await hub.http.post("/api/v1/config/update", json=body)
    assert answer.status_code == 200, answer.text
    monkeypatch.setenv("CENTRAL_HUB_TOKEN", await hub.new_token(services=["my-service"]))
    monkeypatch.setenv("CENTRAL_HUB_CACHE_DIR", str(tmp_path))
    names: dict[str, Any] = {"__name__": "example"}
    # In a thread, as a program of its own: it blocks, and the hub runs on this event loop.
    await asyncio.to_thread(exec, source.replace("http://127.0.0.1:7000", hub.url), names)
    await asyncio.to_thread(names["manager"].stop)
    said = capsys.readouterr().out.splitlines()  # the hub's log is among it
    assert str(STORED) in said
    assert any(line.startswith(f"batch_size = {STORED} from hub (revision ") for line in said)
