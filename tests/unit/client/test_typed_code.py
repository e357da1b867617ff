"""What a type checker says to a service's own code."""

import subprocess
import sys
from pathlib import Path

CODE = """
from pydantic import BaseModel
from central_hub_client import ConfigManager, SettingsChange

class Operational(BaseModel):
    batch_size: int = 100

class Settings(BaseModel):
    operational: Operational = Operational()

manager = ConfigManager("orders", schema=Settings)
size: int = manager.current.operational.batch_size
plain = ConfigManager("orders")

def on_change(change: SettingsChange[Settings]) -> None:
    reveal_type(change.new.operational.batch_size)

async def follow() -> None:
    async for change in manager.changes("operational.**"):
        reveal_type(change.old)
    async with manager as same:
        reveal_type(same)

stop = manager.on_config_update(on_change)
with manager.override({"operational.batch_size": 1}):
    reveal_type(plain.current)
reveal_type(manager.explain("a"))
reveal_type(manager.explain())
manager.current.operational.batchsize
wrong: str = manager.current.operational.batch_size
"""


def test_current_has_the_type_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "service.py"
    path.write_text(CODE)
    answer = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--no-error-summary",
            "--cache-dir",
            str(tmp_path / "cache"),
            str(path),
        ],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    said = [line.partition(": ")[2] for line in answer.stdout.splitlines()]
    assert [line for line in said if line.startswith("note: Revealed")] == [
        'note: Revealed type is "int"',
        'note: Revealed type is "service.Settings"',
        'note: Revealed type is "central_hub_client.config_manager.ConfigManager[service.Settings]"',
        'note: Revealed type is "typing.Mapping[str, Any]"',
        'note: Revealed type is "central_hub_client.explain.Explanation"',
        'note: Revealed type is "dict[str, central_hub_client.explain.Explanation]"',
    ]
    errors = [line for line in said if line.startswith("error")]
    assert len(errors) == 2
    assert 'has no attribute "batchsize"' in errors[0]
    assert "Incompatible types in assignment" in errors[1]
