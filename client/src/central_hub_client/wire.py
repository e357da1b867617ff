"""What the hub and its clients agree on: names, documents, positions, subjects, headers, error codes. Pure."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from central_hub_client.strict_json import canonical

API_PREFIX: Final = "/api/v1"
DEFAULT_PORT: Final = 7000
GLOBAL: Final = "_global"
DEFAULT_ENVIRONMENT: Final = "default"
RESERVED_SERVICE_NAMES: Final = frozenset(
    "update history diff rollback validate schema status watch transaction database databases messaging audit export "
    "import contracts promote rollouts schedules approvals register heartbeat".split()
)

STREAM: Final = "CONFIG_UPDATES"
UPDATE_SUBJECTS: Final = "config.update.>"
BOOKMARK_SUBJECT: Final = "config.bookmark"
INSTANCES_SUBJECTS: Final = "discovery.update.>"
MAX_PUSHED_BYTES: Final = 512 * 1024
BOOKMARK_INTERVAL_SECONDS: Final = 2.0

HUB_REVISION: Final = "X-Hub-Revision"
HUB_STALE: Final = "X-Hub-Stale"
HUB_MIN_REVISION: Final = "X-Hub-Min-Revision"
HUB_INSTANCE: Final = "X-Hub-Instance"
HUB_KEY_ID: Final = "Hub-Key-Id"
HUB_SIGNATURE: Final = "Hub-Signature"

# \Z and not $: the latter also matches before a final line feed.
_SERVICE_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,98}[a-z0-9])?\Z")
_ENVIRONMENT_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?\Z")
_INSTANCE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,199}\Z")
_POSITION: Final = re.compile(r"(?:(0|[1-9][0-9]{0,17})\.)?(0|[1-9][0-9]{0,17})\Z")


class ErrorCode(StrEnum):
    """The stable `code` of a problem document. Clients raise the same error class from it."""

    MALFORMED_JSON = "malformed_json"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REMOVALS_NOT_ALLOWED = "removals_not_allowed"
    DELTA_NOT_ALLOWED = "delta_not_allowed"
    TYPE_REUSE = "type_reuse"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    STALE_GENERATION = "stale_generation"
    HISTORY_GONE = "history_gone"
    EPOCH_CHANGED = "epoch_changed"
    REVISION_CONFLICT = "revision_conflict"
    PRECONDITION_REQUIRED = "precondition_required"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    WRONG_HOST = "wrong_host"
    INVALID_NAME = "invalid_name"
    INVALID_REQUEST = "invalid_request"
    LIMIT_EXCEEDED = "limit_exceeded"
    SCHEMA_VIOLATION = "schema_violation"
    CONTRACT_VIOLATION = "contract_violation"
    SECRET_REJECTED = "secret_rejected"  # noqa: S105 - the name of an error, not a secret
    RATE_LIMITED = "rate_limited"
    STORE_UNAVAILABLE = "store_unavailable"
    REPLICA_BEHIND = "replica_behind"
    NO_INSTANCE = "no_instance"
    INTERNAL = "internal_error"


class HealthState(StrEnum):
    """How something is: an instance, a service, a replica of the hub.

    `degraded` works, with something amiss; `unhealthy` does not work; `draining` ends and takes nothing new. `expired`
    is the hub's word for one that has not been heard of for its lease; nobody reports it.
    """

    STARTING = "starting"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    EXPIRED = "expired"


WORST_FIRST: Final = (
    HealthState.UNHEALTHY,
    HealthState.EXPIRED,
    HealthState.DEGRADED,
    HealthState.STARTING,
    HealthState.DRAINING,
    HealthState.HEALTHY,
)


def is_service_name(name: str) -> bool:
    """Whether `name` may name a service (`_global` is not a service, and path words are reserved)."""
    return _SERVICE_NAME.match(name) is not None and name not in RESERVED_SERVICE_NAMES


def is_document_name(name: str) -> bool:
    """Whether documents may be stored under `name`: a service's, or the global one."""
    return name == GLOBAL or is_service_name(name)


def is_environment_name(name: str) -> bool:
    """Whether `name` may name an environment."""
    return _ENVIRONMENT_NAME.match(name) is not None


def is_instance_id(name: str) -> bool:
    """Whether `name` may name an instance. It is a part of a path, where `route` has a meaning of its own."""
    return _INSTANCE_ID.match(name) is not None and name != "route"


def content_hash(config: Any) -> str:
    """`sha256:<hex>` over the canonical spelling of a configuration."""
    return "sha256:" + hashlib.sha256(canonical(config)).hexdigest()


def update_subject(service: str, environment: str) -> str:
    """Where changes of (service, environment) are announced. Both names must have been checked before."""
    return _subject("config", service, environment)


def instances_subject(service: str, environment: str) -> str:
    """Where changes of the instances of a service are announced. Both names must have been checked before."""
    return _subject("discovery", service, environment)


def alerts_subject(severity: str) -> str:
    """Where alerts of a severity are announced."""
    return f"alerts.{severity}"


