"""How fresh a manager's configuration is, and what of it is not used."""

from dataclasses import dataclass
from typing import Any

from central_hub_client.assembly import ENVIRONMENT, HUB, Rejection, Snapshot
from central_hub_client.held_config import Source, Status
from central_hub_client.keeper import Keeper
from central_hub_client.sources import HUB_PRIORITY, SAFE_DEFAULTS_PRIORITY


@dataclass(frozen=True, slots=True)
class ManagerStatus(Status):
    """`revision` is the one in use. `rejected` is a layer that is offered and not used, the hub's first, and
    `rejected_count` how often something new was refused. `error` also tells of a file or source that cannot be read.
    """

    rejected: Rejection | None
    rejected_count: int


def status_of(keeper: Keeper[Any], problem: str | None) -> ManagerStatus:
    snapshot, client = keeper.snapshot, keeper.client
    told = None if client is None else client.status
    rejections = dict(keeper.rejections)
    rejected = rejections.get(HUB) or next(iter(rejections.values()), None)
    layer = None if snapshot is None else snapshot.layer(HUB)
    received = None if layer is None else layer.object
    is_held = client is not None and received is not None and received is client.object
    if told is not None and is_held:
        source = told.source
    elif received is not None:
        source = Source.LAST_KNOWN_GOOD  # a later one is held, and refused
    else:
        source = _local_source(snapshot)
    error, error_code = (told.error, told.error_code) if told is not None else (None, None)
    if error is None:
        error_code, error = _local_error(keeper, problem, rejected)
    return ManagerStatus(
        source=source,
        revision=None if received is None else received.revision,
        epoch=None if received is None else received.epoch,
        age_seconds=told.age_seconds if told is not None and received is not None else None,
        stale=told is not None and (told.stale or not is_held),
        error=error,
        error_code=error_code,
        rejected=rejected,
        rejected_count=keeper.rejected,
    )


def _local_source(snapshot: Snapshot[Any] | None) -> Source:
    layers = () if snapshot is None else snapshot.layers
    is_local = any(
        layer.values
        for layer in layers
        if layer.name != ENVIRONMENT and SAFE_DEFAULTS_PRIORITY < layer.priority < HUB_PRIORITY
    )
    return Source.FILES if is_local else Source.DEFAULTS


def _local_error(keeper: Keeper[Any], problem: str | None, rejected: Rejection | None) -> tuple[str | None, str | None]:
    if problem is not None:
        return "invalid_settings", f"invalid_settings: {problem}"
    for failure in keeper.failures.values():
        return "source_failed", f"source_failed: {failure}"
    if rejected is not None:
        return "rejected", f"rejected: {rejected.layer}: {rejected.reason}"
    if keeper.incomplete:
        return "incomplete_config", f"incomplete_config: {'; '.join(map(str, keeper.incomplete))}"
    return None, None
