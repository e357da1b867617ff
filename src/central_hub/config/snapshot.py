"""What a replica answers reads from: immutable, complete, already serialised. Pure.

Everything here is a function of the documents alone, so that every replica, however it came to them, sends the same
bytes and the same ETags.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import orjson

from central_hub.audit.chain import rfc3339
from central_hub.config.layering import effective, layers_of
from central_hub.storage.config_values import Commit, Document, Head
from central_hub_client.wire import DEFAULT_ENVIRONMENT, GLOBAL, Bookmark, ConfigObject, Position, content_hash

Key = tuple[str, str]
_MAX_INHERITED: Final = 1024


@dataclass(frozen=True)
class Representation:
    """A config object with the bytes that it is sent as."""

    object: ConfigObject

    @cached_property
    def body(self) -> bytes:
        return orjson.dumps(self.object.to_json())

    @cached_property
    def etag(self) -> str:
        """Strong: the revision says which change, the hash which content (`own` and effective share revisions)."""
        return f'"{self.object.epoch}.{self.object.revision}.{self.object.hash.removeprefix("sha256:")[:16]}"'

    @property
    def revision(self) -> int:
        return self.object.revision


@dataclass(frozen=True)
class Snapshot:
    """All documents as of one revision, with the effective configs of every (service, environment)."""

    head: Head
    """Where the log ended when this was current."""
    documents: Mapping[Key, Document] = field(repr=False)
    representations: Mapping[Key, Representation] = field(repr=False)
    schemas: Mapping[Key, Document] = field(default_factory=dict, repr=False)
    _inherited: dict[Key, Representation] = field(default_factory=dict, repr=False)

    @property
    def hub_id(self) -> str:
        return self.head.hub_id

    @property
    def epoch(self) -> int:
        return self.head.epoch

    @property
    def revision(self) -> int:
        return self.head.revision

    @property
    def position(self) -> Position:
        return self.head.position

    @property
    def bookmark(self) -> Bookmark:
        return Bookmark(self.hub_id, self.epoch, self.revision, self.head.audit_head)

    def document(self, service: str, environment: str) -> Document | None:
        """The document itself, or its tombstone."""
        return self.documents.get((service, environment))

    def schema(self, service: str, environment: str) -> Document | None:
        """The JSON Schema of a service: its environment's own, else the one of `default`; None where there is none."""
        return schema_of(self.schemas, service, environment)

    def find(self, service: str, environment: str) -> Representation | None:
        """The effective config, which may be marked as deleted; None where the service never existed.

        An environment without documents of its own inherits `default`.
        """
        found = self.representations.get((service, environment))
        if found is None and environment != DEFAULT_ENVIRONMENT:
            found = self._inherited.get((service, environment))
            if found is None and (service, DEFAULT_ENVIRONMENT) in self.representations:
                found = represent(self.documents, self.hub_id, self.epoch, service, environment)
                # Names of environments come from callers: what is kept for them is bounded.
                if found is not None and len(self._inherited) < _MAX_INHERITED:
                    self._inherited[service, environment] = found
        return found

    def own(self, service: str, environment: str) -> Representation | None:
        """The document itself as a config object; None where there is none or only a tombstone."""
        document = self.documents.get((service, environment))
        return (
            None
            if document is None or document.config is None
            else own_representation(document, self.hub_id, self.epoch)
        )


def schema_of(schemas: Mapping[Key, Document], service: str, environment: str) -> Document | None:
    """The schema that the effective config of (service, environment) is held against; None where there is none."""
    for place in (environment, DEFAULT_ENVIRONMENT):
        found = schemas.get((service, place))
        if found is not None and found.config is not None:
            return found
    return None


def own_representation(document: Document, hub_id: str, epoch: int) -> Representation:
    """A document by itself, without the layers under it."""
    return Representation(
        ConfigObject(
            service=document.service,
            environment=document.environment,
            config=document.config,
            version=document.version,
            hub_id=hub_id,
            epoch=epoch,
            revision=document.revision,
            previous_revision=document.previous_revision,
            hash=content_hash(document.config),
            requires=(),
            updated_at=rfc3339(document.changed_at),
            updated_by=document.changed_by,
            deleted=document.config is None,
        )
    )


def represent(
    documents: Mapping[Key, Document], hub_id: str, epoch: int, service: str, environment: str
) -> Representation | None:
    """The effective config of (service, environment); None where the service never had a document in it."""
    layers = layers_of(lambda *key: documents.get(key), service, environment)
    own = [layer for layer in layers if layer.service == service]
    if not own:
        return None
    live = [layer for layer in own if layer.config is not None]
    # A service that is gone is not altered by what still happens beneath it.
    last = max(layers if live else own, key=lambda layer: layer.revision)
    config: dict[str, Any] | None = effective(layers) if live else None
    return Representation(
        ConfigObject(
            service=service,
            environment=environment,
            config=config,
            version=(live or own)[-1].version,
            hub_id=hub_id,
            epoch=epoch,
            revision=last.revision,
            previous_revision=_previous_revision(layers, last.revision),
            hash=content_hash(config),
            requires=(),
            updated_at=rfc3339(last.changed_at),
            updated_by=last.changed_by,
            deleted=not live,
        )
    )


def keys_to_represent(documents: Iterable[Key]) -> list[Key]:
    """Every (service, environment) that is announced: where the service or `_global` has any document."""
    keys = list(documents)
    global_environments = {environment for service, environment in keys if service == GLOBAL}
    services: dict[str, set[str]] = {}
    for service, environment in keys:
        services.setdefault(service, {DEFAULT_ENVIRONMENT}).add(environment)
    return sorted(
        (service, environment)
        for service, own_environments in services.items()
        for environment in own_environments | global_environments
    )


def touched_keys(documents: Iterable[Key], commit: Commit) -> list[Key]:
    """The representations that a commit alters."""
    changed = {document.key for document in commit.documents}
    changed_services = {service for service, _ in changed}
    if GLOBAL not in changed_services:
        documents = [key for key in documents if key[0] in changed_services or key[0] == GLOBAL]
    touched = []
    for service, environment in keys_to_represent(documents):
        names = {GLOBAL, service}
        if any(name in names and place in (DEFAULT_ENVIRONMENT, environment) for name, place in changed):
            touched.append((service, environment))
    return touched


def _previous_revision(layers: list[Document], revision: int) -> int | None:
    """What the representation's revision was before `revision`: the last one that any layer had before it."""
    before = (layer.previous_revision if layer.revision >= revision else layer.revision for layer in layers)
    return max((earlier for earlier in before if earlier is not None and earlier < revision), default=None)
