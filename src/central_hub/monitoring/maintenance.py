"""Which maintenance holds for a component. Pure."""

from datetime import datetime

from central_hub.monitoring.infrastructure import Infrastructure, Maintenance


def in_maintenance(infrastructure: Infrastructure, name: str, now: datetime) -> Maintenance | None:
    """The maintenance that a component is in; of several the one that ends last."""
    found = (
        maintenance
        for maintenance in infrastructure.maintenance
        if maintenance.begins_at <= now < maintenance.ends_at
        and (not maintenance.targets or name in maintenance.targets)
    )
    return max(found, key=lambda maintenance: maintenance.ends_at, default=None)
