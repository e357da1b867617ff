"""Request bodies beside plain documents. Parsed from strict JSON; unknown and server-owned fields are refused."""

from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from central_hub.api.v1.queries import POSITION, POSITION_TEXT, Allowance, Environment, Label, Service, Text, written
from central_hub.errors import Finding, InvalidRequest
from central_hub.security.tokens import Verb
from central_hub_client.strict_json import escape_pointer
from central_hub_client.wire import DEFAULT_ENVIRONMENT

Model = TypeVar("Model", bound=BaseModel)


def _revision_text(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # to JSON, 7.0 is the integer 7
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else value


Revision = Annotated[
    str,
    BeforeValidator(
        _revision_text,
        json_schema_input_type=Annotated[int, Field(ge=0, lt=10**15)] | Annotated[str, Field(pattern=POSITION)],
    ),
    POSITION_TEXT[0],
]


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be an RFC 3339 time")
    return value


Time = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_text)]


def integer(value: Any) -> Any:
    """What a number is taken for where an integer is asked for: to JSON, 7.0 is the integer 7."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Update(Strict):
    """The body of an update, where the path names the service."""

    config: dict[str, Any]
    environment: Environment = DEFAULT_ENVIRONMENT
    version: Label | None = None
    mode: Literal["replace", "merge"] = "replace"
    expected_revision: Revision | None = None
    allow: list[Allowance] = Field(default_factory=list, max_length=64)
    reason: Text | None = None
    dry_run: bool = False


class NamedUpdate(Update):
    """The body of an update that names its service."""

    service: Service


MAX_UPDATES: Final = 128


class SchemaUpdate(Strict):
    """The JSON Schema of a service, registered in a transaction."""

    service: Service
    environment: Environment = DEFAULT_ENVIRONMENT
    json_schema: dict[str, Any] = Field(alias="schema")
    expected_revision: Revision | None = Field(default=None, description="Of the schema itself.")
    reason: Text | None = None
    dry_run: bool = False


class Deletion(Strict):
    """A document that ends, or a schema that is withdrawn, in a transaction."""

    service: Service
    environment: Environment = DEFAULT_ENVIRONMENT
    delete: Literal["document", "schema"]
    expected_revision: Revision | None = Field(default=None, description="A document is not deleted without.")
    reason: Text | None = None
    dry_run: bool = False


def _form(update: Any) -> str:
    fields = update if isinstance(update, dict) else {}
    return _SCHEMA if "schema" in fields else _DELETION if "delete" in fields else _DOCUMENT


# No name of a field: the way to what is wrong is told without them.
_DOCUMENT, _SCHEMA, _DELETION = "<document>", "<schema>", "<deletion>"
_FORMS: Final = frozenset({_DOCUMENT, _SCHEMA, _DELETION})
TransactionUpdate = Annotated[
    Annotated[NamedUpdate, Tag(_DOCUMENT)]
    | Annotated[SchemaUpdate, Tag(_SCHEMA)]
    | Annotated[Deletion, Tag(_DELETION)],
    Discriminator(_form),
]


class TransactionBody(Strict):
    """Several documents and schemas that become one revision, or none of them."""

    updates: list[TransactionUpdate] = Field(min_length=1, max_length=MAX_UPDATES)
    reason: Text | None = Field(default=None, description="Of every update that gives none of its own.")
    dry_run: bool = Field(default=False, description="As if every update said so.")
    managed_by: Label | None = Field(
        default=None, description="Who looks after all of these from outside: other writers are warned."
    )

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing shall be stored. Raises InvalidRequest where that is only meant of some."""
        trials = {update.dry_run for update in self.updates}
        if trials == {True, False} and not self.dry_run:
            raise InvalidRequest("dry_run: all updates or none, for they are stored together")
        return self.dry_run or trials == {True}


class WholeRollback(Strict):
    """The body that takes back a whole revision."""

    revision: Revision
    reason: Text | None = None
    allow: list[Allowance] = Field(default_factory=list, max_length=64)
    dry_run: bool = False


class Rollback(Strict):
    revision: Revision
    environment: Environment = DEFAULT_ENVIRONMENT
    reason: Text | None = None
    expected_revision: Revision | None = None
    allow: list[Allowance] = Field(default_factory=list, max_length=64)


Build = Annotated[str, *written(r"^[!-~]{1,128}$", "a build has 1 to 128 printable ASCII characters, no spaces")]


class Pin(Strict):
    """The builds that count; with `schema`, one build that no instance has run yet."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"properties": {"schema": {"type": "null"}}},
                {"properties": {"builds": {"minItems": 1, "maxItems": 1}}},
            ]
        }
    )

    builds: list[Build] = Field(max_length=200)
    environment: Environment = DEFAULT_ENVIRONMENT
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")


class Retire(Strict):
    """A build that counts no more; by default with all its schemas. The one without a name is named by ''."""

    build: Build | Literal[""]
    environment: Environment = DEFAULT_ENVIRONMENT
    schema_hash: Annotated[str, *written(r"^sha256:[0-9a-f]{64}$", "a hash is written sha256:…")] | None = None


class Acknowledgement(Strict):
    """That somebody looks after an alert."""

    comment: Text | None = None


# The limits stand before the validator, or the documentation would lose them.
_Seconds = Annotated[int, Field(ge=1, le=366 * 86_400), BeforeValidator(integer)]


class NewSilence(Strict):
    """Until when an alert is not told: a time, or so many seconds from now."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["until"], "properties": {"until": {"type": "string"}, "for_seconds": {"type": "null"}}},
                {
                    "required": ["for_seconds"],
                    "properties": {"for_seconds": {"type": "integer"}, "until": {"type": "null"}},
                },
            ]
        }
    )

    until: Time | None = None
    for_seconds: _Seconds | None = None
    reason: Text = ""

    @model_validator(mode="after")
    def _ends_once(self) -> "NewSilence":
        if (self.until is None) == (self.for_seconds is None):
            raise ValueError("give until or for_seconds")
        return self


class TriedChannel(Strict):
    """Where to send a test."""

    channel: Label


Pattern = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^(_global|[a-z0-9*-]+)$")]


class NewToken(Strict):
    name: Label
    verbs: list[Annotated[Verb, Field(strict=False)]] = Field(min_length=1)
    services: list[Pattern] = Field(max_length=100)
    environments: list[Pattern] = Field(max_length=100)
    expires_at: Time | None = None


def parse(model: type[Model], value: Any) -> Model:
    """The body as a model. Raises InvalidRequest with a finding for every field that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        # Without the input: a field may hold a secret.
        findings = [
            Finding(
                "".join(f"/{escape_pointer(str(part))}" for part in problem["loc"] if part not in _FORMS),
                "invalid_request",
                problem["msg"],
            )
            for problem in error.errors(include_input=False, include_url=False, include_context=False)
        ][:100]
        raise InvalidRequest(
            "; ".join(f"{finding.pointer or 'the body'}: {finding.message}" for finding in findings[:3]),
            errors=findings,
        ) from error
