"""Who set which value last."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from central_hub.config import diff
from central_hub.config.blame import Blame
from central_hub.storage.config_values import LoggedChange
from central_hub_client import layers


def change(revision: int, *places: str) -> LoggedChange:
    return LoggedChange(1, revision, datetime(2026, 11, 23, tzinfo=UTC), f"author {revision}", None, places)


def blamed(pointers: list[str], *newest_first: LoggedChange) -> dict[str, int]:
    blame = Blame(pointers)
    for entry in newest_first:
        blame.take(entry)
    return {pointer: entry.revision for pointer, entry in blame.found.items()}


def test_the_newest_change_of_a_value_is_the_one_that_counts() -> None:
    found = blamed(["/a", "/b", "/c/d"], change(3, "/a"), change(2, "/a", "/b"), change(1, ""))
    assert found == {"/a": 3, "/b": 2, "/c/d": 1}


def test_a_change_of_the_object_around_a_value_made_the_value() -> None:
    assert blamed(["/a/b/c", "/ab"], change(2, "/a/b"), change(1, "/ab")) == {"/a/b/c": 2, "/ab": 1}


def test_an_object_that_is_empty_now_was_emptied_by_the_removal_of_what_was_in_it() -> None:
    assert blamed(["/a"], change(2, "/a/b"), change(1, "/a")) == {"/a": 2}


def test_before_a_redacted_change_nobody_can_be_named() -> None:
    redacted = LoggedChange(1, 2, datetime(2026, 11, 23, tzinfo=UTC), "x", None, None)
    assert blamed(["/a", "/b"], change(3, "/a"), redacted, change(1, "")) == {"/a": 3}


VALUES = st.recursive(
    st.integers(0, 2), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
)
DOCUMENTS = st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), min_size=1, max_size=6)


@given(DOCUMENTS)
def test_every_value_is_as_its_author_left_it_and_was_another_before(documents: list[dict[str, Any]]) -> None:
    entries = []
    for revision, (old, new) in enumerate(zip([{}, *documents], documents, strict=False), start=1):
        entries.append(change(revision, *(each["path"] for each in diff.changes(old, new))))
    leaves = list(layers.origins([documents[-1]]))
    found = blamed([leaf for leaf in leaves if leaf], *reversed(entries))
    for leaf in filter(None, leaves):
        revision = found[leaf]
        after = [value_at(document, leaf) for document in documents[revision - 1 :]]
        assert all(value == after[0] for value in after), "somebody changed it later"
        before = value_at(documents[revision - 2], leaf) if revision > 1 else None
        assert before != after[0], "it was like this before"


def value_at(document: Any, pointer: str) -> Any:
    for key in pointer.split("/")[1:]:
        if not isinstance(document, dict) or key not in document:
            return None
        document = document[key]
    return document
