"""Habits that keep the code readable, as far as a machine can see them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source_tree import CLIENT, HUB, ROOT, dotted, modules

NAMELESS = frozenset("util utils common helper helpers core base shared misc lib".split())
LOGS = frozenset("debug info warning error critical exception".split())
WRITTEN_BY_HAND = ("src", "client", "tests", "docs", "examples", "bench", "deploy")
TEXT = frozenset(".py .md .toml .txt .yaml .yml .json .sql .sh .conf .mako".split())
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")
SOMEBODYS_HOME = re.compile(r"/(?:home|Users)/(?!\$)[a-z]")


def source_folders() -> list[Path]:
    return [HUB, CLIENT, *(ROOT / name for name in ("examples", "bench") if list((ROOT / name).rglob("*.py")))]


def text_files() -> Iterator[Path]:
    """Every text file that belongs to the project."""
    yield from (path for path in ROOT.iterdir() if path.is_file() and (path.suffix in TEXT or not path.suffix))
    for folder in WRITTEN_BY_HAND:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and (path.suffix in TEXT or not path.suffix) and "__pycache__" not in path.parts:
                yield path


def test_every_module_is_named_by_a_noun_of_the_domain() -> None:
    nameless = [
        str(module)
        for folder in source_folders()
        for module in modules(folder)
        if NAMELESS & set(module.path.relative_to(folder).with_suffix("").parts)
    ]
    assert not nameless


@pytest.mark.parametrize("folder", source_folders(), ids=lambda folder: str(folder.relative_to(ROOT)))
def test_who_catches_everything_says_so_in_the_log(folder: Path) -> None:
    silent = [
        f"{module}:{node.lineno}"
        for module in modules(folder)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node) and not (_logs(node) or _raises(node))
    ]
    assert not silent


@pytest.mark.parametrize("folder", source_folders(), ids=lambda folder: str(folder.relative_to(ROOT)))
def test_nobody_suppresses_everything(folder: Path) -> None:
    silent = [
        f"{module}:{node.lineno}"
        for module in modules(folder)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and dotted(node.func) in ("suppress", "contextlib.suppress")
        and any(dotted(argument) in ("Exception", "BaseException") for argument in node.args)
    ]
    assert not silent


def test_nothing_is_left_to_be_done_later() -> None:
    assert not _lines_with(UNFINISHED)


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    assert not _lines_with(SOMEBODYS_HOME)
    assert not _lines_with(re.compile(re.escape(str(ROOT))))


def test_the_rules_read_the_files_that_matter() -> None:
    names = {str(path.relative_to(ROOT)) for path in text_files()}
    assert {"README.md", "Makefile", "src/central_hub/service.py", "client/src/central_hub_client/wire.py"} <= names


def _lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or dotted(kind) in ("Exception", "BaseException") for kind in caught)


def _logs(handler: ast.ExceptHandler) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LOGS
        and dotted(node.func.value).rpartition(".")[2] in ("log", "_log", "logger")
        for node in ast.walk(handler)
    )


def _raises(handler: ast.ExceptHandler) -> bool:
    """Whether the handler ends in a bare `raise`: it only tidies up."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None
