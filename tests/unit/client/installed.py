"""A distribution with entry points, really installed: files on the path, as an installer leaves them."""

import importlib
import secrets
from pathlib import Path

import pytest


def install(directory: Path, monkeypatch: pytest.MonkeyPatch, group: str, name: str, code: str) -> None:
    """Install a module of this code; `name` in `group` leads to its `entry`."""
    module = f"installed_{secrets.token_hex(4)}"
    (directory / f"{module}.py").write_text(code)
    metadata = directory / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:entry\n")
    monkeypatch.syspath_prepend(directory)
    importlib.invalidate_caches()
