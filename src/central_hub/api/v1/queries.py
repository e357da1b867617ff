"""Query parameters, one model a route. What a model does not know is refused: a typo must not act on `default`."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from central_hub.monitoring.infrastructure import Section
from central_hub.monitoring.rules import Severity
from central_hub.storage.notification_values import NotificationState
from central_hub_client.routing.balancer import check_arguments
from central_hub_client.routing.policy import Policy
from central_hub_client.wire import DEFAULT_ENVIRONMENT, RESERVED_SERVICE_NAMES, HealthState


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must be valid Unicode") from error
    return text


def written(pattern: str, rule: str) -> tuple[AfterValidator, Any]:
    """Text of this pattern: documented as the pattern, refused with the rule, which people can read."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise PydanticCustomError("pattern", "{rule}", {"rule": rule})
        return text

    return AfterValidator(check), Field(json_schema_extra={"pattern": pattern})


Text = Annotated[str, Field(max_length=2000), AfterValidator(_storable)]
# Printable ASCII and Latin: shown in tables, file names and tickets.
Label = Annotated[str, *written(r"^[ -~\u00a1-\u017f]{1,64}$", "must have 1 to 64 printable Latin characters")]
Environment = Annotated[
    str,
    Field(
        description="The environment; `default` is the base.",
        json_schema_extra={"pattern": "^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$"},
    ),
]
_RESERVED = "|".join(sorted(RESERVED_SERVICE_NAMES))
Service = Annotated[
    str,
    Field(
        description="The service, or `_global`.",
        json_schema_extra={"pattern": f"^(?!(?:{_RESERVED})$)(?:_global|[a-z0-9](?:[a-z0-9-]{{0,98}}[a-z0-9])?)$"},
    ),
]
"""The pattern is told in the documentation and checked by `authorise`, which knows the order of errors."""
Runnable = Annotated[
    str,
    Field(
        description="The service.",
        json_schema_extra={"pattern": f"^(?!(?:{_RESERVED})$)[a-z0-9](?:[a-z0-9-]{{0,98}}[a-z0-9])?$"},
    ),
]
"""A service that can have instances: `_global` is only a document."""
Allowance = Annotated[
    str,
    *written(
        r"^(removals|delta|type_reuse|contract|secret:/.{0,1000})$",
        "a guard is named removals, delta, type_reuse, contract or secret:/pointer",
    ),
]
POSITION = r"^((0|[1-9][0-9]{0,14})\.)?(0|[1-9][0-9]{0,14})$"
POSITION_TEXT = written(POSITION, "a revision is written 42 or 1.42 (epoch.revision)")
PositionText = Annotated[str, *POSITION_TEXT, Field(description="A revision: `42`, or `1.42` with its epoch.")]
Moment = Annotated[
    str, Field(max_length=64, json_schema_extra={"anyOf": [{"pattern": POSITION}, {"format": "date-time"}]})
]
Time = Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})]


Cursor = Annotated[
    str, *written(r"^(document|schema)/[a-z0-9_-]{1,100}/[a-z0-9-]{1,40}$", "takes what the page before gave as `next`")
]


