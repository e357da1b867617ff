"""The how-to pages for services, run as they stand, against a hub that is killed and started again meanwhile."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.acceptance.celery_on_files import Sender
from tests.acceptance.recipes import (
    PAGES,
    PROGRAMS,
    WITHIN_SECONDS,
    Page,
    Place,
    Workers,
    asker,
    mount,
    on_free_port,
    page,
    until,
)
from tests.faults.harness import Fleet, free_port, own_fleet


@pytest.fixture(scope="module")
async def fleet() -> AsyncIterator[Fleet]:
    async with own_fleet(hubs=1) as fleet:
        yield fleet


@pytest.fixture
async def place(fleet: Fleet, tmp_path: Path) -> AsyncIterator[Place]:
    (hub,) = fleet.hubs
    await hub.start()
    body = {"name": "services", "verbs": ["read", "register"], "services": ["*"], "environments": ["*"]}
    token = (await hub.http.post("/api/v1/tokens", json=body)).json()["token"]
    place = Place(tmp_path, hub, token)
    yield place
    for started in place.started:
        if started.process.poll() is None:
            os.killpg(started.process.pid, signal.SIGKILL)
            started.process.wait()


async def end(place: Place) -> int:
    """SIGTERM to what was started last; its exit status."""
    started = place.started[-1]
    started.process.terminate()
    return await asyncio.to_thread(started.process.wait, 60)


def size(batch_size: int) -> dict[str, Any]:
    return {"operational": {"batch_size": batch_size}}


async def follow_through_a_kill(place: Place, service: str, workers: Workers) -> None:
    """Every worker takes every change, goes on while the hub is dead, and hears it again."""
    before = await workers.all_say(10)
    await place.put(service, size(20))
    await workers.all_say(20)
    await place.hub.kill()
    await workers.all_say(20)
    await place.hub.start()
    await place.put(service, size(30))
    assert await workers.all_say(30) == before


@pytest.mark.parametrize(
    ("name", "start", "extra", "service", "workers"),
    [
        ("fastapi.md", "uvicorn", [], "quotes", 2),
        ("flask-and-gunicorn.md", "gunicorn", [], "orders", 2),
        ("flask-and-gunicorn.md", "gunicorn", ["--preload"], "orders", 2),
    ],
)
async def test_every_worker_of_a_web_app_follows_the_hub(
    place: Place, name: str, start: str, extra: list[str], service: str, workers: int
) -> None:
    recipe = page(name)
    recipe.write_files(place.directory)
    await place.put(service, size(10))
    command, url = on_free_port(recipe.command(start))
    started = place.start([*command, *extra])
    asked = Workers(asker(url), started, workers)
    await follow_through_a_kill(place, service, asked)
    victim, *_ = await asked.all_say(30)
    os.kill(victim, signal.SIGKILL)
    await place.put(service, size(40))
    assert victim not in await asked.all_say(40)
    assert await end(place) == 0, started.output()


async def test_every_child_of_a_celery_worker_follows_the_hub(place: Place) -> None:
    recipe = page("celery.md")
    recipe.write_files(place.directory)
    sender = Sender(place.directory)

    async def ask() -> Any:
        return await asyncio.to_thread(sender.call, "tasks.invoice", "2026-11-24")

    await place.put("billing", size(10))
    started = place.start(recipe.command("celery --app"))
    await follow_through_a_kill(place, "billing", Workers(ask, started, 2))
    assert await end(place) == 0, started.output()


async def test_a_child_of_a_celery_worker_that_replaces_another_follows_the_hub(place: Place) -> None:
    recipe = page("celery.md")
    recipe.write_files(place.directory)
    sender = Sender(place.directory)
    started = place.start([*recipe.command("celery --app"), "--max-tasks-per-child", "1"])
    seen = set()
    for batch_size in (11, 12, 13, 14):
        await place.put("billing", size(batch_size))
        deadline = time.monotonic() + WITHIN_SECONDS
        answer = {"batch_size": 0}
        while answer["batch_size"] != batch_size:
            assert time.monotonic() < deadline, f"{answer}, not {batch_size}\n{started.output()}"
            answer = await asyncio.to_thread(sender.call, "tasks.invoice", "2026-11-24")
            assert answer["worker"] not in seen
            seen.add(answer["worker"])
    assert await end(place) == 0, started.output()


async def test_a_batch_job_runs_with_the_hub_and_without(place: Place) -> None:
    recipe = page("batch-job.md")
    recipe.write_files(place.directory)
    command = recipe.command("python job.py")
    refused = place.start(command)
    assert await asyncio.to_thread(refused.process.wait, 60) == 1
    assert "not started" in refused.output()
    assert "batch_size" in refused.output()
    await place.put("nightly-report", {"batch_size": 500})
    assert (await place.run(command)).startswith("batch_size=500 from=hub revision=")
    await place.hub.kill()
    assert "\nbatch_size=500 from=last_known_good revision=" in await place.run(command)


async def test_the_ten_lines_of_the_readme_take_changes_and_end_in_order(place: Place) -> None:
    readme = Page((PAGES.parents[1] / "client" / "README.md").read_text(encoding="utf-8"))
    readme.write_files(place.directory)
    await place.put("greeter", {"message": "good morning", "interval_seconds": 0.05})
    started = place.start(readme.command("python greeter.py"))
    await until(lambda: "good morning" in started.output(), started)
    await place.put("greeter", {"message": "good evening", "interval_seconds": 600})
    await until(lambda: "good evening" in started.output(), started)
    assert await end(place) == 0, started.output()
    assert set(started.output().splitlines()) == {"good morning", "good evening"}


async def test_a_service_of_parts_is_measured_and_ends_in_order(place: Place) -> None:
    recipe = page("run-a-service.md")
    recipe.write_files(place.directory)
    script = place.directory / "service.py"
    port = free_port()
    script.write_text(script.read_text().replace("8000", str(port)))
    await place.put("worker", {"interval_seconds": 0.05})
    revision = (await place.hub.http.get("/api/v1/config/worker")).json()["revision"]
    started = place.start(recipe.command("python service.py"))
    await until(lambda: f"round {revision} True" in started.output(), started)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        metrics = (await http.get("/metrics")).text
    labels = '{environment="default",service="worker"}'
    assert f"central_hub_client_revision{labels} {float(revision)}" in metrics
    assert f"central_hub_client_updates_total{labels} 1.0" in metrics
    assert await end(place) == 0, started.output()


async def test_the_hub_is_one_more_source_of_settings(place: Place) -> None:
    recipe = page("run-a-service.md")
    recipe.write_files(place.directory)
    await place.put("worker", {"interval_seconds": 0.5, "database_url": "hidden by the variable"})
    said = await place.run(recipe.command("python own_settings.py"), DATABASE_URL="postgresql://db/worker")
    assert "interval_seconds=0.5 database_url='postgresql://db/worker'" in said


async def test_the_tests_on_the_page_about_tests_pass(place: Place) -> None:
    recipe = page("test-a-service.md")
    recipe.write_files(place.directory)
    assert "4 passed" in await place.run(recipe.command("python -m pytest"))


async def test_a_mounted_file_that_is_swapped_and_the_hub_over_it(place: Place) -> None:
    recipe = page("services-on-kubernetes.md")
    page("flask-and-gunicorn.md").write_files(place.directory)
    config_map, deployment = yaml.safe_load_all(recipe.block("yaml"))
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert {variable["name"] for variable in container["env"]} == {
        f"CENTRAL_HUB_{name}" for name in ("URL", "ENVIRONMENT", "CACHE_DIR", "TOKEN")
    }
    await place.forget("orders")
    mounted = place.directory / "config"
    mount(mounted, "1", config_map["data"])
    command, url = on_free_port(page("flask-and-gunicorn.md").command("gunicorn"))
    started = place.start(command, CENTRAL_HUB_ENVIRONMENT="production")
    workers = Workers(asker(url), started, 2)
    await workers.all_say(yaml.safe_load(config_map["data"]["orders.yaml"])["operational"]["batch_size"])
    mount(mounted, "2", {"orders.yaml": "operational: {batch_size: 60}"})
    await workers.all_say(60)
    await place.put("orders", size(70))
    await workers.all_say(70)
    mount(mounted, "3", {"orders.yaml": "operational: {batch_size: 80}"})
    await place.put("orders", size(75))
    await workers.all_say(75)
    assert await end(place) == 0, started.output()


async def test_a_service_moves_from_files_and_variables_to_the_hub(place: Place) -> None:
    recipe = page("move-from-files-and-environment.md")
    recipe.write_files(place.directory)
    for folder in ("config", "hub"):
        (place.directory / folder).mkdir()
        (place.directory / folder / "orders.json").write_text(recipe.block("json"))
    main = [str(PROGRAMS / "python"), "main.py"]
    await place.forget("orders")

    # 1: files and variables, no hub
    alone = {"CENTRAL_HUB_URL": "", "ORDERS_OPERATIONAL__BATCH_SIZE": "60"}
    said = await place.run(main, **alone)
    assert "operational.batch_size = 60 from environment (ORDERS_OPERATIONAL__BATCH_SIZE)" in said
    assert "operational.interval_seconds = 5.0 from config/orders" in said
    assert "source: files" in said

    # 2: the document in the hub
    admin = {"CENTRAL_HUB_TOKEN": place.hub.http.headers["Authorization"].removeprefix("Bearer ")}
    apply = recipe.command("central-hub apply -f hub/ --dry-run")
    await place.run(apply, **admin)
    await place.run([*apply[:-1], "--yes", "-m", "moved"], **admin)

    # 3: the hub is named; the variable still hides it
    variable = {"ORDERS_OPERATIONAL__BATCH_SIZE": "60"}
    said = await place.run(main, **variable)
    assert "operational.batch_size = 60 from environment" in said
    assert "source: hub shadowed: operational.batch_size" in said

    # 4 and 5: the variable is taken away, and a change counts
    await place.run(recipe.command("central-hub set orders operational.batch_size=75"), **admin)
    said = await place.run(main)
    assert "operational.batch_size = 75 from hub" in said
    assert said.splitlines()[-1] == "source: hub shadowed:"
