"""What may stand in infrastructure.yaml: its keys, their types and what they mean. Pure.

The reference page and the JSON Schema are written from here. What names have to do with each other is held together in
`file_names.py`.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from central_hub.monitoring.component_types import TYPES
from central_hub.monitoring.condition import ConditionKind
from central_hub.monitoring.infrastructure import Need as NeedOfComponent
from central_hub.monitoring.rules import Severity as SeverityOfRule
from central_hub.monitoring.summary import check_summary
from central_hub_client.wire import HealthState, is_environment_name, is_service_name

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,98}[a-z0-9])?\Z")
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]{1,253}\Z")
_BROKER: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}\Z")
_URL: Final = re.compile(r"https?://[^\s/?#]+\S*\Z")
A_YEAR: Final = 366 * 86_400
"""In seconds. What no time can be reckoned with would stop all alerts, not those of its rule alone."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[Zz]|[+-]\d\d:\d\d)\Z")


def refused(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{sentence}", {"sentence": sentence})


def _matching(pattern: re.Pattern[str], rule: str) -> AfterValidator:
    def check(text: str) -> str:
        if pattern.match(text) is None:
            raise refused(rule)
        return text

    return AfterValidator(check)


def _service(name: str) -> str:
    if not is_service_name(name):
        raise refused("is no name of a service: lower-case letters, digits and hyphens, and no reserved word")
    return name


def _environment(name: str) -> str:
    if not is_environment_name(name):
        raise refused("is no name of an environment: lower-case letters, digits and hyphens, at most 40")
    return name


def _time(value: Any) -> datetime:
    try:
        if isinstance(value, str) and _TIME.match(value):
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise refused("must be a time with its zone, such as 2026-12-05T22:00:00Z")


def _nothing_is_empty(value: Any) -> Any:
    return {} if value is None else value


def _no_items(value: Any) -> Any:
    return [] if value is None else value


Name = Annotated[str, _matching(_NAME, "must be lower-case letters, digits and hyphens, at most 100")]
ServiceName = Annotated[str, AfterValidator(_service)]
EnvironmentName = Annotated[str, AfterValidator(_environment)]
Text = Annotated[str, Field(max_length=2000)]
Word = Annotated[str, Field(min_length=1, max_length=200)]
Labels = dict[Annotated[str, Field(min_length=1, max_length=63)], Annotated[str, Field(max_length=200)]]
Host = Annotated[str, _matching(_HOST, "must be a host name or an address")]
Port = Annotated[int, Field(ge=1, le=65535)]
Broker = Annotated[str, _matching(_BROKER, "must be host:port")]
Url = Annotated[str, Field(max_length=2000), _matching(_URL, "must begin with http:// or https:// and a host")]
Time = Annotated[datetime, BeforeValidator(_time, json_schema_input_type=str)]
Summary = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(check_summary)]
Need = Annotated[NeedOfComponent, Field(strict=False)]
State = Annotated[HealthState, Field(strict=False)]
Severity = Annotated[SeverityOfRule, Field(strict=False)]
Credential = Annotated[dict[str, str], Field(json_schema_extra={"x-secret": True})]
"""A reference: `{"$secret": …}`. Nothing else gets as far as the models (`file_values.py`)."""


