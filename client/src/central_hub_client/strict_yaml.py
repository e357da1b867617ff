"""YAML as far as JSON goes: no tags, no anchors, no aliases, and plain words mean what they mean in JSON.

Without aliases nothing can multiply, and without tags nothing can be constructed. YAML 1.1 reads `no`, `on`, `1:30` and
`0777` as something else than what is written; here they are text, as in the core schema of YAML 1.2.
PyYAML (the extra `yaml`) is loaded with the first file.
"""

import re
from typing import Any, Final

from central_hub_client.strict_json import MAX_DEPTH, MAX_INTEGER, MAX_NODES, escape_pointer

_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_NUMBER: Final = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_WORDS: Final = {"": None, "~": None, "null": None, "true": True, "false": False}


def read_yaml(content: bytes) -> tuple[Any, dict[str, int]]:
    """The value, and for the JSON Pointer of each key its line. Raises ValueError, and ImportError without PyYAML."""
    try:
        import yaml
    except ImportError as error:
        raise ImportError("reading YAML needs `pip install central-hub-client[yaml]`") from error
    try:
        return _Builder().build(yaml.parse(content.decode(), Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        # Not its text: that quotes the line, which may hold anything.
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"line {mark.line + 1 if mark else '?'}: this is not YAML") from None
    except yaml.YAMLError:
        raise ValueError("this is not YAML") from None


class _Builder:
    """Takes the parser's events one by one: a document that is too deep or too large ends before it is built."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}
        self._open: list[dict[str, Any] | list[Any]] = []
        self._pointers: list[str | None] = []
        self._keys: list[str | None] = []
        self._nodes = 0
        self._documents: list[Any] = []

    def build(self, events: Any) -> tuple[Any, dict[str, int]]:
        import yaml

        for event in events:
            line = event.start_mark.line + 1
            match event:
                case yaml.AliasEvent():
                    raise ValueError(f"line {line}: aliases are not taken")
                case yaml.ScalarEvent():
                    self._refuse_extras(event, line)
                    self._scalar(event, line)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._refuse_extras(event, line)
                    self._push({} if isinstance(event, yaml.MappingStartEvent) else [], line)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._open.pop()
                    self._pointers.pop()
                    self._keys.pop()
        if len(self._documents) > 1:
            raise ValueError("there is more than one document")
        return (self._documents[0] if self._documents else {}), self._lines

    def _refuse_extras(self, event: Any, line: int) -> None:
        if event.anchor is not None:
            raise ValueError(f"line {line}: anchors are not taken")
        if event.tag is not None:
            raise ValueError(f"line {line}: tags are not taken")
        self._nodes += 1
        if self._nodes > 2 * MAX_NODES:  # keys are nodes too
            raise ValueError(f"more than {MAX_NODES} values")

    def _scalar(self, event: Any, line: int) -> None:
        if self._open and isinstance(self._open[-1], dict) and self._keys[-1] is None:
            self._begin_key(event.value, line)
        else:
            self._add(_plain(event.value, line) if event.implicit[0] else event.value)

    def _begin_key(self, key: str, line: int) -> None:
        if key in self._open[-1]:
            raise ValueError(f"line {line}: an object has the same key twice")
        if key == "<<":
            raise ValueError(f"line {line}: merge keys are not taken")
        self._keys[-1] = key
        if (pointer := self._here()) is not None:
            self._lines[pointer] = line

    def _push(self, container: dict[str, Any] | list[Any], line: int) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise ValueError(f"line {line}: nested deeper than {MAX_DEPTH} levels")
        if self._open and isinstance(self._open[-1], dict) and self._keys[-1] is None:
            raise ValueError(f"line {line}: a key must be text")
        pointer = self._here()
        self._add(container)
        self._open.append(container)
        self._pointers.append(pointer if isinstance(container, dict) else None)
        self._keys.append(None)

    def _here(self) -> str | None:
        if not self._open:
            return ""
        pointer, key = self._pointers[-1], self._keys[-1]
        return None if pointer is None or key is None else f"{pointer}/{escape_pointer(key)}"

    def _add(self, value: Any) -> None:
        if not self._open:
            self._documents.append(value)
            return
        container, key = self._open[-1], self._keys[-1]
        if isinstance(container, list):
            container.append(value)
        elif key is not None:
            container[key] = value
            self._keys[-1] = None


def _plain(text: str, line: int) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
            raise ValueError(f"line {line}: an integer beyond ±(2^53−1) loses digits in most readers: quote it")
        return int(text)
    if _NUMBER.match(text) and (number := float(text)) not in (float("inf"), float("-inf")):
        return number or 0.0
    return text
