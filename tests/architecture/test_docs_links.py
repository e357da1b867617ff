"""What the documentation points at is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source_tree import CLIENT, HUB, ROOT

PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "client").glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"`([^`\n]+)`")
_FROM_THE_ROOT = re.compile(r"(?:src|client|tests|docs|deploy|examples|bench)/[\w./-]+\Z")
_MODULE = re.compile(r"([a-z_]+/[a-z0-9_/]+\.py)(?:: ([\w.]+))?\Z")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = [match[1] for match in _LINK.finditer(page.read_text(encoding="utf-8"))]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_exists(page: Path) -> None:
    missing = [name for name in _names(page) if _FROM_THE_ROOT.match(name) and not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_module_and_name_in_it_exists(page: Path) -> None:
    # Modules of the hub are named from its package on: `config/store.py`, `config/tail.py: Tail.run`.
    named = [match for name in _names(page) if (match := _MODULE.match(name)) and not _FROM_THE_ROOT.match(match[1])]
    assert [match[0] for match in named if not _says(match[1], match[2])] == []


def test_the_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "first-change.md", "guarantees.md"} <= {page.name for page in PAGES}


def _names(page: Path) -> Iterator[str]:
    for match in _CODE.finditer(page.read_text(encoding="utf-8")):
        yield match[1]


def _says(module: str, name: str | None) -> bool:
    """Whether there is such a module, of the hub or of the client, and the last part of `name` occurs in it."""
    texts = [
        path.read_text(encoding="utf-8") for path in (HUB / "central_hub" / module, CLIENT / module) if path.is_file()
    ]
    wanted = re.compile(rf"\b{(name or '').rpartition('.')[2]}\b")
    return any(name is None or wanted.search(text) for text in texts)
