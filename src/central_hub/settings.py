"""The hub's settings: environment variables `CENTRAL_HUB_…`, read once at the start, frozen.

The only module of the hub that reads the environment.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from central_hub.data_directory import default_data_dir
from central_hub_client.wire import DEFAULT_PORT


def editor_command() -> str | None:
    """The editor that somebody chose, as programs that open one have always found it."""
    return os.environ.get("VISUAL") or os.environ.get("EDITOR")


def process_environment() -> dict[str, str]:
    """The environment of this process: what `${NAME}` and `env://NAME` in infrastructure.yaml mean."""
    return dict(os.environ)


class HubSettings(BaseSettings):
    """Everything an operator may set. Each field is `CENTRAL_HUB_<NAME>` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="CENTRAL_HUB_", frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL as the role that runs (no UPDATE or DELETE on the audit log), libpq form.",
    )
    migration_database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL as the owner of the tables, for `migrate`, redaction and retention."
    )
    nats_url: SecretStr | None = Field(
        default=None, description="NATS with the hub's credentials; a comma-separated list names a cluster."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allowed_hosts: str = Field(
        default="",
        description="Comma-separated host names this hub answers for, besides loopback names and the address it "
        "listens on; `*` answers for all.",
    )
    tls_cert_file: Path | None = Field(default=None, description="PEM certificate chain; with the key turns on HTTPS.")
    tls_key_file: Path | None = Field(default=None, description="PEM private key of the certificate.")
    trusted_proxies: str = Field(
        default="", description="Comma-separated addresses or networks whose X-Forwarded-* headers are believed."
    )
    data_dir: Path = Field(
        default_factory=default_data_dir, description="Where the hub keeps its files (0700), and embedded servers."
    )
    admin_token_file: Path | None = Field(
        default=None, description="File of the admin token (0600); default `<data dir>/admin.token`."
    )
    signing_key_file: Path | None = Field(
        default=None, description="File of this replica's Ed25519 key (0600); default `<data dir>/signing.key`."
    )
    durability: Literal["verified", "provider"] = Field(
        default="verified",
        description="`verified` asserts fsync, full_page_writes and synchronous_commit at the start; `provider` trusts "
        "a managed database that hides them.",
    )
    max_connections: int = Field(default=4096, ge=8, description="Open HTTP connections at most; more answer 503.")
    protect_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Where more than this share of a service's instances fall silent at once, they stay listed as they "
        "were last known; 1 keeps none.",
    )
    active_checks: bool = Field(
        default=True,
        description="Whether the health endpoints of instances are asked; the same at every replica.",
    )
    infrastructure_file: Path | None = Field(
        default=None,
        description="The file of the infrastructure under the services; the hub follows its changes, not those of "
        "environment variables that it names. Without one there is no infrastructure.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    log_format: Literal["console", "json"] = Field(default="console", description="How log lines are written.")

    @property
    def admin_token_path(self) -> Path:
        return self.admin_token_file or self.data_dir / "admin.token"

    @property
    def signing_key_path(self) -> Path:
        return self.signing_key_file or self.data_dir / "signing.key"
