"""The changes between two documents, as lines for people."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from central_hub.cli.key_paths import dotted_pointer
from central_hub.cli.legible import short
from central_hub.cli.output import Output

Change = Mapping[str, Any]

_STYLES: Final = {"add": "green", "remove": "red", "replace": "yellow"}


def show(output: Output, changes: Iterable[Change]) -> None:
    """One line for each change: `+` added, `-` removed, `~` replaced (old → new)."""
    for change in changes:
        output.text(f"  {line(change)}", _STYLES.get(change["op"], ""))


def line(change: Change) -> str:
    """`~ operational.batch_size: 100 → 150`."""
    key = dotted_pointer(change["path"])
    match change["op"]:
        case "add":
            return f"+ {key}: {short(change['new'])}"
        case "remove":
            return f"- {key}: {short(change['old'])}"
        case _:
            return f"~ {key}: {short(change['old'])} → {short(change['new'])}"


def summary(changes: Iterable[Change]) -> str:
    """The keys alone, for one line among many: `~operational.batch_size +features.x`."""
    signs = {"add": "+", "remove": "-"}
    return " ".join(f"{signs.get(change['op'], '~')}{dotted_pointer(change['path'])}" for change in changes)


def summary_of(entry: Mapping[str, Any]) -> str:
    """The keys that an entry of a history changed; of one whose change list is gone with its content, that."""
    return "redacted" if entry.get("redacted") and not entry["changes"] else summary(entry["changes"])


def removed(changes: Iterable[Change]) -> list[str]:
    """The keys that go, as they are typed."""
    return [dotted_pointer(change["path"]) for change in changes if change["op"] == "remove"]
