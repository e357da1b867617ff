"""What instances send. Unknown fields are ignored here: a newer client must be able to talk to an older hub."""

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from central_hub.api.v1.bodies import integer
from central_hub.api.v1.queries import Environment, Label, Runnable, Text
from central_hub.coordination.manager import Claim, DrainOrder, Model
from central_hub.security.tokens import sha256
from central_hub.storage.instance_values import Description, Rejection, Report, Stance
from central_hub_client import strict_json
from central_hub_client.strict_json import MAX_INTEGER, escape_pointer
from central_hub_client.wire import DEFAULT_ENVIRONMENT, HealthState, Position, is_instance_id

MAX_METADATA_BYTES: Final = 16 * 1024
MAX_SCHEMA_BYTES: Final = 256 * 1024


def _instance_id(name: str) -> str:
    if not is_instance_id(name):
        raise ValueError("must have 1 to 200 characters a-z, A-Z, 0-9, . _ : @ + -, and start with a letter or digit")
    return name


def _small(metadata: dict[str, Any]) -> dict[str, Any]:
    text = strict_json.canonical(metadata)
    if len(text) > MAX_METADATA_BYTES:
        raise ValueError(f"must not have more than {MAX_METADATA_BYTES // 1024} KiB")
    strict_json.parse(text)  # integers: the body was read with those of schemas in mind
    strict_json.check_limits(metadata)
    return metadata


def _storable_schema(schema: dict[str, Any]) -> dict[str, Any]:
    if len(strict_json.canonical(schema)) > MAX_SCHEMA_BYTES:
        raise ValueError(f"must not have more than {MAX_SCHEMA_BYTES // 1024} KiB")
    return schema


def _pointer(key: str) -> str:
    """A key as a JSON Pointer; a client that names it with dots is understood as well."""
    if key == "" or key.startswith("/"):
        return key
    return "".join(f"/{escape_pointer(step)}" for step in key.split("."))


# The limits stand before the validator, or the documentation would lose them.
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER), BeforeValidator(integer)]
Generation = Annotated[int, Field(ge=1, le=MAX_INTEGER), BeforeValidator(integer)]
Port = Annotated[int, Field(ge=1, le=65_535), BeforeValidator(integer)]
Weight = Annotated[int, Field(ge=0, le=1_000), BeforeValidator(integer)]
LeaseSeconds = Annotated[int, Field(ge=5, le=3_600), BeforeValidator(integer)]
InstanceId = Annotated[
    str,
    AfterValidator(_instance_id),
    Field(json_schema_extra={"pattern": "^(?!route$)[A-Za-z0-9][A-Za-z0-9._:@+-]{0,199}$"}),
]
Secret = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]
Printable = Annotated[str, Field(pattern=r"^[!-~]{1,255}$")]
LabelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
LabelValue = Annotated[Text, Field(max_length=200)]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=64, json_schema_extra={"additionalProperties": False})]
Metadata = Annotated[dict[str, Any], AfterValidator(_small)]
JsonSchema = Annotated[dict[str, Any], AfterValidator(_storable_schema)]
SchemaHash = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
ReportedState = Literal["starting", "healthy", "degraded", "unhealthy", "draining"]
KeyPath = Annotated[Text, Field(max_length=500), AfterValidator(_pointer)]
Keys = Annotated[list[KeyPath], Field(max_length=1_000)]

assert {*get_args(ReportedState), "expired"} == {str(state) for state in HealthState}  # noqa: S101 - of this module


class Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Described(Lenient):
    """What an instance says of itself."""

    host: Printable | None = None
    port: Port | None = None
    protocol: Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]{0,31}$")] | None = None
    health_endpoint: Annotated[str, Field(pattern=r"^[!-~]{1,500}$")] | None = None
    version: Label | None = None
    build: Annotated[str, Field(pattern=r"^[!-~]{1,128}$")] | None = None
    capabilities: list[Label] | None = Field(default=None, max_length=64)
    labels: Labels | None = None
    metadata: Metadata | None = None
    weight: Weight | None = None
    zone: Label | None = None
    json_schema: JsonSchema | None = Field(default=None, alias="schema")
    schema_hash: SchemaHash | None = None

    @property
    def model(self) -> Model | None:
        return Model.of(self.json_schema, self.schema_hash)

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of a Description that are told."""
        names = Description.__dataclass_fields__
        told = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return told | ({"capabilities": tuple(told["capabilities"])} if "capabilities" in told else {})


class Registration(Described):
    name: Runnable
    environment: Environment = DEFAULT_ENVIRONMENT
    instance_id: InstanceId | None = None
    lease_seconds: LeaseSeconds = 30


class Redescription(Described):
    """The fields that are told replace those that were; with `generation`, only of that incarnation."""

    generation: Generation | None = None
    drain: bool | None = Field(
        default=None,
        description="Take it out of routing, whatever its heartbeats say, or put it back. A new registration is not"
        " drained.",
    )
    reason: Annotated[Text, Field(max_length=200)] | None = Field(default=None, description="With `drain`: why.")

    def order(self, by: str, *, force: bool) -> DrainOrder | None:
        """What is to be done about routing, wanted by the token of this name."""
        return None if self.drain is None else DrainOrder(self.drain, by, self.reason, force)


class Applied(Lenient):
    epoch: Count
    revision: Count

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.revision)


class Rejected(Applied):
    reason: Text = ""


class KeyReport(Lenient):
    unknown: Keys = Field(default_factory=list)
    shadowed: Keys = Field(default_factory=list)
    defaulted: Keys = Field(default_factory=list)
    unread: Keys = Field(default_factory=list)
    local_keys: Keys = Field(default_factory=list)


class Heartbeat(Lenient):
    """`applied` and `rejected` belong together: one that names either of them says how it stands to both."""

    service: Runnable
    instance_id: InstanceId
    generation: Generation
    incarnation_secret: Secret
    state: ReportedState | None = None
    applied: Applied | None = None
    rejected: Rejected | None = None
    report: KeyReport | None = None

    @property
    def claim(self) -> Claim:
        return Claim(self.service, self.instance_id, self.generation, sha256(self.incarnation_secret))

    @property
    def reported_state(self) -> HealthState | None:
        return None if self.state is None else HealthState(self.state)

    @property
    def stance(self) -> Stance | None:
        if self.applied is None and self.rejected is None:
            return None
        return Stance(
            None if self.applied is None else self.applied.position,
            None if self.rejected is None else Rejection(self.rejected.position, self.rejected.reason),
        )

    @property
    def key_report(self) -> Report | None:
        if self.report is None:
            return None
        return Report(**{kind: tuple(keys) for kind, keys in self.report})
