"""`central-hub infra validate`, as a pipeline runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.architecture.source_tree import ROOT
from tests.unit.monitoring.infrastructure_text import ENVIRONMENT

TEXT = "version: 1\nendpoints:\n  api: {type: http, url: 'http://${API_HOST}/'}\nservices: {orders: {api: required}}\n"


def validate(path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("central-hub"), "infra", "validate", path, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_right_file_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "i.yaml"
    path.write_text(TEXT)
    result = validate(path, API_HOST="h")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("1 components, 1 services, 0 maintenance, ")
    assert json.loads(validate(path, "--json", API_HOST="h").stdout)["components"] == 1


def test_the_example_is_right_also_where_it_changes_rules_that_the_hub_has_by_itself() -> None:
    result = validate(ROOT / "infrastructure.yaml", **ENVIRONMENT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("7 components, 5 services, ")


def test_a_wrong_file_is_told_of_place_by_place(tmp_path: Path) -> None:
    path = tmp_path / "i.yaml"
    path.write_text(TEXT + "nodes: 1\n")
    result = validate(path)
    assert result.returncode == 1
    assert result.stdout == ""
    first, *places = result.stderr.splitlines()
    assert first == f"Error: {path} is not right"
    assert [line.partition(": ")[0] for line in places] == ["  line 3, column 26", "  line 5, column 1"]
    told = json.loads(validate(path, "--json").stderr)
    assert [(error["line"], error["column"]) for error in told["errors"]] == [(3, 26), (5, 1)]


def test_no_file_is_wrong_usage(tmp_path: Path) -> None:
    result = validate(tmp_path / "nothing.yaml")
    assert result.returncode == 2
    assert "No such file or directory" in result.stderr
