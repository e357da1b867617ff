"""YAML as far as JSON goes, the one dialect of both sides: no tags, no anchors, no aliases, and plain words mean what
they mean in JSON.

Without aliases nothing can multiply, and without tags nothing can be constructed. YAML 1.1 reads `no`, `on`, `1:30` and
`0777` as something else than what is written; here they are text, as in the core schema of YAML 1.2.
PyYAML (the extra `yaml`) is loaded with the first file.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from central_hub_client.strict_json import MAX_DEPTH, MAX_INTEGER, MAX_NODES, escape_pointer

Path = Sequence[str | int]

_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_NUMBER: Final = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_WORDS: Final = {"": None, "~": None, "null": None, "true": True, "false": False}
_MOST_FLAWS: Final = 100


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands, counted from one, as editors do."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Flaw:
    """Something that is wrong, where, in words that quote no value."""

    place: Place
    sentence: str

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}"


class MalformedYaml(ValueError):
    """All that is wrong with a text, first things first; after what is no YAML at all, nothing more is found."""

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        self.flaws = tuple(sorted(flaws))
        super().__init__("; ".join(map(str, self.flaws)))


@dataclass(slots=True)
class Node:
    """A value of the text: where it begins, where its keys stand, and what is in it."""

    place: Place
    keys: dict[str, Place] = field(default_factory=dict)
    inner: dict[str | int, "Node"] = field(default_factory=dict)

    def at(self, path: Path) -> Place:
        """Where the value at `path` begins; where there is none, the last thing on the way to it that is there: its key
        where it has one."""
        node, found = self, self.place
        for number, step in enumerate(path):
            if step not in node.inner:
                return node.keys.get(str(step), found)
            found = node.inner[step].place if number == len(path) - 1 else self._named(node, step)
            node = node.inner[step]
        return found

    def key(self, path: Path) -> Place:
        """Where the key of the value at `path` stands; for an item of a list, the item."""
        node, found = self, self.place
        for step in path:
            if step not in node.inner:
                break
            found = self._named(node, step)
            node = node.inner[step]
        return found

    @staticmethod
    def _named(node: "Node", step: str | int) -> Place:
        return node.keys[step] if isinstance(step, str) else node.inner[step].place


def parse(content: bytes) -> tuple[Any, Node]:
    """The value, and where everything in it stands. Raises MalformedYaml, and ImportError without PyYAML."""
    try:
        import yaml
    except ImportError as error:
        raise ImportError("reading YAML needs `pip install central-hub-client[yaml]`") from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        raise MalformedYaml([Flaw(_end_of(before), "this is not UTF-8")]) from None
    builder = _Builder()
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        builder.build(loader)
    except yaml.reader.ReaderError as error:
        builder.flaws.append(Flaw(_end_of(text[: error.position]), "this character is not taken: escape it"))
    except yaml.MarkedYAMLError as error:
        # Not its text: that quotes the line, which may hold anything.
        builder.flaws.append(Flaw(_place(error.problem_mark or error.context_mark), "this is not YAML"))
    except (ValueError, OverflowError):  # an escape beyond Unicode, a version of thousands of digits
        builder.flaws.append(Flaw(_place(loader.get_mark() if loader else None), "this is not YAML"))
    except _Enough:
        pass
    if builder.flaws:
        raise MalformedYaml(builder.flaws)
    return builder.value, builder.root


def read_yaml(content: bytes) -> tuple[Any, dict[str, int]]:
    """The value, and for the JSON Pointer of each key its line. Raises ValueError, and ImportError without PyYAML."""
    value, root = parse(content)
    lines: dict[str, int] = {}
    waiting = [("", root)]
    while waiting:
        pointer, node = waiting.pop()
        for key, place in node.keys.items():
            here = f"{pointer}/{escape_pointer(key)}"
            lines[here] = place.line
            waiting.append((here, node.inner[key]))
    return value, lines


def plain(text: str) -> Any:
    """What a word without quotes means. Raises ValueError for an integer that others would misread."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
            raise ValueError("an integer beyond ±(2^53−1) loses digits in most readers: quote it")
        return int(text)
    if _NUMBER.match(text) and (number := float(text)) not in (float("inf"), float("-inf")):
        return number or 0.0
    return text


