"""How far a revision of a service's configuration has got: who runs it, who refused it, and where it is hidden."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import Final

from fastapi import Request, Response
from pydantic import Field

from central_hub.api.auth import authorise_instances
from central_hub.api.v1.fleet import told, written
from central_hub.api.v1.queries import DocumentQuery, PositionText
from central_hub.api.v1.reading import answer_json, parse_position, reach, reach_minimum
from central_hub.config.history import no_document
from central_hub.config.layering import layers_of, shared_keys
from central_hub.coordination.convergence import Convergence, converge
from central_hub.errors import StoreUnavailable
from central_hub.security.tokens import Grant
from central_hub.service import CentralHubService
from central_hub.storage.instance_values import Instance
from central_hub_client.wire import Position

LOOK_AGAIN_SECONDS: Final = 0.25
"""While a caller waits. This replica hears of what the others are told less often."""


class StatusQuery(DocumentQuery):
    """Which revision, and how long to wait for it."""

    revision: PositionText | None = Field(
        default=None, description="The one that instances are to run, or a later one; by default the latest."
    )
    wait: float = Field(
        default=0, ge=0, le=60, description="Wait this many seconds while an instance that is alive is still pending."
    )
    instances: bool = Field(default=True, description="`false` counts the instances and does not list them.")


async def answer_status(
    hub: CentralHubService, request: Request, grant: Grant, service: str, query: StatusQuery
) -> Response:
    """The status of a service in an environment. Raises NotFound where it has neither configuration nor instances."""
    environment = query.environment
    authorise_instances(grant, service, environment)
    await reach_minimum(hub, request)
    if not hub.tail.is_stale:
        # Who has just written, or registered, at another replica means that as well.
        with contextlib.suppress(StoreUnavailable):
            await asyncio.gather(hub.tail.catch_up(), hub.coordination.catch_up())
    target = await _target(hub, service, query)
    deadline = time.monotonic() + query.wait
    while True:
        applied = hub.tail.snapshot.position
        found = await _look(hub, service, environment, target)
        remaining = deadline - time.monotonic()
        is_wanted = not hub.draining.is_set() and hub.tokens.grants.still_valid(grant, datetime.now(UTC))
        if found.is_settled or remaining <= 0 or not is_wanted:
            break
        await asyncio.sleep(min(LOOK_AGAIN_SECONDS, remaining))
    if target is None and not found.deliveries:
        raise no_document(service, environment)
    if not query.instances:
        return answer_json(hub, applied, told(found, service, environment, target, []))
    reports = {id(report): report for report in (delivery.instance.report for delivery in found.deliveries)}
    unused = {key for report in reports.values() for key in (*report.unknown, *report.unread)}
    shared = shared_keys(layers_of(hub.tail.snapshot.document, service, environment), unused)
    parts = []
    for part in written(found.deliveries, shared):
        parts.append(part)
        await asyncio.sleep(0)  # others go on in between
    return answer_json(hub, applied, told(found, service, environment, target, parts))


async def _target(hub: CentralHubService, service: str, query: StatusQuery) -> Position | None:
    """The revision of this configuration that the caller means: as of the one he names, which may be of another one."""
    asked = None if query.revision is None else parse_position(hub, query.revision)
    if asked is not None:
        await reach(hub, asked)
    found = hub.tail.snapshot.find(service, query.environment)
    if found is None:
        return None
    latest = found.object.position
    if asked is None or asked >= latest:
        return latest
    past = await hub.history.config_at(service, query.environment, str(asked), own=False)
    return past.representation.object.position


async def _look(hub: CentralHubService, service: str, environment: str, target: Position | None) -> Convergence:
    instances = _instances(hub, service, environment)
    altered: list[str] = []
    if target is not None and any(instance.report.shadowed for instance in instances):
        altered = await _altered(hub, service, environment, target)
    return converge(instances, target, altered, hub.coordination.as_of)


def _instances(hub: CentralHubService, service: str, environment: str) -> list[Instance]:
    found = hub.coordination.fleet.of_service(service, hub.coordination.as_of)
    return [instance for instance in found if instance.environment == environment]


async def _altered(hub: CentralHubService, service: str, environment: str, target: Position) -> list[str]:
    """What a revision altered. While the store is away nobody can say: it may have been anything."""
    if not hub.tail.is_stale:
        try:
            return await hub.history.altered_by(service, environment, target)
        except StoreUnavailable:
            pass
    return [""]
