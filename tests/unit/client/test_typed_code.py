"""What type checkers say to a service's own code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

USER_CODE = Path(__file__).with_name("user_service.py")

WRONG = """
config.current.operational.batchsize
label: str = config.current.operational.batch_size
config.on_config_update(lambda change: print(change.news))
config.start(deadline="2 s")
small.current.operational
BaseService[Small](config)
ConfigManager("orders", Settings, hub="http://127.0.0.1:7000")
"""

CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "cache"],
    # The same checker as pyright, whose own package would fetch it from a registry of another kind.
    "pyright": [
        sys.executable,
        "-m",
        "basedpyright",
        "--project",
        "pyrightconfig.json",
        "--pythonpath",
        sys.executable,
    ],
}


def lines_with_errors(checker: str, directory: Path) -> list[int]:
    (directory / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    answer = subprocess.run(
        [*CHECKERS[checker], "user_service.py"],
        cwd=directory,  # the settings of this project are not those of its users
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert "user_service.py" in answer.stdout or answer.returncode == 0, answer.stdout + answer.stderr
    found = re.findall(r"user_service\.py:(\d+)(?::\d+ -|:) (error|warning)", answer.stdout)
    assert bool(found) == bool(answer.returncode), answer.stdout + answer.stderr
    return sorted({int(line) for line, _ in found})


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_services_own_code_is_typed_to_the_last_field(tmp_path: Path, checker: str) -> None:
    code = USER_CODE.read_text()
    (tmp_path / "user_service.py").write_text(code + WRONG)
    first = code.count("\n") + 2
    assert lines_with_errors(checker, tmp_path) == list(range(first, first + len(WRONG.split("\n")) - 2))