class _Enough(Exception):
    """Nothing more is looked for: the text is too deep, too large, or has too many flaws."""


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not come yet, and of a mapping the key whose value comes next."""

    value: dict[str, Any] | list[Any]
    node: Node
    key: str | None = None
    is_repeated: bool = False


class _Builder:
    """Takes the parser's events one by one: a document that is too deep or too large ends before it is built."""

    def __init__(self) -> None:
        self.value: Any = {}
        self.root = Node(Place(1, 1))
        self.flaws: list[Flaw] = []
        self._open: list[_Open] = []
        self._documents = 0
        self._nodes = 0

    def build(self, loader: Any) -> None:
        import yaml

        while loader.check_event():
            event = loader.get_event()
            place = _place(event.start_mark)
            match event:
                case yaml.AliasEvent():
                    self._refuse(place, "aliases are not taken")
                    self._scalar("", None, place)
                case yaml.ScalarEvent():
                    self._refuse_extras(event, place)
                    self._scalar(event.value, event, place)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._refuse_extras(event, place)
                    self._push({} if isinstance(event, yaml.MappingStartEvent) else [], place)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._open.pop()

    def _refuse(self, place: Place, sentence: str) -> None:
        self.flaws.append(Flaw(place, sentence))
        if len(self.flaws) >= _MOST_FLAWS:
            raise _Enough

    def _refuse_extras(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            self._refuse(place, "anchors are not taken")
        if event.tag is not None:
            self._refuse(place, "tags are not taken")
        self._nodes += 1
        if self._nodes > 2 * MAX_NODES:  # keys are nodes too
            self._end(place, f"more than {MAX_NODES} values")

    def _end(self, place: Place, sentence: str) -> None:
        self._refuse(place, sentence)
        raise _Enough

    def _scalar(self, text: str, event: Any, place: Place) -> None:
        if not _is_portable(text):
            self._refuse(place, "text with NUL or half of a surrogate pair is not taken")
        if self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is None:
            self._begin_key(text, place)
            return
        try:
            value = plain(text) if event is None or event.implicit[0] else text
        except ValueError as error:
            self._refuse(place, str(error))
            value = None
        self._add(value, Node(place))

    def _begin_key(self, key: str, place: Place) -> None:
        into = self._open[-1]
        into.key = key
        into.is_repeated = key in into.node.keys
        if into.is_repeated:
            self._refuse(place, f"an object has the same key twice, the first time in line {into.node.keys[key].line}")
            return
        if key == "<<":
            self._refuse(place, "merge keys are not taken")
        into.node.keys[key] = place

    def _push(self, container: dict[str, Any] | list[Any], place: Place) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._end(place, f"nested deeper than {MAX_DEPTH} levels")
        if self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is None:
            self._end(place, "a key must be text")
        node = Node(place)
        self._add(container, node)
        self._open.append(_Open(container, node))

    def _add(self, value: Any, node: Node) -> None:
        if not self._open:
            self._documents += 1
            if self._documents > 1:
                self._end(node.place, "there is more than one document")
            self.value, self.root = value, node
            return
        into = self._open[-1]
        if isinstance(into.value, list):
            into.node.inner[len(into.value)] = node
            into.value.append(value)
        elif into.key is not None:
            if not into.is_repeated:
                into.value[into.key] = value
                into.node.inner[into.key] = node
            into.key = None


def _is_portable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _place(mark: Any) -> Place:
    return Place(1, 1) if mark is None else Place(mark.line + 1, mark.column + 1)


def _end_of(text: str) -> Place:
    return Place(text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1)
