"""Instances and heartbeats to decide about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from central_hub.security.tokens import sha256
from central_hub.storage.instance_values import Beat, Description, Instance, Rejection, Report, Stance
from central_hub_client.wire import HealthState, Position

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
SECRET = "the secret of this incarnation"


def instance(**changes: Any) -> Instance:
    made = Instance(
        service="billing",
        environment="default",
        instance_id="one",
        generation=2,
        secret_sha256=sha256(SECRET),
        description=Description(),
        schema_hash=None,
        lease_seconds=30,
        state=HealthState.HEALTHY,
        registered_at=NOW,
        seen_at=NOW,
        leased_at=NOW,
        deregistered_at=None,
        stance=Stance(),
        report=Report(),
        change=1,
    )
    return replace(made, **changes)


positions = st.builds(Position, st.integers(1, 3), st.integers(0, 9))
stances = st.builds(
    Stance, st.none() | positions, st.none() | st.builds(Rejection, positions, st.sampled_from(["no", "never"]))
)
reports = st.builds(Report, unread=st.lists(st.sampled_from(["/a", "/b", "/c"]), max_size=2).map(tuple))
states = st.sampled_from([state for state in HealthState if state is not HealthState.EXPIRED])
moments = st.integers(0, 100).map(lambda seconds: NOW + timedelta(seconds=seconds))


CURRENT = st.just(2)


def beats(generations: st.SearchStrategy[int] = CURRENT) -> st.SearchStrategy[Beat]:
    return st.builds(
        Beat,
        st.just(("billing", "default", "one")),
        generations,
        moments,
        st.none() | states,
        st.none() | stances,
        st.none() | reports,
    )
