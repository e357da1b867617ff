"""Which effective configs a change alters, and the schemas that they are held against. Pure."""

from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from central_hub.config.layering import effective, layers_of
from central_hub.config.snapshot import Key, Snapshot, schema_of
from central_hub.storage.configs import Commit, Document, DocumentChange, Kind
from central_hub_client.wire import DEFAULT_ENVIRONMENT, GLOBAL

Inputs = tuple[Key, int, tuple[tuple[Key, int], ...]]
"""What a check depends on: whose config, the schema's revision, and those of the layers."""

_NOBODY: Final = datetime.min.replace(tzinfo=UTC)
_PROPOSED: Final = 0


@dataclass(frozen=True, slots=True)
class Check:
    """A config that a change leads to, and the schema that it must satisfy."""

    service: str
    environment: str
    schema: Document
    layers: tuple[Document, ...]

    @property
    def inputs(self) -> Inputs:
        layers = tuple((layer.key, layer.revision) for layer in self.layers)
        return (self.service, self.environment), self.schema.revision, layers

    @property
    def config(self) -> dict[str, Any]:
        return effective(list(self.layers))

    @property
    def inherited(self) -> frozenset[str]:
        """The top-level keys that come only from `_global`."""
        if self.service == GLOBAL:
            return frozenset()
        own = _keys(layer for layer in self.layers if layer.service == self.service)
        return _keys(layer for layer in self.layers if layer.service == GLOBAL) - own


@dataclass(frozen=True, slots=True)
class View:
    """All documents and schemas as of one moment."""

    documents: Mapping[Key, Document]
    schemas: Mapping[Key, Document]

    @staticmethod
    def of(snapshot: Snapshot, later: Iterable[Commit] = ()) -> "View":
        """What a snapshot knows, and what was committed since."""
        later = list(later)
        return View(
            _over(snapshot.documents, [document for commit in later for document in commit.documents]),
            _over(snapshot.schemas, [schema for commit in later for schema in commit.schemas]),
        )

    def layers(self, service: str, environment: str) -> list[Document]:
        """The documents and tombstones under a config, lowest first."""
        return layers_of(lambda *key: self.documents.get(key), service, environment)

    def effective(self, service: str, environment: str) -> dict[str, Any] | None:
        """The config of a service in an environment; None where it has none of its own."""
        layers = self.layers(service, environment)
        is_there = any(layer.service == service and layer.config is not None for layer in layers)
        return effective(layers) if is_there else None

    def after(self, change: DocumentChange, revision: int = _PROPOSED) -> "View":
        """The same with a change made, as the revision that it will be."""
        changed = Document(
            service=change.service,
            environment=change.environment,
            config=change.config,
            version=change.version,
            revision=revision,
            previous_revision=change.previous_revision,
            changed_at=_NOBODY,
            changed_by="",
        )
        if change.kind is Kind.SCHEMA:
            return replace(self, schemas=_over(self.schemas, [changed]))
        return replace(self, documents=_over(self.documents, [changed]))


def checks_of(view: View, change: DocumentChange) -> list[Check]:
    """Every config that `change` alters, or holds against another schema, where it has one to satisfy."""
    is_schema = change.kind is Kind.SCHEMA
    named = {service for service, _ in view.schemas}
    if change.service not in named and not is_schema and change.service != GLOBAL:
        return []  # the usual case: nothing to copy
    after = view.after(change)
    reached = named if change.service == GLOBAL and not is_schema else {change.service}
    checks = []
    for service, environment in _configs_of(after, reached):
        if change.environment not in (DEFAULT_ENVIRONMENT, environment):
            continue
        schema = schema_of(after.schemas, service, environment)
        layers = after.layers(service, environment)
        if schema is not None and any(layer.service == service and layer.config is not None for layer in layers):
            checks.append(Check(service, environment, schema, tuple(layers)))
    return checks


def _configs_of(view: View, services: Iterable[str]) -> list[Key]:
    """The places where configs of services may differ: where they, or `_global`, have a document or a schema."""
    services = set(services)
    environments: dict[str, set[str]] = {service: {DEFAULT_ENVIRONMENT} for service in services}
    everywhere: set[str] = set()
    for service, environment in [*view.documents, *view.schemas]:
        if service in services:
            environments[service].add(environment)
        if service == GLOBAL:
            everywhere.add(environment)
    return sorted((service, place) for service, own in environments.items() for place in own | everywhere)


def _over(there: Mapping[Key, Document], changed: Iterable[Document]) -> Mapping[Key, Document]:
    # Not a copy of all there are for each of them.
    above = {document.key: document for document in changed}
    if not above:
        return there
    if isinstance(there, ChainMap):
        return ChainMap({**there.maps[0], **above}, *there.maps[1:])
    return ChainMap(above, dict(there) if not isinstance(there, dict) else there)


def _keys(layers: Iterable[Document]) -> frozenset[str]:
    return frozenset(key for layer in layers for key in layer.config or ())
