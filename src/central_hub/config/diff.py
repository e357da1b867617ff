"""The difference between two documents, for people (changes) and for machines (RFC 6902). Pure."""

from typing import Any

from central_hub_client.strict_json import escape_pointer


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """`[{op: add|remove|replace, path, old?, new?}]`, in the order of the keys. Lists count as one value."""
    found: list[dict[str, Any]] = []
    _collect(old, new, "", found)
    return found


def patch(changed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The change list as a JSON Patch."""
    return [
        {"op": change["op"], "path": change["path"]} | ({} if change["op"] == "remove" else {"value": change["new"]})
        for change in changed
    ]


def removed_keys(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """JSON Pointers of the keys of `old` that `new` no longer has, also where a value took the place of an object."""
    found: list[str] = []
    _collect_removed(old, new, "", found)
    return found


def same(left: Any, right: Any) -> bool:
    """Equality as JSON sees it: in Python `True == 1` and `1 == 1.0`, and each of them is another document with another
    hash."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def _collect(old: dict[str, Any], new: dict[str, Any], pointer: str, found: list[dict[str, Any]]) -> None:
    for key, value in old.items():
        path = f"{pointer}/{escape_pointer(key)}"
        if key not in new:
            found.append({"op": "remove", "path": path, "old": value})
        elif isinstance(value, dict) and isinstance(new[key], dict):
            _collect(value, new[key], path, found)
        elif not same(value, new[key]):
            found.append({"op": "replace", "path": path, "old": value, "new": new[key]})
    for key, value in new.items():
        if key not in old:
            found.append({"op": "add", "path": f"{pointer}/{escape_pointer(key)}", "new": value})


def _collect_removed(old: dict[str, Any], new: Any, pointer: str, found: list[str]) -> None:
    for key, value in old.items():
        path = f"{pointer}/{escape_pointer(key)}"
        if not isinstance(new, dict) or key not in new:
            found.append(path)
        elif isinstance(value, dict):
            _collect_removed(value, new[key], path, found)
