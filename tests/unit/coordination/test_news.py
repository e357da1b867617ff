"""Which changes a replica announces: those it was told of itself, and those that time brings."""

from central_hub.coordination.changes import Changes
from central_hub.coordination.news import News

A, B = ("billing", "default", "a"), ("billing", "default", "b")


def test_what_has_changed_by_now_is_news_once() -> None:
    changes = Changes()
    news = News(changes)
    changes.note(B)
    changes.note(A)
    news.gather()
    assert list(news.services) == ["billing"]
    assert news.take("billing") == [A, B]
    news.gather()
    assert list(news.services) == []
    assert news.take("billing") == []


def test_what_was_read_in_the_store_is_no_news_and_hides_none() -> None:
    changes = Changes()
    news = News(changes)
    changes.note(A)
    news.gather()
    changes.note(A)
    changes.note(B)
    news.skip()
    news.gather()
    assert news.take("billing") == [A]


def test_what_was_told_here_is_news_though_the_store_said_it_first() -> None:
    changes = Changes()
    news = News(changes)
    changes.note(A)
    news.skip()
    news.add(A)
    news.gather()
    assert news.take("billing") == [A]


def test_who_was_told_up_to_a_change_that_is_forgotten_needs_the_whole_list() -> None:
    changes = Changes()
    changes.note(A)
    changes.note(B)
    assert changes.reaches("billing", 0)
    changes.forget(A)
    assert not changes.reaches("billing", 0)
    assert changes.reaches("billing", 1)
    assert changes.reaches("other", 0)