class _Part(BaseModel):
    """Unknown keys are refused, and nothing is taken for something else: a typo must not act as a default."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Probe(_Part):
    """How a component is probed. Further keys are those of the kind of probe, such as `query` or `path`."""

    model_config = ConfigDict(extra="allow")

    enabled: bool = Field(default=True, description="Whether it is probed at all.")
    kind: Word | None = Field(default=None, description="The kind of probe, where the type does not say it.")
    interval_seconds: float = Field(default=10.0, ge=1, le=86400, description="Time from one probe to the next.")
    timeout_seconds: float = Field(
        default=3.0, gt=0, description="How long one probe may take; less than the interval.", validate_default=True
    )
    failures: int = Field(default=3, ge=1, le=1000, description="Failures in a row that make it unhealthy.")
    successes: int = Field(default=2, ge=1, le=1000, description="Successes in a row that make it healthy again.")

    @field_validator("timeout_seconds")
    @classmethod
    def _ends_before_the_next(cls, value: float, info: ValidationInfo) -> float:
        if value >= info.data.get("interval_seconds", float("inf")):
            raise refused("timeout_seconds must be less than interval_seconds")
        return value

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Component(_Part):
    """Something that services run on."""

    type: Word = Field(description=f"What it is: {', '.join(TYPES)}; or anything else, together with `probe.kind`.")
    description: Text = Field(default="", description="For people.")
    host: Host | None = Field(default=None, description="A host name or an address.")
    port: Port | None = Field(default=None, description="The port.")
    url: Url | None = Field(default=None, description="Of an HTTP endpoint. Without user or password.")
    brokers: list[Broker] | None = Field(default=None, min_length=1, description="Of Kafka, each as host:port.")
    database: Word | None = Field(default=None, description="The database on the server.")
    user: Word | None = Field(default=None, description="Who the services and the probe are to it.")
    password: Credential | None = Field(default=None, description="A reference to the password.")
    token: Credential | None = Field(default=None, description="A reference to a token.")
    nkey: Credential | None = Field(default=None, description="A reference to the seed of an nkey.")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Whatever else a connection needs, such as `sslmode`. What is named like a credential is one.",
    )
    labels: Labels = Field(default_factory=dict, description="Labels of the component, for rules and dashboards.")
    depends_on: dict[str, Need] = Field(
        default_factory=dict, description="Components that it depends on, each `required` or `optional`."
    )
    probe: Probe = Field(default_factory=Probe, description="How it is probed.")


class Maintenance(_Part):
    """A time in which what the targets do is no reason for an alert."""

    targets: list[str] = Field(default_factory=list, description="Components; none named is all of them.")
    begins_at: Time = Field(alias="from", description="When it begins, with the time zone.")
    ends_at: Time = Field(alias="until", description="When it ends, with the time zone.")
    reason: Word = Field(description="For people.")

    @field_validator("ends_at")
    @classmethod
    def _ends_later(cls, value: datetime, info: ValidationInfo) -> datetime:
        if "begins_at" in info.data and value <= info.data["begins_at"]:
            raise refused("must be later than `from`")
        return value


class LogChannel(_Part):
    """The log of the hub."""

    type: Literal["log"]


class WebhookChannel(_Part):
    """An HTTP endpoint that is sent signed JSON."""

    type: Literal["webhook"]
    url: Url = Field(description="Where alerts are sent.")
    secret: Credential | Annotated[list[Credential], Field(min_length=1, max_length=8)] = Field(
        description="A reference to what signs the messages; a list while one is replaced by another."
    )
    allow_private: bool = Field(
        default=False, description="Whether the address may be one of a private network, or of this machine."
    )
    ca_file: Word | None = Field(default=None, description="Certificates that the receiver's is held against, PEM.")


class AppriseChannel(_Part):
    """Whatever Apprise speaks: chat, mail, telephone."""

    type: Literal["apprise"]
    url: Credential = Field(description="A reference to the URL of Apprise, which is a credential.")


class NatsChannel(_Part):
    """The bus of the hub."""

    type: Literal["nats"]


CHANNELS: Final[dict[str, type[_Part]]] = {
    "log": LogChannel,
    "webhook": WebhookChannel,
    "apprise": AppriseChannel,
    "nats": NatsChannel,
}
Channel = Annotated[LogChannel | WebhookChannel | AppriseChannel | NatsChannel, Field(discriminator="type")]


class When(_Part):
    """What a rule looks at: exactly one kind of condition, and what it is narrowed to."""

    infrastructure: list[State] | None = Field(default=None, description="Components in these states; none is any.")
    service: list[State] | None = Field(default=None, description="Services in these states; none is any.")
    config_rejected: Literal[True] | None = Field(default=None, description="Instances refuse their configuration.")
    config_not_converged: Literal[True] | None = Field(
        default=None, description="Instances that are alive do not run the latest revision."
    )
    audit_broken: Literal[True] | None = Field(default=None, description="The audit log does not verify.")
    replica_lagging: Literal[True] | None = Field(default=None, description="A replica of the hub falls behind.")
    replica_fenced: Literal[True] | None = Field(
        default=None, description="A replica of the hub is ahead of its store, and serves no more."
    )
    store_unreachable: Literal[True] | None = Field(
        default=None, description="A replica of the hub does not reach PostgreSQL."
    )
    names: list[Word] = Field(default_factory=list, description="Only these components or services; none is any.")
    environments: list[EnvironmentName] = Field(default_factory=list, description="Only there; none is anywhere.")
    labels: Labels = Field(default_factory=dict, description="Only what has these labels.")

    @model_validator(mode="after")
    def _is_for_one_kind(self) -> Self:
        if len(self._kinds()) != 1:
            raise refused(f"needs exactly one of {', '.join(ConditionKind)}")
        return self

    def _kinds(self) -> list[ConditionKind]:
        return [kind for kind in ConditionKind if getattr(self, kind) is not None]

    @property
    def kind(self) -> ConditionKind:
        return self._kinds()[0]

    @property
    def states(self) -> frozenset[str]:
        return frozenset(map(str, self.infrastructure or self.service or ()))


class Rule(_Part):
    """What is worth telling. With the name of a rule that the hub has by itself, what is given replaces that of it; a
    rule of another name needs `when`, `severity` and `summary`."""

    when: When | None = Field(default=None, description="What it looks at.")
    severity: Severity | None = Field(default=None, description="How much it matters.")
    summary: Summary | None = Field(
        default=None,
        description="The sentence that is sent, with {subject}, {state}, {environment}, {reason}, {since}, {severity},"
        " {rule} and {affected} in it.",
    )
    for_seconds: float = Field(default=0.0, ge=0, le=A_YEAR, description="How long it lasts before it is told.")
    cooldown_seconds: float = Field(default=300.0, ge=0, le=A_YEAR, description="How long the same is not told again.")
    labels: Labels = Field(default_factory=dict, description="Labels of the alert.")
    notify: list[str] = Field(default_factory=lambda: ["log"], description="The channels that it is sent to.")
    enabled: bool = Field(default=True, description="Whether it counts.")


class Alerts(_Part):
    """Rules, and the channels by which people are told."""

    channels: Annotated[dict[Name, Channel], BeforeValidator(_nothing_is_empty)] = Field(
        default_factory=dict, description="Channels by name. `log` and `nats` are always there."
    )
    rules: Annotated[dict[Name, Rule], BeforeValidator(_nothing_is_empty)] = Field(
        default_factory=dict, description="Rules by name."
    )


Components = Annotated[dict[Name, Component], BeforeValidator(_nothing_is_empty)]


class File(_Part):
    """The whole file."""

    version: Literal[1] = Field(description="The version of the format.")
    databases: Components = Field(default_factory=dict, description="Databases and caches by name.")
    messaging: Components = Field(default_factory=dict, description="Brokers by name.")
    endpoints: Components = Field(default_factory=dict, description="Everything else that is asked, by name.")
    services: Annotated[dict[ServiceName, dict[str, Need]], BeforeValidator(_nothing_is_empty)] = Field(
        default_factory=dict,
        description="For each service the components that it depends on, each `required` or `optional`.",
    )
    maintenance: Annotated[list[Maintenance], BeforeValidator(_no_items)] = Field(
        default_factory=list, description="Times in which nothing is told of some components."
    )
    alerts: Annotated[Alerts, BeforeValidator(_nothing_is_empty)] = Field(
        default_factory=Alerts, description="What is told to whom."
    )
