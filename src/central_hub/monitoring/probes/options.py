"""What the file may say of a probe, per kind. Pure. The parser checks with it, the reference page comes from it."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

LARGEST_BODY_BYTES: Final = 64 * 1024


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_statuses(value: Any) -> Any:
    return (value,) if isinstance(value, int) else _as_tuple(value)


Status = Annotated[int, Field(ge=100, le=599)]
Query = Annotated[str, Field(min_length=1, max_length=10_000)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=100)]
HeaderValue = Annotated[str, Field(pattern=r"^[ -~]*$", max_length=4000)] | dict[Literal["$secret"], str]
"""The text, or a reference to it, which is revealed before the probe reads it."""
Topic = Annotated[str, Field(min_length=1, max_length=249)]


class ProbeOptions(BaseModel):
    """Unknown names are refused: an option with a typo would be one that nobody misses."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    verify: bool = Field(default=True, description="Whether the certificate is checked, where TLS is spoken.")
    ca_file: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="A file of certificate authorities to trust, PEM; by default those of the system."
    )


class HttpOptions(ProbeOptions):
    """A request. Redirects are not followed. `user` and `password`, or `token`, go along as `Authorization`."""

    method: Literal["GET", "HEAD"] = Field(default="GET", description="How it is asked.")
    path: Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=2000)] | None = Field(
        default=None, description="Path and query, in the place of those of the component's `url`."
    )
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict, description="Headers that it is asked with. A credential among them is a reference."
    )
    expect_status: Annotated[tuple[Status, ...], BeforeValidator(_as_statuses, json_schema_input_type=Any)] = Field(
        default=(), description="The statuses that are well, one or a list; none is any of 200 to 299."
    )
    contains: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="A text that must be in the first 64 KB of the answer."
    )

    @model_validator(mode="after")
    def _has_a_body(self) -> Self:
        if self.method == "HEAD" and self.contains is not None:
            raise ValueError("an answer to HEAD has no body that could contain anything")
        return self


class TcpOptions(ProbeOptions):
    """A connection is made, and TLS agreed on where the component has `options: {tls: true}`. Nothing is sent."""


class PostgresOptions(ProbeOptions):
    """Signs in and runs a query. The component's `options: {sslmode: …}` decides on TLS, by default `prefer`."""

    query: Query = Field(default="SELECT 1", description="What is run. What it returns is not looked at.")


class RedisOptions(ProbeOptions):
    """PING, after AUTH and SELECT where there is a password or a database. Redis, Valkey and DragonflyDB."""


class NatsOptions(ProbeOptions):
    """Signs in and sends a PING. A server that demands TLS gets it; `options: {tls: true}` demands it of the server."""


class ClickHouseOptions(ProbeOptions):
    """A query over HTTP. Credentials go as headers; TLS with the component's `options: {tls: true}`."""

    query: Query = Field(default="SELECT 1", description="What is run. What it returns is not looked at.")


class KafkaOptions(ProbeOptions):
    """Metadata of the cluster, from the first of the `brokers` that answers. With a `user` it signs in by SASL, as
    the component's `options: {mechanism: …}` says, by default PLAIN; TLS with `options: {tls: true}`."""

    topics: Annotated[tuple[Topic, ...], BeforeValidator(_as_tuple, json_schema_input_type=list[str])] = Field(
        default=(), description="Topics that must exist, each of their partitions with a leader."
    )
    min_brokers: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1, description="How many brokers must be in the cluster."
    )


OPTIONS: Final[Mapping[str, type[ProbeOptions]]] = {
    "http": HttpOptions,
    "tcp": TcpOptions,
    "postgres": PostgresOptions,
    "redis": RedisOptions,
    "nats": NatsOptions,
    "clickhouse": ClickHouseOptions,
    "kafka": KafkaOptions,
}
"""The kinds that the hub has by itself, and their options."""


def check_options(kind: str, options: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong with the options of a probe: the path to each, and a sentence. Those of a kind that somebody else
    wrote are his to check."""
    model = OPTIONS.get(kind)
    if model is None:
        return []
    try:
        model.model_validate(dict(options))
    except ValidationError as error:
        return [(found["loc"], _sentence(kind, found["type"], found["msg"])) for found in error.errors()]
    return []


def _sentence(kind: str, error_type: str, message: str) -> str:
    if error_type == "extra_forbidden":
        return f"is no option of the probe {kind}; it has {', '.join(sorted(OPTIONS[kind].model_fields))}"
    return message.removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
