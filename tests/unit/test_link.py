"""What is known of a connection: news is news once, and `since` is when it began."""

from central_hub.connections.link import Link


def test_nothing_is_known_to_work_before_it_was_tried() -> None:
    link = Link("nats", is_needed=False)
    assert (link.ok, link.reason) == (False, "not reached yet")


def test_the_first_failure_is_news_and_its_repetition_is_not() -> None:
    link = Link("nats", is_needed=False)
    assert link.fails("refused")
    since = link.since
    assert not link.fails("no answer in time")
    assert (link.since, link.reason) == (since, "no answer in time")
    link.works()
    assert (link.ok, link.reason) == (True, "")
    assert link.since is not since
    assert link.fails("refused")


def test_what_is_off_neither_works_nor_fails() -> None:
    link = Link("nats", is_needed=False)
    link.turn_off("off: not configured")
    assert (link.ok, link.reason) == (None, "off: not configured")
