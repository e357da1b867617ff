"""The reference pages say all that the code offers, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from central_hub.api.app import create_routes
from central_hub.cli.program import app
from central_hub.settings import HubSettings
from docs import generate
from tests.architecture.source_tree import ROOT

# The commands of the contract that exist by now.
CONTRACT = (
    "up serve migrate get set edit apply diff history rollback watch explain export token audit doctor status services"
    " instances route drain"
)
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
    commands = list(_commands(typer.main.get_command(app), "central-hub"))
    assert {f"central-hub {name}" for name in CONTRACT.split()} <= {name for name, _ in commands}
    for name, command in commands:
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert command.help, name
        assert command.help.splitlines()[0] in section, name


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield f"{path} {name}", inner
        yield from _commands(inner, f"{path} {name}")
