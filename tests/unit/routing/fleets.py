"""Instances to choose from."""

from dataclasses import dataclass

from hypothesis import strategies as st


@dataclass(frozen=True)
class Member:
    """All that routing looks at."""

    instance_id: str
    state: str = "healthy"
    weight: int = 1
    zone: str | None = None


STATES = ("starting", "healthy", "degraded", "unhealthy", "draining", "expired", "of a later hub")

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._:", min_size=1, max_size=30)


def fleets(
    *,
    states: st.SearchStrategy[str] | None = None,
    weights: st.SearchStrategy[int] | None = None,
    zones: st.SearchStrategy[str | None] | None = None,
    least: int = 1,
    most: int = 20,
) -> st.SearchStrategy[list[Member]]:
    """Members of different names; healthy, of weight 1 and of no zone unless told otherwise."""
    members = st.builds(
        Member,
        names,
        states if states is not None else st.just("healthy"),
        weights if weights is not None else st.just(1),
        zones if zones is not None else st.none(),
    )
    return st.lists(members, min_size=least, max_size=most, unique_by=lambda member: member.instance_id)


anything = fleets(
    states=st.sampled_from(STATES),
    weights=st.integers(0, 5),
    zones=st.sampled_from([None, "eu", "us"]),
    least=0,
)