def _subject(kind: str, service: str, environment: str) -> str:
    base = f"{kind}.update.{service}"
    return base if environment == DEFAULT_ENVIRONMENT else f"{base}.{environment}"


@dataclass(frozen=True, order=True, slots=True)
class Position:
    """A place in the order of commits: first the epoch, then the revision. Written `1.42`."""

    epoch: int
    revision: int

    @classmethod
    def parse(cls, text: str, *, current_epoch: int) -> Self:
        """`1.42`, or `42` for the current epoch. Raises ValueError."""
        match = _POSITION.match(text)
        if match is None:
            raise ValueError("a revision is written 42 or 1.42 (epoch.revision)")
        epoch = current_epoch if match[1] is None else int(match[1])
        return cls(epoch, int(match[2]))

    def __str__(self) -> str:
        return f"{self.epoch}.{self.revision}"


@dataclass(frozen=True, slots=True)
class ConfigObject:
    """A configuration as it travels: the answer to GET, the data of an event, the payload on the bus.

    `config` is None where the configuration was deleted, or where the object is only a hint to fetch
    (then `is_hint`: the key `config` was left out because the message would have been too large).
    """

    service: str
    environment: str
    config: dict[str, Any] | None
    version: str
    hub_id: str
    epoch: int
    revision: int
    previous_revision: int | None
    hash: str
    requires: tuple[str, ...]
    updated_at: str
    updated_by: str
    deleted: bool = False
    is_hint: bool = False

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.revision)

    @property
    def etag(self) -> str:
        """The strong validator that the hub sends with this object, however the object arrived."""
        return f'"{self.position}.{self.hash.removeprefix("sha256:")[:16]}"'

    def to_json(self) -> dict[str, Any]:
        """The object as a JSON-ready dict, keys in the order of the contract."""
        result: dict[str, Any] = {"service": self.service, "environment": self.environment}
        if self.deleted:
            result["deleted"] = True
        if not self.is_hint:
            result["config"] = self.config
        return result | {
            "version": self.version,
            "hub_id": self.hub_id,
            "epoch": self.epoch,
            "revision": self.revision,
            "previous_revision": self.previous_revision,
            "hash": self.hash,
            "requires": list(self.requires),
            "updated_at": self.updated_at,
            "updated_by": self.updated_by,
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what a hub sent. Unknown keys are ignored (a later hub may send more). Raises ValueError."""
        if not isinstance(value, Mapping):
            raise ValueError("a config object must be a JSON object")
        deleted = _field(value, "deleted", bool, False)
        config = value.get("config")
        if config is not None and not isinstance(config, dict):
            raise ValueError("config must be an object or null")
        is_hint = "config" not in value
        if config is None and not deleted and not is_hint:
            raise ValueError("config is null but the object is not marked as deleted")
        if config is not None and deleted:
            raise ValueError("the object is marked as deleted but has a config")
        requires = value.get("requires", [])
        if not isinstance(requires, list) or not all(isinstance(feature, str) for feature in requires):
            raise ValueError("requires must be a list of strings")
        previous = value.get("previous_revision")
        if previous is not None and (not isinstance(previous, int) or isinstance(previous, bool)):
            raise ValueError("previous_revision must be an integer or null")
        return cls(
            service=_field(value, "service", str),
            environment=_field(value, "environment", str),
            config=config,
            version=_field(value, "version", str, ""),
            hub_id=_field(value, "hub_id", str),
            epoch=_field(value, "epoch", int),
            revision=_field(value, "revision", int),
            previous_revision=previous,
            hash=_field(value, "hash", str),
            requires=tuple(requires),
            updated_at=_field(value, "updated_at", str, ""),
            updated_by=_field(value, "updated_by", str, ""),
            deleted=deleted,
            is_hint=is_hint,
        )

    def hash_is_right(self) -> bool:
        """Whether `hash` is that of `config`."""
        return self.hash == content_hash(self.config)


@dataclass(frozen=True, slots=True)
class Bookmark:
    """How far a hub has got: sent every two seconds at the latest, so that silence is noticed."""

    hub_id: str
    epoch: int
    revision: int
    audit_head: str

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.revision)

    def to_json(self) -> dict[str, Any]:
        return {
            "hub_id": self.hub_id,
            "epoch": self.epoch,
            "revision": self.revision,
            "audit_head": self.audit_head,
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Raises ValueError."""
        if not isinstance(value, Mapping):
            raise ValueError("a bookmark must be a JSON object")
        return cls(
            _field(value, "hub_id", str),
            _field(value, "epoch", int),
            _field(value, "revision", int),
            _field(value, "audit_head", str, ""),
        )


_MISSING: Final = object()


def _field(value: Mapping[str, Any], name: str, kind: type, default: Any = _MISSING) -> Any:
    found = value.get(name, default)
    if found is _MISSING:
        raise ValueError(f"{name} is missing")
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise ValueError(f"{name} must be a {kind.__name__}")
    return found
