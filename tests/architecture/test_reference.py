"""The reference pages say all that the code offers, and nothing else."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from central_hub.api.app import create_routes
from central_hub.settings import HubSettings
from docs import generate
from tests.architecture.source_tree import ROOT

PAGES = ROOT / "docs" / "reference"


def test_the_pages_are_what_the_code_says(tmp_path: Path) -> None:
    assert generate.main(["--check"]) == 0


def test_a_page_that_has_drifted_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for page in PAGES.iterdir():
        (tmp_path / page.name).write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "settings.md").write_text("# Settings\n", encoding="utf-8")
    (tmp_path / "stray.md").write_text("# Stray\n", encoding="utf-8")
    (tmp_path / "errors.md").unlink()
    monkeypatch.setattr(generate, "REFERENCE", tmp_path)
    assert generate.main(["--check"]) == 1
    written = {page.name: page.read_text(encoding="utf-8") for page in PAGES.iterdir()}
    assert generate.drifted(written) == ["errors.md", "settings.md", "stray.md"]


def test_every_route_has_its_section(tmp_path: Path) -> None:
    headings = re.findall(r"^## (\w+ /\S*)$", (PAGES / "routes.md").read_text(encoding="utf-8"), re.MULTILINE)
    paths = create_routes(generate.a_hub(tmp_path)).openapi()["paths"]
    expected = [f"{method.upper()} {path}" for path, operations in paths.items() for method in operations]
    assert sorted(headings) == sorted(expected)


def test_every_setting_is_named_and_described() -> None:
    page = (PAGES / "settings.md").read_text(encoding="utf-8")
    for name, field in HubSettings.model_fields.items():
        assert field.description, f"{name} has no description"
        assert f"| `CENTRAL_HUB_{name.upper()}` |" in page


def test_every_variable_of_the_client_is_described() -> None:
    assert generate.client_variables_in_the_code() == set(generate.CLIENT_VARIABLES)


def test_every_command_has_its_section_and_says_what_it_does() -> None:
    page = (PAGES / "cli.md").read_text(encoding="utf-8")
    for function in _functions_marked_as_commands():
        assert inspect.cleandoc(function).splitlines()[0].strip() in page, function


def _functions_marked_as_commands() -> list[str]:
    # Read from the source and not from the Typer app, which the page is made from.
    found = []
    for path in (ROOT / "src" / "central_hub" / "cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
                isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == "command"
                for mark in node.decorator_list
            ):
                docstring = ast.get_docstring(node)
                assert docstring, f"{path.name}: {node.name} has no docstring, which is its help"
                found.append(docstring)
    assert found, "no commands found"
    return found
