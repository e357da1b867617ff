"""Something that is amiss, as the rules of alerts look at it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class ConditionKind(StrEnum):
    """What can be amiss; a rule is for one kind."""

    INFRASTRUCTURE = "infrastructure"
    """A component is in a state."""
    SERVICE = "service"
    """A service, in one environment, is in a state."""
    CONFIG_REJECTED = "config_rejected"
    """Instances refuse the revision that they were sent."""
    CONFIG_NOT_CONVERGED = "config_not_converged"
    """Instances that are alive do not run the latest revision."""
    AUDIT_BROKEN = "audit_broken"
    """The chain of the audit log does not verify."""
    REPLICA_LAGGING = "replica_lagging"
    """A replica of the hub has not reached the end of the log for a while."""
    REPLICA_FENCED = "replica_fenced"
    """A replica of the hub is ahead of its store, and serves no more."""
    STORE_UNREACHABLE = "store_unreachable"
    """A replica of the hub does not reach PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is amiss now. `subject` is what it is about: a component, a service, or a replica of the hub.

    `replica` is the one that alone can tell, where that is so; what everybody can see has none.
    """

    kind: ConditionKind
    subject: str
    since: datetime
    reason: str
    state: str = ""
    environment: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    replica: str = ""
