"""The project's own source as data: what the rules in this folder are held against."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HUB = ROOT / "src"
CLIENT = ROOT / "client" / "src"


@dataclass(frozen=True)
class Module:
    """One Python file: its dotted name, where it lies, and what it says."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def area(self) -> str:
        """The part of the hub that it belongs to: the name after `central_hub.`"""
        return self.name.split(".")[1] if "." in self.name else ""

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


@dataclass(frozen=True)
class Import:
    """One imported name, `a.b.c` for `from a.b import c`, and the line it stands on."""

    name: str
    line: int


@cache
def modules(source: Path) -> tuple[Module, ...]:
    """Every module under a source folder. Raises AssertionError where there are none: a rule must not pass unread."""
    found = []
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"))))
    assert found, f"no Python files under {source}"
    return tuple(found)


def imports(module: Module) -> Iterator[Import]:
    """What a module imports, wherever in it: at the top, in a function, for type checking."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively; the project imports by full names"
            yield from (Import(f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def lies_in(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of `packages` or lies inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def dotted(node: ast.AST) -> str:
    """`datetime.now` for the expression that spells it; empty for anything but names and attributes."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (inner := dotted(node.value)):
        return f"{inner}.{node.attr}"
    return ""
