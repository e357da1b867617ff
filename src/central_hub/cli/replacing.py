"""A whole document in the place of what there is: first tried, then stored, never over a change that came between."""

from dataclasses import dataclass
from typing import Any, Final

from central_hub.cli.hub_client import HubClient
from central_hub_client.errors import NotFound

Config = dict[str, Any]

NO_REVISION: Final = "0"
"""The revision of a document that does not exist."""


@dataclass(frozen=True, slots=True)
class Current:
    """A document as it stands; `config` is None where there is none."""

    config: Config | None
    revision: str
    """What a writer names as the revision that it has seen."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """What shall become of one document, and which revision of it that was decided on."""

    service: str
    environment: str
    config: Config
    seen_revision: str
    reason: str | None
    allow: list[str] | None

    @property
    def creates(self) -> bool:
        """Whether there was no such document."""
        return self.seen_revision == NO_REVISION

    def propose(self, hub: HubClient) -> dict[str, Any]:
        """What the hub would answer, with the changes. Raises what it would refuse."""
        return self._update(hub, dry_run=True)

    def store(self, hub: HubClient) -> dict[str, Any]:
        """Store it, if the document is still the one that was seen. The changes, removals too, have been shown."""
        return self._update(hub, dry_run=False)

    def _update(self, hub: HubClient, *, dry_run: bool) -> dict[str, Any]:
        body = {
            "service": self.service,
            "environment": self.environment,
            "config": self.config,
            "expected_revision": self.seen_revision,
            "allow": sorted({"removals", *(self.allow or [])}),
            "dry_run": dry_run,
        }
        if self.reason is not None:
            body["reason"] = self.reason
        answer: dict[str, Any] = hub.write("POST", "/config/update", body).value
        return answer


def current(hub: HubClient, service: str, environment: str) -> Current:
    """The document itself, without the layers under it."""
    try:
        found = hub.get(f"/config/{service}", environment=environment, own=True).value
    except NotFound:
        return Current(None, NO_REVISION)
    return Current(found["config"], f"{found['epoch']}.{found['revision']}")
