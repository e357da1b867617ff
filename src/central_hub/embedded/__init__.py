"""A real PostgreSQL and a real nats-server as supervised children of this process: what `central-hub up` runs on.

Start reading in `servers.py`.
"""

from central_hub.embedded.servers import EmbeddedServers, Endpoints

__all__ = ["EmbeddedServers", "Endpoints"]
