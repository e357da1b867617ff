"""All rows as JSON, out of a store and into an empty one. The caller owns the transaction."""

from collections.abc import AsyncIterator
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage import schema
from central_hub.storage.tables import SCHEMA_VERSION, config_audit_log, config_contents, metadata, redactions

LEFT_OUT: Final = frozenset({"duties", "hearing", "instances", "notifications", "replicas", "targets"})
"""Who is there and how it is now: hubs enter themselves when they start, instances register again when they are not
known, targets are probed anew, and what was still to be told is old by then."""

_RECORD: Final = (config_audit_log.name, config_contents.name, redactions.name)
_ROWS_AT_ONCE: Final = 50
# What a value or a reference is refused with that the tables do not take.
_REFUSED_CLASSES: Final = ("22", "23")


class RowsRefused(ValueError):
    """The tables do not take the rows. The message says which table, and never a value."""


async def size(connection: AsyncConnection) -> int:
    """How many rows the audit log has: what there is most of."""
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(config_audit_log)) or 0)


async def rows(connection: AsyncConnection) -> AsyncIterator[dict[str, str]]:
    """Every row to be kept, as JSON text by its table; an audit row together with its content and its redaction."""
    for table in metadata.sorted_tables:
        if table.name in LEFT_OUT or table.name in _RECORD[1:]:
            continue
        query = _RECORDS if table.name == config_audit_log.name else _rows_of(table)
        result = await connection.stream(query, execution_options={"yield_per": _ROWS_AT_ONCE})
        async for row in result.mappings():
            yield {name: text for name, text in row.items() if text is not None}


async def what_is_there(connection: AsyncConnection) -> str | None:
    """What stands in the way of restoring into this database, as a sentence; None where it is empty."""
    version = await schema.version(connection)
    if version is None:
        return None
    if version != SCHEMA_VERSION:
        return f"it has tables of schema version {version}"
    if revision := await connection.scalar(sa.text("SELECT revision FROM hub_state")):
        return f"it holds {revision} revisions"
    for table in metadata.sorted_tables:
        if table.name != "hub_state" and await connection.scalar(sa.select(sa.exists().select_from(table))):
            return f"its table {table.name} is not empty: a hub has run on it"
    return None


async def columns(connection: AsyncConnection) -> dict[str, frozenset[str]]:
    """The columns of every table that may be loaded."""
    found: dict[str, set[str]] = {}
    for row in await connection.execute(_COLUMNS):
        if row.table_name not in LEFT_OUT:
            found.setdefault(row.table_name, set()).add(row.column_name)
    found.pop("alembic_version", None)
    return {table: frozenset(names) for table, names in found.items()}


async def clear_state(connection: AsyncConnection) -> None:
    """Make room for the state of the hub that is restored: a migration has written that of a new one."""
    await connection.execute(sa.text("DELETE FROM hub_state"))


async def load(connection: AsyncConnection, table: str, rows_json: str) -> None:
    """Insert rows, a JSON array. The caller has checked that there is such a table. Raises RowsRefused."""
    name = connection.dialect.identifier_preparer.quote(table)
    query = f"INSERT INTO {name} SELECT * FROM json_populate_recordset(NULL::{name}, CAST(:rows AS json))"  # noqa: S608
    try:
        await connection.execute(sa.text(query), {"rows": rows_json})
    except DBAPIError as error:
        state = str(getattr(error.orig, "sqlstate", None))
        if not state.startswith(_REFUSED_CLASSES):
            raise
        # Without the error's own text: it quotes the row.
        raise RowsRefused(f"the table {table} does not take its rows (SQLSTATE {state})") from None


def _rows_of(table: sa.Table) -> Any:
    row = sa.func.row_to_json(sa.literal_column(table.name)).cast(sa.Text).label(table.name)
    return sa.select(row).select_from(table).order_by(*table.primary_key.columns)


_RECORDS: Final = sa.text("""
SELECT CAST(row_to_json(l) AS text) AS config_audit_log, CAST(row_to_json(c) AS text) AS config_contents,
       CAST(row_to_json(r) AS text) AS redactions
FROM config_audit_log l LEFT JOIN config_contents c USING (revision, ordinal)
LEFT JOIN redactions r USING (revision, ordinal)
ORDER BY l.revision, l.ordinal
""")
_COLUMNS: Final = sa.text(
    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
)
