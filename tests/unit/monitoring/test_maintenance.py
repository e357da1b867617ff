"""Which maintenance holds for a component."""

from datetime import UTC, datetime, timedelta

from central_hub.monitoring.infrastructure import Infrastructure, Maintenance
from central_hub.monitoring.maintenance import in_maintenance

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def window(begins: timedelta, ends: timedelta, *targets: str, reason: str = "disks") -> Maintenance:
    return Maintenance(frozenset(targets), NOW + begins, NOW + ends, reason)


def test_it_holds_from_its_beginning_until_before_its_end() -> None:
    planned = window(HOUR, 2 * HOUR, "db")
    infrastructure = Infrastructure(maintenance=(planned,))
    moments = [timedelta(), HOUR, 2 * HOUR - timedelta.resolution, 2 * HOUR]
    found = [in_maintenance(infrastructure, "db", NOW + moment) for moment in moments]
    assert found == [None, planned, planned, None]
    assert in_maintenance(infrastructure, "nats", NOW + HOUR) is None


def test_without_targets_it_is_for_all_and_of_several_the_last_to_end_is_told() -> None:
    for_all, own = window(-HOUR, HOUR, reason="network"), window(-HOUR, 2 * HOUR, "db")
    infrastructure = Infrastructure(maintenance=(own, for_all))
    assert in_maintenance(infrastructure, "nats", NOW) == for_all
    assert in_maintenance(infrastructure, "db", NOW) == own
