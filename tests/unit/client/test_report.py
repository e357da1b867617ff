"""A report as it is sent: names of keys, within the hub's limits."""

from central_hub_client.report import MAX_KEYS, InstanceReport, Rejection
from central_hub_client.wire import Position, content_hash


def test_positions_are_told_where_they_are_known() -> None:
    assert InstanceReport().stance() == {}
    report = InstanceReport(applied=Position(1, 4), rejected=Rejection(Position(1, 5), "n" * 3000))
    assert report.stance() == {
        "applied": {"epoch": 1, "revision": 4},
        "rejected": {"epoch": 1, "revision": 5, "reason": "n" * 2000},
    }


def test_keys_are_told_once_each_in_order_and_not_too_many() -> None:
    many = [f"/{number:04}" for number in range(MAX_KEYS + 10)]
    told = InstanceReport(unknown=("/b", "/a", "/b", "/" + "x" * 500), unread=many).keys()
    assert told["unknown"] == ["/a", "/b"]
    assert told["unread"] == many[:MAX_KEYS]
    assert told["shadowed"] == told["defaulted"] == told["local_keys"] == []


def test_the_schema_is_no_part_of_what_is_shown() -> None:
    schema = {"title": "Settings"}
    assert "Settings" not in repr(InstanceReport(schema=schema, schema_hash=content_hash(schema)))
