"""Which ends of an interpreter are a crash, seen from processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

SAYS_HOW_IT_ENDS = """
import atexit
from central_hub_client import orderly_end
atexit.register(lambda: print("by error:", orderly_end.is_by_error()))
"""

FAILING_TEST = (
    SAYS_HOW_IT_ENDS
    + """
def test_it():
    assert 1 == 2
"""
)


def says(directory: Path, source: str, *arguments: str) -> str:
    (directory / "program.py").write_text(source)
    done = subprocess.run([sys.executable, *arguments], cwd=directory, capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["program.py"], ["-m", "program"], ["-c", "import program"]])
def test_an_exception_that_nobody_catches_is_a_crash(tmp_path: Path, arguments: list[str]) -> None:
    source = SAYS_HOW_IT_ENDS + "def work():\n    raise OSError\nwork()\n"
    assert says(tmp_path, source, *arguments) == "by error: True"


@pytest.mark.parametrize(
    "ending",
    ["", "raise SystemExit(3)", "raise KeyboardInterrupt", "try:\n    1 / 0\nexcept ArithmeticError:\n    pass"],
)
def test_other_ends_are_none(tmp_path: Path, ending: str) -> None:
    assert says(tmp_path, SAYS_HOW_IT_ENDS + ending, "program.py") == "by error: False"


def test_a_test_that_fails_is_none(tmp_path: Path) -> None:
    assert says(tmp_path, FAILING_TEST, "-m", "pytest", "-q", "program.py") == "by error: False"
