"""Documents and schemas as files: `<service>.json`, `<service>@<environment>.json`, `<service>.schema.json`.

YAML and TOML are read as well.
"""

import json
import secrets
import tomllib
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from central_hub_client import strict_json
from central_hub_client.wire import DEFAULT_ENVIRONMENT, is_document_name, is_environment_name

SUFFIXES: Final = (".json", ".yaml", ".yml", ".toml")
_OF_A_SCHEMA: Final = ".schema"


class WrongFile(ValueError):
    """A file is not a document. The message names it and says what is wrong."""


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """What is in the file of this name: `billing`, `billing@staging`, `billing@staging.schema`."""

    service: str
    environment: str = DEFAULT_ENVIRONMENT
    is_schema: bool = False

    @staticmethod
    def parse(text: str) -> "Name":
        """Raises ValueError where the text names nothing."""
        document, schema, rest = text.partition(_OF_A_SCHEMA)
        service, at, environment = document.partition("@")
        environment = environment if at else DEFAULT_ENVIRONMENT
        if rest or not is_document_name(service) or not is_environment_name(environment):
            raise ValueError(
                f"{text!r} names no document: <service> or <service>@<environment>, with .schema behind it for a schema"
            )
        return Name(service, environment, bool(schema))

    def __str__(self) -> str:
        document = self.service if self.environment == DEFAULT_ENVIRONMENT else f"{self.service}@{self.environment}"
        return document + (_OF_A_SCHEMA if self.is_schema else "")


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """A file and the document or schema that it holds."""

    path: Path
    name: Name
    config: dict[str, Any]


def write_file(directory: Path, name: Name, config: dict[str, Any]) -> Path:
    """Write a document or schema as JSON, whole or not at all. Raises OSError."""
    path = directory / f"{name}.json"
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return path


def read_files(sources: list[Path]) -> Iterator[DocumentFile]:
    """The documents of files and directories, in the order of their names. Raises WrongFile, OSError."""
    for name, path in named_files([path for source in sources for path in _files(source)]).items():
        yield DocumentFile(path, name, read_file(path, bounded_integers=not name.is_schema))


def named_files(paths: list[Path]) -> dict[Name, Path]:
    """The files by what they hold, as their names say. Raises WrongFile."""
    found: dict[Name, Path] = {}
    for path in paths:
        try:
            name = Name.parse(path.stem)
        except ValueError as error:
            raise WrongFile(f"{path}: the name of the file must name the document; {error}") from error
        other = found.setdefault(name, path)
        if other != path:
            raise WrongFile(f"{path} and {other} are the same document")
    return found


def files_in(directory: Path) -> list[Path]:
    """The files of a directory that may hold documents. Raises OSError."""
    # Hidden ones are what editors and tools leave behind.
    return sorted(path for path in directory.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))


def read_file(path: Path, *, bounded_integers: bool = True) -> dict[str, Any]:
    """The document that a file holds. Raises WrongFile, OSError."""
    content = path.read_bytes()
    try:
        config = _parse(path.suffix, content, bounded_integers=bounded_integers)
    except RecursionError as error:
        raise WrongFile(f"{path}: nested too deeply") from error
    except (ValueError, TypeError) as error:
        raise WrongFile(f"{path}: {error}") from error
    if not isinstance(config, dict):
        raise WrongFile(f"{path}: a document is an object, with keys and values")
    return config


def _files(source: Path) -> list[Path]:
    if not source.exists():
        raise WrongFile(f"{source} does not exist")
    if not source.is_dir():
        if source.suffix not in SUFFIXES:
            raise WrongFile(f"{source} is not one of {', '.join(SUFFIXES)}")
        return [source]
    found = files_in(source)
    if not found:
        raise WrongFile(f"{source} holds no documents ({', '.join(SUFFIXES)})")
    return found


def _parse(suffix: str, content: bytes, *, bounded_integers: bool) -> Any:
    if suffix == ".json":
        return strict_json.parse(content, bounded_integers=bounded_integers)
    value = tomllib.loads(content.decode()) if suffix == ".toml" else _yaml(content.decode())
    _refuse_keys_that_are_no_text(value)
    # Whatever it was written in, it must be what JSON can say; dates for example are not.
    return strict_json.parse(json.dumps(value, default=_refuse).encode(), bounded_integers=bounded_integers)


def _refuse(value: Any) -> Any:
    raise ValueError(f"{value} reads as a {type(value).__name__}, which JSON does not know: put it in quotes")


def _refuse_keys_that_are_no_text(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {key} reads as a {type(key).__name__}: put it in quotes")
            _refuse_keys_that_are_no_text(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_keys_that_are_no_text(item)


def _yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses what makes a small file enormous (aliases), what can mean anything (tags), and what is said twice."""

        def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                raise ValueError(f"{_place(event)}: anchors and aliases are not allowed")
            if getattr(event, "tag", None) is not None:
                raise ValueError(f"{_place(event)}: tags are not allowed")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            found = super().construct_mapping(node, deep=deep)
            if len(found) != len(node.value):
                raise ValueError(f"{_place(node)}: a key stands here twice")
            return found

    def _place(what: Any) -> str:
        return f"line {what.start_mark.line + 1}, column {what.start_mark.column + 1}"

    try:
        return yaml.load(text, Loader=Loader)  # noqa: S506 - a safe loader made stricter
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
