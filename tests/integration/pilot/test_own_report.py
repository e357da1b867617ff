"""What the pilot itself tells a real hub of its document: every key is declared and none is dead."""

import asyncio
import json
import os
import signal
from importlib.resources import files
from pathlib import Path
from typing import Any

from tests.conftest import RunningHub
from tests.integration.instances import eventually, listed, status
from tests.integration.pilot.conftest import KEY, SERVICE, StartStandIn
from tests.integration.pilot.test_process import Service
from tests.integration.test_status import change


def sample(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((files("central_hub") / "sample" / f"{name}.json").read_bytes())
    return document


async def test_it_reports_no_key_of_its_document_as_unknown_or_unread(
    hub: RunningHub, start_stand_in: StartStandIn, tmp_path: Path
) -> None:
    await change(hub, "_global", sample("_global"))
    stored = await change(hub, SERVICE, sample(SERVICE))
    token = await hub.new_token(verbs=["read", "register"], services=[SERVICE])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CENTRAL_HUB_")}
    pilot = Service(
        inherited
        | {
            "POLYGON_BASE_URL": start_stand_in().url,
            "POLYGON_API_KEY": KEY,
            "POLYGON_DATABASE": str(tmp_path / "bars.sqlite"),
            "CENTRAL_HUB_URL": hub.url,
            "CENTRAL_HUB_TOKEN": token,
            "CENTRAL_HUB_CACHE_DIR": str(tmp_path / "cache"),
        }
    )
    told: dict[str, Any] = {}

    async def has_applied(revision: int) -> bool:
        told.update(await status(hub, SERVICE))
        return [(found["state"], found["applied_revision"]) for found in told["instances"]] == [("applied", revision)]

    try:
        await eventually(lambda: has_applied(stored["revision"]), within=30)
        [instance] = told["instances"]
        for kind in ("unknown_keys", "unread_keys", "shadowed_keys", "defaulted_keys"):
            assert instance[kind] == [], kind
        assert told["converged"] is True

        later = await change(hub, SERVICE, {"operational": {"invented_later": 1}})
        await eventually(lambda: has_applied(later["revision"]))
        [instance] = told["instances"]
        assert instance["unknown_keys"] == instance["unread_keys"] == ["/operational/invented_later"]
    finally:
        code = await asyncio.to_thread(
            pilot.end, signal.SIGTERM
        )  # the hub that it says goodbye to runs in this process
    assert code == 0, pilot.output
    assert await listed(hub, SERVICE) == []
