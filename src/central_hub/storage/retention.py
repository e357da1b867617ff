"""Contents of the history that are not to be kept any longer, removed as the owner of the tables.

The caller owns the transaction. An audit row stays, and so does the chain, which covers a salted hash of the content;
of its change list the places stay. So who changed which key, when and why is known for ever. A content stays while it
is live or something refers to it:

- it was in force at the given moment or since, so that every config of that time can be shown with all its layers;
- it is among the latest of its document or schema;
- an instance says that it runs on it, or that it refused it;
- the answer to a retried request tells of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

LEAST_KEPT: Final = 2
"""Of every document and schema: what is live, and what it replaced."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept: contents in force since `since`, and the latest `keep` of every document and schema."""

    since: datetime
    keep: int

    def __post_init__(self) -> None:
        if self.keep < LEAST_KEPT:
            raise ValueError(f"{LEAST_KEPT} contents of every document are kept at least")


@dataclass(frozen=True, slots=True)
class Amount:
    """How much a policy removes."""

    contents: int
    bytes: int


async def find(connection: AsyncConnection, policy: Policy) -> Amount:
    """How much there is to remove."""
    row = (await connection.execute(_FIND, _values(policy))).one()
    return Amount(row.contents, row.bytes)


async def remove(connection: AsyncConnection, policy: Policy, *, limit: int, by: str, at: datetime, reason: str) -> int:
    """Remove the oldest `limit` of it and record that they were removed; returns how many those were."""
    values = {**_values(policy), "limit": limit, "by": by, "at": at, "reason": reason}
    return int((await connection.execute(_REMOVE, values)).scalar_one())


def _values(policy: Policy) -> Mapping[str, Any]:
    return {"since": policy.since, "keep": policy.keep}


# An instance that names a revision means all that was in force then, in every layer.
_GONE: Final = """
named AS (
    SELECT DISTINCT layer.service, layer.environment, revision
    FROM instances i, unnest(ARRAY[i.applied_revision, i.rejected_revision]) AS revision,
         LATERAL (VALUES (i.service, i.environment), (i.service, 'default'),
                         ('_global', i.environment), ('_global', 'default')) AS layer (service, environment)
), gone AS (
    SELECT l.revision, l.ordinal FROM (
        SELECT revision, ordinal, service, environment,
               lead(revision) OVER following AS superseded_by,
               lead(changed_at) OVER following AS superseded_at,
               row_number() OVER latest AS place
        FROM config_audit_log
        WINDOW following AS (PARTITION BY service, environment, action = 'schema' ORDER BY revision),
               latest AS (PARTITION BY service, environment, action = 'schema' ORDER BY revision DESC)
    ) l JOIN config_contents c USING (revision, ordinal)
    WHERE l.superseded_at < :since AND l.place > :keep AND c.salt IS NOT NULL
      AND NOT EXISTS (SELECT FROM idempotency_keys k WHERE k.revision = l.revision)
      AND NOT EXISTS (
          SELECT FROM named n WHERE n.service = l.service AND n.environment = l.environment
          AND n.revision >= l.revision AND n.revision < l.superseded_by)
)
"""
_FIND: Final = sa.text(
    f"WITH {_GONE} SELECT count(*) AS contents, coalesce(sum(octet_length(c.content)), 0) AS bytes"  # noqa: S608
    " FROM gone JOIN config_contents c USING (revision, ordinal)"
)
# As json, not jsonb: keys and numbers stay as they were spelled.
_REMOVE: Final = sa.text(f"""
WITH {_GONE}, removed AS (
    UPDATE config_contents c SET salt = NULL, content = NULL, changes = CASE WHEN c.changes IS NOT NULL THEN (
        SELECT CAST(coalesce(json_agg(json_build_object('op', change -> 'op', 'path', change -> 'path') ORDER BY place),
                             '[]') AS text)
        FROM json_array_elements(CAST(c.changes AS json)) WITH ORDINALITY AS changes (change, place)) END
    FROM (SELECT * FROM gone ORDER BY revision, ordinal LIMIT :limit) oldest
    WHERE c.revision = oldest.revision AND c.ordinal = oldest.ordinal
    RETURNING c.revision, c.ordinal
), recorded AS (
    INSERT INTO redactions (revision, ordinal, redacted_at, redacted_by, reason)
    SELECT revision, ordinal, :at, :by, :reason FROM removed
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM removed
""")  # noqa: S608
