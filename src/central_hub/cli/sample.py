"""The documents of a sample fleet, loaded by the hub itself."""

import json
from importlib import resources
from typing import Final

from central_hub.config.edits import Replace
from central_hub.config.plan import Preconditions, Transaction, Write
from central_hub.errors import Conflict
from central_hub.service import CentralHubService
from central_hub_client.wire import DEFAULT_ENVIRONMENT

AUTHOR: Final = "sample"


async def load_sample(hub: CentralHubService) -> int:
    """Store the sample documents that never existed, and say how many those were. Raises StoreUnavailable."""
    loaded = 0
    files = [
        file for file in resources.files("central_hub").joinpath("sample").iterdir() if file.name.endswith(".json")
    ]
    for file in sorted(files, key=lambda file: file.name):
        service = file.name.removesuffix(".json")
        # One that was deleted stays deleted.
        if hub.tail.snapshot.document(service, DEFAULT_ENVIRONMENT) is not None:
            continue
        write = Write(
            service=service,
            environment=DEFAULT_ENVIRONMENT,
            edit=Replace(json.loads(file.read_text(encoding="utf-8"))),
            reason="sample fleet",
            preconditions=Preconditions(must_not_exist=True),
        )
        try:
            await hub.store.write(Transaction((write,), author=AUTHOR))
        except Conflict:  # somebody was faster
            continue
        loaded += 1
    return loaded
