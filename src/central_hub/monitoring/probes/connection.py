"""What a probe reads of a component's connection, once its credentials are revealed. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}


class ConnectionOptions(BaseModel):
    """Of the component's own `options`, those that say how it is spoken with."""

    model_config = ConfigDict(frozen=True, strict=True, hide_input_in_errors=True)

    tls: bool = Field(default=False, description="Whether TLS is spoken: tcp, redis, nats, clickhouse, kafka.")
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="prefer", description="PostgreSQL's own words for it. Only the last two check the certificate."
    )
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="PLAIN", description="How to sign in to Kafka."
    )


class Connection(BaseModel):
    """Where a component is and who the probe is to it. Further keys are somebody else's."""

    model_config = ConfigDict(frozen=True, strict=True, hide_input_in_errors=True)

    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    url: str | None = None
    brokers: Annotated[tuple[str, ...], BeforeValidator(tuple)] = ()
    database: str | None = None
    user: str | None = None
    password: str | None = Field(default=None, repr=False)
    token: str | None = Field(default=None, repr=False)
    nkey: str | None = Field(default=None, repr=False)
    options: ConnectionOptions = ConnectionOptions()


class Unusable(ValueError):
    """The file says something that no probe can be made of. The sentence quotes no value."""


def read_connection(revealed: Mapping[str, Any]) -> Connection:
    """Raises Unusable that names what is not right."""
    try:
        return Connection.model_validate(revealed)
    except ValidationError as error:
        wrong = sorted({".".join(map(str, found["loc"])) for found in error.errors()})
        raise Unusable(f"its connection is not right: {', '.join(wrong)}") from None


def endpoint(connection: Connection) -> tuple[str, int]:
    """The one host and port. Raises Unusable where there is none."""
    if connection.host is not None and connection.port is not None:
        return connection.host, connection.port
    if connection.url is not None:
        try:
            parts = urlsplit(connection.url)
            host, port = parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
        except ValueError:
            raise Unusable("its connection has a url that is none") from None
        if host and port:
            return host, port
    if connection.brokers:
        return brokers(connection)[0]
    raise Unusable("its connection has no host and port")


def brokers(connection: Connection) -> list[tuple[str, int]]:
    """Each broker as host and port. Raises Unusable where there is none, or one that is not `host:port`."""
    found = []
    for broker in connection.brokers:
        host, _, port = broker.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise Unusable("its connection has a broker that is not host:port")
        found.append((host.strip("[]"), int(port)))
    return found or [endpoint(connection.model_copy(update={"brokers": ()}))]
