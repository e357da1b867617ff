"""Asks whether somebody takes connections."""

import time

from central_hub.connections.health_probe import Probed
from central_hub.monitoring.probes.connection import Connection, endpoint
from central_hub.monitoring.probes.options import TcpOptions
from central_hub.monitoring.probes.reach import Reach, answered, tls_if_asked


async def ask(connection: Connection, options: TcpOptions, reach: Reach) -> Probed:
    """Whether a connection can be made, and TLS agreed on where it is asked for."""
    host, port = endpoint(connection)
    tls = tls_if_asked(connection.options.tls, options)
    started = time.perf_counter()
    async with reach.dial(host, port, tls):
        return answered(started)
