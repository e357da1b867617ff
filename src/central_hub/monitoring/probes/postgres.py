"""Asks a PostgreSQL server by a query."""

import time
from contextlib import suppress
from typing import Any, Final

import asyncpg

from central_hub.connections.health_probe import Probed, failure
from central_hub.monitoring.probes.connection import Connection, endpoint
from central_hub.monitoring.probes.options import PostgresOptions
from central_hub.monitoring.probes.reach import Reach, answered, tls_context
from central_hub.monitoring.probes.wires import Wires

_CLOSE_SECONDS: Final = 0.5
_REASONS: Final = {
    "28": "the credentials were refused",
    "3D": "the database does not exist",
    "42501": "the user may not do this",
    "42": "the query is wrong",
    "53300": "it has too many connections",
    "53": "it is short of a resource",
    "57014": "the query was cancelled",
    "57P": "it is starting or stopping",
    "25006": "it takes no writes",
}
"""By the beginning of the SQLSTATE, the longest first that fits.
https://www.postgresql.org/docs/current/errcodes-appendix.html"""


async def ask(connection: Connection, options: PostgresOptions, reach: Reach) -> Probed:
    """Whether it lets the probe in and runs the query."""
    host, port = endpoint(connection)
    user = connection.user or "postgres"
    addresses = await reach.addresses(host)
    started = time.perf_counter()
    try:
        with Wires(host) as wires:
            # Whatever is not given here, asyncpg takes from the environment of the hub: that is not for this server.
            server = await asyncpg.connect(
                host=addresses,
                port=port,
                user=user,
                password=connection.password or "",
                database=connection.database or user,
                ssl=_tls(connection.options.sslmode, options),
                direct_tls=False,
                target_session_attrs="any",
                server_settings={"application_name": "central-hub probe"},
                statement_cache_size=0,
                timeout=None,
                loop=wires,
            )
            try:
                await server.execute(options.query)
                return answered(started)
            finally:
                # A query that is left in the middle is cancelled at the server, for which close() waits a little.
                with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await server.close(timeout=_CLOSE_SECONDS)
                server.terminate()
    except asyncpg.PostgresError as error:
        return Probed(False, _reason(error.sqlstate or ""))
    except (asyncpg.InterfaceError, asyncpg.InternalClientError):
        return Probed(False, "what answers is no PostgreSQL")
    except OSError as error:
        # The one thing that asyncpg tells by its words alone.
        return Probed(False, "it does not speak TLS") if "rejected SSL upgrade" in str(error) else failure(error)


def _tls(mode: str, options: PostgresOptions) -> Any:
    """What asyncpg is to do about TLS: `prefer` and `allow` are its own words, for they try both ways."""
    if mode == "disable":
        return False
    if mode in ("prefer", "allow"):
        return mode
    if mode == "require" or not options.verify:
        return tls_context(options.model_copy(update={"verify": False}))
    return tls_context(options, whatever_the_name=mode == "verify-ca")


def _reason(sqlstate: str) -> str:
    """In the words of the table; the message of a server may quote what is nobody's business."""
    for length in (5, 3, 2):
        if meaning := _REASONS.get(sqlstate[:length]):
            return f"{meaning} (SQLSTATE {sqlstate})"
    return f"it answers with an error (SQLSTATE {sqlstate})" if sqlstate.isalnum() else "it answers with an error"
