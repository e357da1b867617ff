"""Which effective configs a change alters, and the schemas that they are held against. Pure."""

from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from central_hub.config.layering import effective, layers_of
from central_hub.config.snapshot import Key, Snapshot, schema_of
from central_hub.storage.config_values import Commit, Document, DocumentChange, Kind
from central_hub_client.wire import DEFAULT_ENVIRONMENT, GLOBAL

Inputs = tuple[Key, int, tuple[tuple[Key, int], ...]]
"""What a check depends on: whose config, the schema's revision, and those of the layers."""

_NOBODY: Final = datetime.min.replace(tzinfo=UTC)
_PROPOSED: Final = 0
_EVERY: Final = "*"


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

    def find(self, kind: Kind, service: str, environment: str) -> Document | None:
        """The document or schema, its tombstone, or None where there never was one."""
        return (self.schemas if kind is Kind.SCHEMA else self.documents).get((service, environment))

    def layers(self, service: str, environment: str) -> list[Document]:
        """The documents and tombstones under a config, lowest first."""
        return layers_of(lambda *key: self.documents.get(key), service, environment)

    def effective(self, service: str, environment: str) -> dict[str, Any] | None:
        """The config of a service in an environment; None where it has none of its own."""
        layers = self.layers(service, environment)
        is_there = any(layer.service == service and layer.config is not None for layer in layers)
        return effective(layers) if is_there else None

    def after(self, changes: Iterable[DocumentChange], revision: int = _PROPOSED) -> "View":
        """The same with changes made, as the revision that they will be."""
        changed: dict[Kind, list[Document]] = {Kind.DOCUMENT: [], Kind.SCHEMA: []}
        for change in changes:
            document = Document(
                service=change.service,
                environment=change.environment,
                config=change.config,
                version=change.version,
                revision=revision,
                previous_revision=change.previous_revision,
                changed_at=_NOBODY,
                changed_by="",
            )
            changed[change.kind].append(document)
        return View(_over(self.documents, changed[Kind.DOCUMENT]), _over(self.schemas, changed[Kind.SCHEMA]))


def checks_of(view: View, changes: Collection[DocumentChange]) -> list[Check]:
    """Every config that the changes alter, or hold against another schema, where it has one to satisfy then."""
    named = {service for service, _ in view.schemas}
    named |= {change.service for change in changes if change.kind is Kind.SCHEMA}
    altered = {(_EVERY if _is_for_every_service(change) else change.service, change.environment) for change in changes}
    reached = named if any(map(_is_for_every_service, changes)) else named & {service for service, _ in altered}
    if not reached:
        return []  # the usual case: nothing to copy
    after = view.after(changes)
    checks = []
    for service, environment in _configs_of(after, reached):
        places = ((name, place) for name in (_EVERY, service) for place in (DEFAULT_ENVIRONMENT, environment))
        if altered.isdisjoint(places):
            continue
        schema = schema_of(after.schemas, service, environment)
        layers = after.layers(service, environment)
        if schema is not None and any(layer.service == service and layer.config is not None for layer in layers):
            checks.append(Check(service, environment, schema, tuple(layers)))
    return checks


def _is_for_every_service(change: DocumentChange) -> bool:
    return change.service == GLOBAL and change.kind is Kind.DOCUMENT


def _configs_of(view: View, services: set[str]) -> list[Key]:
    """The places where configs of services may differ: where they, or `_global`, have a document or a schema."""
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