class NoQuery(BaseModel):
    """No parameters at all."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DocumentQuery(NoQuery):
    environment: Environment = DEFAULT_ENVIRONMENT


class ReadQuery(DocumentQuery):
    own: bool = Field(default=False, description="Only the document itself, without the layers under it.")
    explain: bool = Field(default=False, description="Add where every value comes from.")
    blame: bool = Field(default=False, description="Add to the explanation who set each value last, and why.")
    at: Moment | None = Field(default=None, description="As it was at a revision or at an RFC 3339 time.")
    after: PositionText | None = Field(default=None, description="Only if newer than this; 304 otherwise.")
    wait: float = Field(default=0, ge=0, le=60, description="With `after`: wait this many seconds for a newer one.")


class WriteQuery(DocumentQuery):
    version: Label | None = Field(default=None, description="A label for people; by default the last one is bumped.")
    reason: Text | None = Field(default=None, description="Why; kept in the history.")
    allow: list[Allowance] = Field(default_factory=list, max_length=64, description="Guards to pass deliberately.")
    dry_run: bool = Field(default=False, description="Check and show the changes, store nothing.")


class DeleteQuery(DocumentQuery):
    reason: Text | None = Field(default=None, description="Why; kept in the history.")


class SchemaQuery(DocumentQuery):
    reason: Text | None = Field(default=None, description="Why; kept in the history.")
    dry_run: bool = Field(default=False, description="Check and show the changes, store nothing.")


class HistoryQuery(DocumentQuery):
    limit: int = Field(default=50, ge=1, le=200)
    before: PositionText | None = Field(default=None, description="Entries before this revision.")
    include: Literal["config"] | None = Field(default=None, description="`config` adds the contents.")


class SearchQuery(NoQuery):
    service: Service | None = Field(default=None, description="By default of all services that the token covers.")
    environment: Environment | None = Field(default=None, description="By default of all of them.")
    by: Label | None = Field(default=None, description="Who made the change: the name of a token.")
    path: str | None = Field(default=None, max_length=1000, description="What it changed: a JSON Pointer.")
    text: Label | None = Field(default=None, description="A part of its reason; capital letters do not matter.")
    since: Time | None = Field(default=None, description="At this time or later.")
    until: Time | None = Field(default=None, description="At this time or before.")
    limit: int = Field(default=50, ge=1, le=200)
    before: PositionText | None = Field(default=None, description="Entries before this revision.")


class ExportQuery(NoQuery):
    service: list[Service] = Field(default_factory=list, max_length=200, description="Only of these; repeatable.")
    environment: list[Environment] = Field(
        default_factory=list, max_length=200, description="Only of these; repeatable."
    )
    include: Literal["config"] | None = Field(default=None, description="`config` adds the contents.")
    after: Cursor | None = Field(default=None, description="`next` of the page before.")


class DiffQuery(DocumentQuery):
    from_: PositionText | None = Field(default=None, alias="from", description="By default the one before `to`.")
    to: PositionText | None = Field(default=None, description="By default the current one.")


class WatchQuery(DocumentQuery):
    service: list[Service] = Field(min_length=1, max_length=200, description="Which services; repeatable.")
    after: PositionText | None = Field(default=None, description="Only what is newer; `Last-Event-ID` comes first.")


class AuditQuery(NoQuery):
    after: str = Field(default="0", pattern=r"^[0-9]{1,18}(\.[0-9]{1,9})?$", description="`revision.ordinal`.")
    limit: int = Field(default=500, ge=1, le=1000)


LABEL_PREFIX = "label."
METADATA_PREFIX = "metadata."


class InstancesQuery(BaseModel):
    """Filters of the fleet; `label.<name>=<value>` is one for each label, and so is `metadata.<name>=<value>`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    environment: Environment | None = Field(default=None, description="By default all that the token covers.")
    state: HealthState | None = None
    capability: Label | None = None
    zone: Label | None = None
    after: Text | None = Field(default=None, description="`next` of the page before.")
    limit: int = Field(default=1_000, ge=1, le=1_000)

    @model_validator(mode="after")
    def _only_labels_besides(self) -> "InstancesQuery":
        for name, value in (self.model_extra or {}).items():
            if not name.startswith((LABEL_PREFIX, METADATA_PREFIX)):
                raise ValueError(f"there is no filter {name[:60]!r}")
            if not isinstance(value, str):
                raise ValueError(f"{name[:60]} is given more than once")
        return self

    @property
    def labels(self) -> dict[str, str]:
        return self._named(LABEL_PREFIX)

    @property
    def metadata(self) -> dict[str, str]:
        """Values of the outermost keys, texts as they are and anything else as JSON."""
        return self._named(METADATA_PREFIX)

    def _named(self, prefix: str) -> dict[str, str]:
        extra = self.model_extra or {}
        return {name.removeprefix(prefix): value for name, value in extra.items() if name.startswith(prefix)}


class HealthQuery(NoQuery):
    environment: Environment | None = Field(default=None, description="By default all that the token covers.")
    after: Text | None = Field(default=None, description="`next` of the page before.")
    limit: int = Field(default=1_000, ge=1, le=1_000)


class NotificationsQuery(NoQuery):
    state: NotificationState = Field(default=NotificationState.DEAD, description="What became of them.")
    limit: int = Field(default=100, ge=1, le=1_000)


class InfrastructureQuery(NoQuery):
    state: HealthState | None = Field(default=None, description="Only those in this state.")
    section: Section | None = Field(default=None, description="Only those of this section of the file.")


class TransitionsQuery(NoQuery):
    limit: int = Field(default=20, ge=1, le=200, description="How many of its last transitions.")


Subject = Annotated[str, *written(r"^[ -~]{1,100}$", "must have 1 to 100 printable ASCII characters")]


class AlertsQuery(NoQuery):
    state: Literal["open", "pending", "firing", "resolved"] | None = Field(
        default=None, description="`open` are the pending and the firing ones; by default all."
    )
    severity: Severity | None = None
    subject: Subject | None = Field(default=None, description="A component, a service, or a replica of the hub.")
    rule: Subject | None = None
    environment: Environment | None = None
    after: Annotated[
        str | None,
        *written(
            r"^[0-9]{1,16}/[0-9a-f]{16}$",
            "takes what the page before gave as `next`",
        ),
    ] = None
    limit: int = Field(default=100, ge=1, le=1_000)


class InstancesWatchQuery(DocumentQuery):
    service: list[Runnable] = Field(min_length=1, max_length=200, description="Which services; repeatable.")


class RouteQuery(DocumentQuery):
    policy: Policy = Field(default=Policy.ROUND_ROBIN, description="How one of several is chosen.")
    key: Text | None = Field(default=None, description="For `consistent_hash`: the same key, the same instance.")
    zone: Label | None = Field(default=None, description="For `same_zone`: where the caller is.")

    @model_validator(mode="after")
    def _policy_has_what_it_goes_by(self) -> "RouteQuery":
        check_arguments(self.policy, key=self.key, zone=self.zone)
        return self


class RedescriptionQuery(DocumentQuery):
    force: bool = Field(default=False, description="Drain it even where no other instance can be called.")


class DeregisterQuery(DocumentQuery):
    generation: int | None = Field(default=None, ge=1, le=2**53, description="Only this incarnation.")
