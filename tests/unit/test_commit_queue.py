"""Waiting together, and being refused alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from central_hub.config.commit_queue import MOST_AT_ONCE, CommitQueue
from central_hub.errors import Conflict, HubError, StoreUnavailable


@dataclass(frozen=True)
class Item:
    name: str
    document: str

    @property
    def claims(self) -> frozenset[str]:
        return frozenset({self.document})


class Store:
    """Takes a moment for each commit, and notes what came together."""

    def __init__(self) -> None:
        self.commits: list[list[str]] = []
        self.refused: set[str] = set()
        self.poisonous: set[str] = set()
        self.is_gone = False
        self.queue: CommitQueue[Item, str] = CommitQueue(self.commit_all)

    async def commit_all(self, items: Sequence[Item]) -> list[str | HubError]:
        await asyncio.sleep(0.001)
        names = [item.name for item in items]
        if self.is_gone:
            raise StoreUnavailable("gone")
        if not self.poisonous.isdisjoint(names):
            raise LookupError("cannot be stored")
        self.commits.append(names)
        return [Conflict("refused") if name in self.refused else f"{name} stored" for name in names]

    async def commit(self, *items: Item) -> list[str | BaseException]:
        return await asyncio.gather(*map(self.queue.commit, items), return_exceptions=True)


@pytest.fixture
def store() -> Store:
    return Store()


def of_different_documents(names: str) -> list[Item]:
    return [Item(name, f"document of {name}") for name in names.split()]


async def test_who_comes_during_a_commit_shares_the_next_one(store: Store) -> None:
    assert await store.commit(*of_different_documents("a b c")) == ["a stored", "b stored", "c stored"]
    assert store.commits == [["a", "b", "c"]]
    first = asyncio.create_task(store.queue.commit(Item("d", "d")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await store.commit(*of_different_documents("e f"))
    assert await first == "d stored"
    assert store.commits[1:] == [["d"], ["e", "f"]]


async def test_writes_of_one_document_keep_their_order_and_have_a_commit_each(store: Store) -> None:
    await store.commit(Item("a1", "a"), Item("b1", "b"), Item("a2", "a"), Item("b2", "b"), Item("a3", "a"))
    assert store.commits == [["a1", "b1"], ["a2", "b2"], ["a3"]]


async def test_a_commit_has_a_limit(store: Store) -> None:
    await store.commit(*of_different_documents(" ".join(str(number) for number in range(MOST_AT_ONCE + 1))))
    assert [len(together) for together in store.commits] == [MOST_AT_ONCE, 1]


async def test_a_refusal_is_told_to_its_writer_alone(store: Store) -> None:
    store.refused = {"b"}
    a, b, c = await store.commit(*of_different_documents("a b c"))
    assert (a, c) == ("a stored", "c stored")
    assert isinstance(b, Conflict)


async def test_what_cannot_be_stored_does_not_take_the_others_with_it(store: Store) -> None:
    store.poisonous = {"b"}
    a, b, c = await store.commit(*of_different_documents("a b c"))
    assert (a, c) == ("a stored", "c stored")
    assert isinstance(b, LookupError)


async def test_a_store_that_is_gone_is_told_to_all_and_not_asked_once_for_each(store: Store) -> None:
    store.is_gone = True
    results = await store.commit(*of_different_documents("a b c"))
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert store.commits == []
    store.is_gone = False
    assert await store.commit(Item("a", "a")) == ["a stored"]


async def test_who_gives_up_waiting_is_stored_all_the_same_and_nobody_else_notices(store: Store) -> None:
    impatient = asyncio.create_task(store.queue.commit(Item("a", "a")))
    patient = asyncio.create_task(store.queue.commit(Item("b", "b")))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == "b stored"
    assert store.commits == [["a", "b"]]
