"""The tables. Migrations create them; this is what queries are written against.

Documents are kept as the JSON text that was accepted, not as jsonb: jsonb rewrites numbers (1e22 becomes an integer
that no double holds) and the order of keys, and then hashes no longer agree.
"""

from typing import Final

import sqlalchemy as sa

SCHEMA_VERSION: Final = "0010"
"""The migration that this code needs: the head of `migrations/versions`."""

metadata = sa.MetaData()

hub_state = sa.Table(
    "hub_state",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1"), primary_key=True),
    sa.Column("hub_id", sa.Text, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False, comment="the last commit's number: gap-free, in commit order"),
    sa.Column("audit_head", sa.Text, nullable=False, comment="entry_hash of the last audit row"),
    sa.Column("tokens_version", sa.BigInteger, nullable=False, comment="rises with every change of tokens"),
    sa.Column("system_identifier", sa.Text, comment="of the PostgreSQL cluster; another one means a restored dump"),
    sa.Column("timeline", sa.BigInteger, comment="of the PostgreSQL cluster; another one means a failover"),
)

service_configs = sa.Table(
    "service_configs",
    metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("content", sa.Text, comment="JSON text; NULL is a tombstone"),
    sa.Column("version", sa.Text, nullable=False, comment="a human label, never an identity"),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("previous_revision", sa.BigInteger),
    sa.Column("changed_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
    sa.Column("managed_by", sa.Text, comment="who looks after it from outside; NULL where nobody does"),
)

service_schemas = sa.Table(
    "service_schemas",
    metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("content", sa.Text, comment="JSON text of the JSON Schema; NULL once withdrawn"),
    sa.Column("version", sa.Text, nullable=False, comment="hash of the content"),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("previous_revision", sa.BigInteger),
    sa.Column("changed_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
    sa.Column("managed_by", sa.Text, comment="who looks after it from outside; NULL where nobody does"),
)

config_audit_log = sa.Table(
    "config_audit_log",
    metadata,
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False, comment="place within the commit, from 0"),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("changed_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("content_hash", sa.Text, nullable=False, comment="of salt and content: survives a redaction"),
    sa.Column("previous_hash", sa.Text, nullable=False),
    sa.Column("entry_hash", sa.Text, nullable=False),
    sa.Index("config_audit_log_by_document", "service", "environment", sa.text("revision DESC")),
    sa.Index("config_audit_log_by_time", "changed_at"),
)

config_contents = sa.Table(
    "config_contents",
    metadata,
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("salt", sa.LargeBinary, comment="NULL once redacted"),
    sa.Column("content", sa.Text, comment="JSON text; `null` is a deletion; NULL once redacted"),
    sa.Column("changes", sa.Text, comment="JSON text of the change list; NULL once redacted"),
    sa.ForeignKeyConstraint(["revision", "ordinal"], ["config_audit_log.revision", "config_audit_log.ordinal"]),
)

redactions = sa.Table(
    "redactions",
    metadata,
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("redacted_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("redacted_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["revision", "ordinal"], ["config_audit_log.revision", "config_audit_log.ordinal"]),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("verbs", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("services", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("environments", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("expires_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("revoked_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("revoked_by", sa.Text),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("token_id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("request_hash", sa.Text, nullable=False),
    sa.Column("revision", sa.BigInteger, comment="the commit that the request made, if it made one"),
    sa.Column("response", sa.Text, nullable=False),
    sa.Column("etag", sa.Text, nullable=False),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Index("idempotency_keys_by_age", "created_at"),
)

replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("seen_at", sa.TIMESTAMP(timezone=True), nullable=False),
)

instances = sa.Table(
    "instances",
    metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("instance_id", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False, comment="rises with every registration under this name"),
    sa.Column("secret_sha256", sa.LargeBinary, nullable=False, comment="of the incarnation secret"),
    sa.Column("host", sa.Text),
    sa.Column("port", sa.Integer),
    sa.Column("protocol", sa.Text),
    sa.Column("health_endpoint", sa.Text),
    sa.Column("version", sa.Text),
    sa.Column("build", sa.Text),
    sa.Column("capabilities", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("labels", sa.Text, nullable=False, comment="JSON text: names and texts"),
    sa.Column("metadata", sa.Text, nullable=False, comment="JSON text"),
    sa.Column("weight", sa.Integer, nullable=False),
    sa.Column("zone", sa.Text),
    sa.Column("schema_hash", sa.Text, comment="of the settings model that it runs"),
    sa.Column("lease_seconds", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("registered_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("seen_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("leased_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="the lease runs from here"),
    sa.Column("deregistered_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("applied_epoch", sa.BigInteger),
    sa.Column("applied_revision", sa.BigInteger),
    sa.Column("rejected_epoch", sa.BigInteger),
    sa.Column("rejected_revision", sa.BigInteger),
    sa.Column("rejected_reason", sa.Text),
    sa.Column("report", sa.Text, nullable=False, comment="JSON text: the keys by kind"),
    sa.Column("check_state", sa.Text, comment="of the health endpoint; null also where nothing could be measured"),
    sa.Column("check_against", sa.Integer, comment="results in a row that speak against the state"),
    sa.Column("check_reason", sa.Text),
    sa.Column("check_at", sa.TIMESTAMP(timezone=True), comment="null where it was not checked"),
    sa.Column("check_latency_ms", sa.Double),
    sa.Column("change", sa.BigInteger, nullable=False, comment="counts the changes of this row"),
    sa.Column("changed_in", sa.BigInteger, nullable=False, comment="the transaction of the last change"),
    sa.Column("drained_at", sa.TIMESTAMP(timezone=True), comment="when an operator took it out of routing"),
    sa.Column("drained_by", sa.Text, comment="the name of his token"),
    sa.Column("drain_reason", sa.Text),
)

hearing = sa.Table(
    "hearing",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1"), primary_key=True),
    sa.Column("heard_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="when a replica last listened"),
)

consumer_schemas = sa.Table(
    "consumer_schemas",
    metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("build", sa.Text, primary_key=True, comment="empty for instances that name none"),
    sa.Column("schema_hash", sa.Text, primary_key=True, comment="one build has one schema, unless its name is reused"),
    sa.Column("content", sa.Text, nullable=False, comment="JSON text of the schema"),
    sa.Column("first_seen_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("last_seen_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("pinned_at", sa.TIMESTAMP(timezone=True), comment="counts whoever runs it, and however long ago"),
    sa.Column("retired_at", sa.TIMESTAMP(timezone=True), comment="does not count until an instance registers with it"),
    sa.Column("changed_in", sa.BigInteger, nullable=False, comment="the transaction of the last change"),
)

targets = sa.Table(
    "targets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True, comment="of the component that is probed"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("since", sa.TIMESTAMP(timezone=True), nullable=False, comment="when it came into this state"),
    sa.Column("against", sa.Integer, nullable=False, comment="results in a row that speak against the state"),
    sa.Column("turns", sa.Text, nullable=False, comment="JSON text: when it last turned well or unwell, oldest first"),
    sa.Column("reason", sa.Text),
    sa.Column("latency_ms", sa.Double),
    sa.Column("probed_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("probed_by", sa.Text, nullable=False, comment="the key's id of the replica that did"),
    sa.Column("change", sa.BigInteger, nullable=False, comment="counts the changes of this row"),
    sa.Column("changed_in", sa.BigInteger, nullable=False, comment="the transaction of the last change"),
)

target_transitions = sa.Table(
    "target_transitions",
    metadata,
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("at", sa.TIMESTAMP(timezone=True), primary_key=True),
    sa.Column("from_state", sa.Text, nullable=False),
    sa.Column("to_state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
)

duties = sa.Table(
    "duties",
    metadata,
    sa.Column("name", sa.Text, primary_key=True, comment="of what one replica does for all"),
    sa.Column("holder", sa.Text, nullable=False, comment="the key's id of the replica that does it"),
    sa.Column("until", sa.TIMESTAMP(timezone=True), nullable=False, comment="when another one may take it over"),
)

alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False, comment="of rule and subject: one alert that is open has it"),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False, comment="of the condition"),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False, comment="empty where the subject has none"),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("labels", sa.Text, nullable=False, comment="JSON text: names and texts"),
    sa.Column("notify", sa.ARRAY(sa.Text), nullable=False, comment="names of channels"),
    sa.Column("state", sa.Text, nullable=False, comment="pending, firing or resolved"),
    sa.Column("since", sa.TIMESTAMP(timezone=True), nullable=False, comment="when the condition began"),
    sa.Column("fired_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("resolved_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("notified_at", sa.TIMESTAMP(timezone=True), comment="when it was last handed to the channels"),
    sa.Column("is_told", sa.Boolean, nullable=False, comment="whether it was handed to them since it fired"),
    sa.Column("absent_since", sa.TIMESTAMP(timezone=True), comment="since when its condition is not seen any more"),
    sa.Column("caused_by", sa.ARRAY(sa.Text), nullable=False, comment="components whose alerts speak for this one"),
    sa.Column("freed_at", sa.TIMESTAMP(timezone=True), comment="since when none of them does any more"),
    sa.Column("affected", sa.Text, nullable=False, comment="JSON text: who is hit by it"),
    sa.Column("acknowledged_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("acknowledged_by", sa.Text),
    sa.Column("acknowledgement", sa.Text, comment="what he said to it"),
    sa.Column("replica", sa.Text, nullable=False, comment="the one that alone can tell; empty where all can"),
    sa.Column("change", sa.BigInteger, nullable=False, comment="counts the changes of this row"),
    sa.Index("alerts_open", "fingerprint", unique=True, postgresql_where=sa.text("state <> 'resolved'")),
    sa.Index("alerts_by_time", sa.text("since DESC")),
)

silences = sa.Table(
    "silences",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("rule", sa.Text, comment="null for any"),
    sa.Column("subject", sa.Text, comment="null for any"),
    sa.Column("environment", sa.Text, comment="null for any"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("until", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("ended_at", sa.TIMESTAMP(timezone=True), comment="when somebody ended it before that"),
)

notifications = sa.Table(
    "notifications",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, comment="the receiver's key against doubles"),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False, comment="JSON text: what is told, composed with the transition"),
    sa.Column("state", sa.Text, nullable=False, comment="due, sent or dead"),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("due_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="not before then"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("claimed_by", sa.Text, comment="the key's id of the replica that sends it"),
    sa.Column("claimed_until", sa.TIMESTAMP(timezone=True)),
    sa.Column("error", sa.Text, comment="why the last attempt failed"),
    sa.Column("ended_at", sa.TIMESTAMP(timezone=True), comment="when it was sent or given up"),
    sa.Index("notifications_due", "due_at", postgresql_where=sa.text("state = 'due'")),
)

RUNNING_ROLE_GRANTS: Final = {
    "hub_state": "SELECT, UPDATE",
    "service_configs": "SELECT, INSERT, UPDATE",
    "service_schemas": "SELECT, INSERT, UPDATE",
    "config_audit_log": "SELECT, INSERT",
    "config_contents": "SELECT, INSERT",
    "redactions": "SELECT",
    "tokens": "SELECT, INSERT, UPDATE",
    "idempotency_keys": "SELECT, INSERT, DELETE",
    "replicas": "SELECT, INSERT, UPDATE, DELETE",
    "instances": "SELECT, INSERT, UPDATE, DELETE",
    "hearing": "SELECT, INSERT, UPDATE",
    "consumer_schemas": "SELECT, INSERT, UPDATE",
    "targets": "SELECT, INSERT, UPDATE, DELETE",
    "target_transitions": "SELECT, INSERT, DELETE",
    "duties": "SELECT, INSERT, UPDATE",
    "alerts": "SELECT, INSERT, UPDATE, DELETE",
    "silences": "SELECT, INSERT, UPDATE, DELETE",
    "notifications": "SELECT, INSERT, UPDATE, DELETE",
    "alembic_version": "SELECT",
}
"""What the running role may do. It can neither change nor remove what the audit log says."""
