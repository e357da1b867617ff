"""What a write does to a document: each edit turns the config there is into the config there shall be. Pure."""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jsonpatch
from jsonpointer import JsonPointerException

from central_hub.errors import Conflict, InvalidRequest, LimitExceeded, NotFound
from central_hub.storage.config_values import Action
from central_hub_client import layers
from central_hub_client.strict_json import MAX_NODES

Config = dict[str, Any]

MAX_PATCH_OPERATIONS: Final = 1_000
FIRST_VERSION: Final = "1.0.0"


@dataclass(frozen=True, slots=True)
class Replace:
    """The config given takes the place of the one there is."""

    config: Config
    may_create: bool = True
    guards_removals: bool = False
    action = Action.UPDATED

    def apply(self, current: Config | None) -> Config | None:
        return self.config


@dataclass(frozen=True, slots=True)
class Merge:
    """Objects merge recursively, null is stored, nothing is removed."""

    config: Config
    may_create = True
    guards_removals = True
    action = Action.UPDATED

    def apply(self, current: Config | None) -> Config | None:
        return layers.merge([current or {}, self.config])


@dataclass(frozen=True, slots=True)
class MergePatch:
    """RFC 7396: objects merge recursively, null removes."""

    patch: Config
    may_create = False
    guards_removals = False
    action = Action.UPDATED

    def apply(self, current: Config | None) -> Config | None:
        merged: Config = merge_patch(current, self.patch)
        return merged


@dataclass(frozen=True, slots=True)
class JsonPatch:
    """RFC 6902: operations that all succeed or change nothing."""

    operations: list[dict[str, Any]]
    may_create = False
    guards_removals = False
    action = Action.UPDATED

    def apply(self, current: Config | None) -> Config | None:
        check_operations(self.operations)
        document: Any = copy.deepcopy(current)
        budget = MAX_NODES
        for index, operation in enumerate(self.operations):
            # Copies can double a document again and again: thirty operations would fill any memory.
            if operation["op"] == "copy":
                budget -= _count_nodes(_resolve(document, operation["from"], index), budget)
                if budget <= 0:
                    raise LimitExceeded(f"operation {index} copies more than {MAX_NODES} values")
            document = _apply_one(document, operation, index)
        if not isinstance(document, dict):
            raise InvalidRequest("the patch leaves something that is not an object; a document is one")
        return document


@dataclass(frozen=True, slots=True)
class Delete:
    """The document becomes a tombstone; its history stays."""

    may_create = False
    guards_removals = False
    action = Action.DELETED

    def apply(self, current: Config | None) -> Config | None:
        return None


@dataclass(frozen=True, slots=True)
class Restore:
    """The document becomes what it was at an earlier revision."""

    config: Config
    may_create = True
    guards_removals = False
    action = Action.ROLLBACK

    def apply(self, current: Config | None) -> Config | None:
        return self.config


Edit = Replace | Merge | MergePatch | JsonPatch | Delete | Restore


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def next_version(current: str | None) -> str:
    """The label after `current`: its last number raised by one."""
    if current is None:
        return FIRST_VERSION
    match = re.search(r"([0-9]{1,15})([^0-9]*)\Z", current)
    if match is None:
        return f"{current}.1"
    return f"{current[: match.start(1)]}{int(match[1]) + 1}{match[2]}"


def check_operations(operations: Any) -> None:
    """Raise InvalidRequest unless this has the shape of a JSON Patch."""
    if not isinstance(operations, list):
        raise InvalidRequest("a JSON Patch is a list of operations")
    if len(operations) > MAX_PATCH_OPERATIONS:
        raise InvalidRequest(f"a patch of more than {MAX_PATCH_OPERATIONS} operations")
    for index, operation in enumerate(operations):
        if not isinstance(operation, dict):
            raise InvalidRequest(f"operation {index} is not an object")
        op = operation.get("op")
        if op not in ("add", "remove", "replace", "move", "copy", "test"):
            raise InvalidRequest(f"operation {index} has no known op (add, remove, replace, move, copy, test)")
        needed = {"add": ("value",), "replace": ("value",), "test": ("value",), "move": ("from",), "copy": ("from",)}
        for name in ("path", *needed.get(op, ())):
            if name not in operation:
                raise InvalidRequest(f"operation {index} ({op}) lacks {name}")
        for name in ("path", "from"):
            pointer = operation.get(name, "")
            if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
                raise InvalidRequest(f"operation {index}: {name} is not a JSON Pointer")
        if op in ("remove", "move") and not operation["path" if op == "remove" else "from"]:
            raise InvalidRequest(f"operation {index} removes the whole document: use DELETE")


def _apply_one(document: Any, operation: dict[str, Any], index: int) -> Any:
    try:
        return jsonpatch.JsonPatch([operation]).apply(document, in_place=True)
    except jsonpatch.JsonPatchTestFailed as error:
        raise Conflict(f"operation {index}: the test of {operation['path']!r} failed; nothing was changed") from error
    except RecursionError as error:
        raise LimitExceeded(f"operation {index} makes the document nest too deeply") from error
    except (jsonpatch.JsonPatchException, JsonPointerException, TypeError, KeyError, IndexError, ValueError) as error:
        # The library's own words may quote values.
        raise InvalidRequest(
            f"operation {index} ({operation['op']}) cannot be applied at {operation['path']!r}"
        ) from error


def _resolve(document: Any, pointer: str, index: int) -> Any:
    try:
        return jsonpatch.JsonPointer(pointer).resolve(document)
    except (JsonPointerException, TypeError, KeyError, IndexError, ValueError) as error:
        raise InvalidRequest(f"operation {index} (copy) finds nothing at {pointer!r}") from error


def _count_nodes(value: Any, limit: int) -> int:
    count, stack = 0, [value]
    while stack and count <= limit:
        item = stack.pop()
        count += 1
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return count


def require_existing(edit: Edit, current: Config | None) -> None:
    """Raise NotFound for an edit that needs a document where there is none."""
    if current is None and not edit.may_create:
        raise NotFound(
            "there is none to delete"
            if edit.action is Action.DELETED
            else "there is no such document; PUT or POST creates it"
        )
