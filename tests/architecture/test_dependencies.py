"""What is imported is asked for: what is there only because something else brought it may be gone tomorrow."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

from tests.architecture.source_tree import CLIENT, HUB, ROOT, imports, lies_in, modules

OWN = frozenset({"central_hub", "central_hub_client"})
COMES_WITH = {"starlette": "fastapi", "pydantic_core": "pydantic", "jsonpointer": "jsonpatch"}
"""Packages that speak in another one's interface, which is the one to name."""
IN_SERVICES = ("central_hub_client.integrations", "central_hub_client.pytest_plugin")
"""What somebody only imports who has that library."""


@pytest.mark.parametrize("source", [HUB, CLIENT], ids=["hub", "client"])
def test_whatever_is_imported_is_a_dependency_or_an_extra(source: Path) -> None:
    asked_for = _asked_for(CLIENT.parent)  # with its extra [nats], on which the hub depends
    if source == HUB:
        asked_for |= _asked_for(ROOT)
    distributions = packages_distributions()
    missing = []
    for module in modules(source):
        for imported in imports(module):
            package = imported.name.partition(".")[0]
            if package in OWN | sys.stdlib_module_names or lies_in(module.name, *IN_SERVICES):
                continue
            names = [COMES_WITH[package]] if package in COMES_WITH else distributions.get(package, [package])
            if asked_for.isdisjoint(map(_plain, names)):
                missing.append(f"{module}:{imported.line} imports {package}")
    assert not missing, "\n".join(missing)


def _asked_for(folder: Path) -> set[str]:
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    return {_plain(re.split(r"[\[<>=!;@ ]", line)[0]) for line in chain(project["dependencies"], *extras.values())}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
