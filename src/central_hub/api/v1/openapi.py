"""What the routes take and answer, as OpenAPI: the handlers parse and serialise by themselves."""

from typing import Any, Final

from pydantic import BaseModel

from central_hub.api.body import JSON, JSON_PATCH, SCHEMA_JSON
from central_hub_client.strict_json import MAX_INTEGER
from central_hub_client.wire import ErrorCode

Responses = dict[int | str, dict[str, Any]]

_POSITION_HEADERS: Final = {
    "ETag": {"schema": {"type": "string"}, "description": "Strong; for writes that of `own=true`."},
    "X-Hub-Revision": {"schema": {"type": "string"}, "description": "`<epoch>.<revision>`."},
}
_REVISION: Final = {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER}
_CHANGES: Final = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {"op": {"enum": ["add", "remove", "replace"]}, "path": {"type": "string"}, "old": {}, "new": {}},
    },
}


def object_schema(required: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


def ok(description: str, schema: dict[str, Any], headers: dict[str, Any] | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": description, "content": {"application/json": {"schema": schema}}}
    return answer | ({"headers": headers} if headers else {})


_FINDING: Final = object_schema(
    "pointer code message",
    {name: {"type": "string"} for name in "pointer code message keyword service environment build".split()}
    | {"instances": {"type": "array", "items": {"type": "string"}}},
)

_PROBLEM: Final = {
    "description": "A problem document (RFC 9457) with a stable code.",
    "content": {
        "application/problem+json": {
            "schema": object_schema(
                "type title status detail code",
                {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "code": {"enum": [str(code) for code in ErrorCode]},
                    "errors": {
                        "type": "array",
                        "items": _FINDING,
                    },
                },
            )
        }
    },
}

PROBLEMS: Final[Responses] = {"4XX": _PROBLEM, "5XX": _PROBLEM}

CONFIG: Final[Responses] = {
    200: ok(
        "The config object.",
        object_schema(
            "service environment config version hub_id epoch revision previous_revision hash requires updated_at"
            " updated_by",
            {
                "service": {"type": "string"},
                "environment": {"type": "string"},
                "config": {"type": "object"},
                "version": {"type": "string"},
                "hub_id": {"type": "string"},
                "epoch": _REVISION,
                "revision": _REVISION,
                "previous_revision": {"type": ["integer", "null"]},
                "hash": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
                "requires": {"type": "array", "items": {"type": "string"}},
                "updated_at": {"type": "string", "format": "date-time"},
                "updated_by": {"type": "string"},
                "provenance": {
                    "type": "object",
                    "additionalProperties": object_schema(
                        "layer revision changed_by",
                        {
                            "layer": {"type": "string"},
                            "revision": _REVISION,
                            "changed_by": {"type": "string"},
                            "set_by": {
                                "type": ["object", "null"],
                                "description": "With `blame`: the change that set the value, null where none is known.",
                            },
                        },
                    ),
                },
            },
        ),
        _POSITION_HEADERS,
    ),
    304: {"description": "Nothing newer."},
}

_BEFORE_AND_AFTER: Final = object_schema("before after", {"before": _REVISION, "after": _REVISION})
_EFFECT: Final = object_schema(
    "configs further_configs instances size shape",
    {
        "configs": {
            "type": "array",
            "items": object_schema(
                "service environment changes instances unread shadowed",
                {
                    "service": {"type": "string"},
                    "environment": {"type": "string"},
                    "changes": _CHANGES,
                    "instances": _REVISION,
                    "unread": {"type": "array", "items": {"type": "string"}},
                    "shadowed": {
                        "type": "array",
                        "items": object_schema("path instances", {"path": {"type": "string"}, "instances": _REVISION}),
                    },
                },
            ),
        },
        "further_configs": {**_REVISION, "description": "Those that the token does not cover, and beyond a hundred."},
        "instances": _REVISION,
        "size": {
            "anyOf": [
                object_schema("bytes keys depth", dict.fromkeys(("bytes", "keys", "depth"), _BEFORE_AND_AFTER)),
                {"type": "null"},
            ]
        },
        "shape": object_schema(
            "added removed replaced retyped",
            dict.fromkeys(("added", "removed", "replaced"), _REVISION)
            | {
                "retyped": {
                    "type": "array",
                    "items": object_schema(
                        "path old new", {name: {"type": "string"} for name in ("path", "old", "new")}
                    ),
                }
            },
        ),
    },
) | {"description": "Of a write that was only tried: whom it would reach, and who would notice."}

OUTCOME: Final[Responses] = {
    200: ok(
        "What the write did.",
        object_schema(
            "status service environment version revision epoch changes warnings announced",
            {
                "status": {"enum": ["created", "updated", "unchanged", "deleted", "valid"]},
                "service": {"type": "string"},
                "environment": {"type": "string"},
                "version": {"type": "string"},
                "revision": _REVISION,
                "epoch": _REVISION,
                "changes": _CHANGES,
                "warnings": {"type": "array", "items": _FINDING},
                "announced": {"type": "boolean"},
                "effect": _EFFECT,
            },
        ),
        _POSITION_HEADERS,
    )
}

TRANSACTION: Final[Responses] = {
    200: ok(
        "What the transaction did, update by update in the order in which they were sent.",
        object_schema(
            "status revision epoch updates warnings announced",
            {
                "status": {"enum": ["updated", "unchanged", "valid"]},
                "revision": _REVISION,
                "epoch": _REVISION,
                "updates": {
                    "type": "array",
                    "items": object_schema(
                        "kind status service environment version revision epoch changes warnings etag",
                        {
                            "kind": {"enum": ["document", "schema"]},
                            "status": {"enum": ["created", "updated", "unchanged", "deleted", "valid"]},
                            "service": {"type": "string"},
                            "environment": {"type": "string"},
                            "version": {"type": "string"},
                            "revision": _REVISION,
                            "epoch": _REVISION,
                            "changes": _CHANGES,
                            "warnings": {"type": "array", "items": _FINDING},
                            "etag": {"type": "string"},
                        },
                    ),
                },
                "warnings": {"type": "array", "items": _FINDING},
                "announced": {"type": "boolean"},
                "effect": _EFFECT,
            },
        ),
        {"X-Hub-Revision": _POSITION_HEADERS["X-Hub-Revision"]},
    )
}

_ENTRY: Final[dict[str, Any]] = {
    "epoch": _REVISION,
    "revision": _REVISION,
    "version": {"type": "string"},
    "action": {"enum": ["created", "updated", "deleted", "rollback", "schema"]},
    "changed_by": {"type": "string"},
    "changed_at": {"type": "string", "format": "date-time"},
    "reason": {"type": ["string", "null"]},
    "changes": _CHANGES,
    "redacted": {"type": "boolean"},
}
_ENTRY_REQUIRED: Final = "epoch revision version action changed_by changed_at reason changes"
_NEXT: Final = {"type": ["integer", "null"], "description": "`before` of the next page."}

HISTORY: Final[Responses] = {
    200: ok(
        "A page of the history, newest first.",
        object_schema(
            "service environment history next",
            {
                "service": {"type": "string"},
                "environment": {"type": "string"},
                "next": _NEXT,
                "history": {
                    "type": "array",
                    "items": object_schema(
                        _ENTRY_REQUIRED,
                        _ENTRY
                        | {
                            "config": {"type": ["object", "null"]},
                            "schema": {"type": ["object", "null"], "description": "Of the action `schema`."},
                        },
                    ),
                },
            },
        ),
    )
}

LISTING: Final[Responses] = {
    200: ok(
        "A page of documents and schemas, in the order of their names.",
        object_schema(
            "epoch revision entries next",
            {
                "epoch": _REVISION,
                "revision": _REVISION,
                "next": {"type": ["string", "null"]},
                "entries": {
                    "type": "array",
                    "items": object_schema(
                        "kind service environment version revision updated_at updated_by managed_by",
                        {
                            "kind": {"enum": ["document", "schema"]},
                            "service": {"type": "string"},
                            "environment": {"type": "string"},
                            "version": {"type": "string"},
                            "revision": _REVISION,
                            "updated_at": {"type": "string", "format": "date-time"},
                            "updated_by": {"type": "string"},
                            "managed_by": {"type": ["string", "null"]},
                            "config": {"type": "object"},
                        },
                    ),
                },
            },
        ),
    )
}

SEARCH: Final[Responses] = {
    200: ok(
        "A page of what was found, newest first.",
        object_schema(
            "history next",
            {
                "next": _NEXT,
                "history": {
                    "type": "array",
                    "items": object_schema(
                        f"service environment {_ENTRY_REQUIRED}",
                        _ENTRY | {"service": {"type": "string"}, "environment": {"type": "string"}},
                    ),
                },
            },
        ),
    )
}

DIFF: Final[Responses] = {
    200: ok(
        "The differences.",
        object_schema(
            "service environment from to changes patch",
            {
                "service": {"type": "string"},
                "environment": {"type": "string"},
                "from": {"type": ["integer", "null"]},
                "to": _REVISION,
                "changes": _CHANGES,
                "patch": {"type": "array"},
            },
        ),
    )
}

SCHEMA: Final[Responses] = {
    200: {
        "description": "The JSON Schema itself.",
        "content": {"application/schema+json": {"schema": {"type": "object"}}},
        "headers": _POSITION_HEADERS,
    },
    304: {"description": "The caller has it already."},
}

WATCH: Final[Responses] = {
    200: {
        "description": "`event: config` with config objects, `event: bookmark` at least every two seconds.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


JSON_VALUE: Final = {
    "description": "Any JSON value that every reader takes for the same: integers within ±(2^53−1), no NUL. "
    "A string has at most 256 KiB in UTF-8, which JSON Schema, counting characters, cannot say.",
    "anyOf": [
        {"type": "null"},
        {"type": "boolean"},
        {"type": "integer", "minimum": -MAX_INTEGER, "maximum": MAX_INTEGER},
        {"type": "number"},
        {"type": "string"},
        {"type": "array", "items": {"$ref": "#/components/schemas/JsonValue"}},
        {"$ref": "#/components/schemas/Document"},
    ],
}
DOCUMENT: Final = {
    "type": "object",
    "propertyNames": {"maxLength": 128},
    "additionalProperties": {"$ref": "#/components/schemas/JsonValue"},
}
_MERGE_PATCH: Final = {
    "type": "object",
    "description": "A merge patch (RFC 7396). What it leaves must be a document; what it removes may have any name.",
}
_POINTER: Final = {"type": "string", "pattern": "^(/([^~]|~[01])*)?$"}
_OPERATION: Final = {
    "anyOf": [
        object_schema(f"op path {field}", {"op": {"enum": ops}, "path": _POINTER, field: schema})
        for ops, field, schema in (
            (["add", "replace", "test"], "value", {"$ref": "#/components/schemas/JsonValue"}),
            (["move", "copy"], "from", _POINTER),
        )
    ]
    + [object_schema("op path", {"op": {"const": "remove"}, "path": _POINTER})]
}


_DOCUMENTS: Final = frozenset({"config", "metadata"})
"""Fields that hold what a document may hold."""


def add_components(document: dict[str, Any]) -> None:
    """Put the schemas that others refer to into an OpenAPI document."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["JsonValue"] = JSON_VALUE
    schemas["Document"] = {"description": "A document: a JSON object.", **DOCUMENT}


def schema_body() -> dict[str, Any]:
    """The body that is a JSON Schema."""
    drafts = ["https://json-schema.org/draft/2020-12/schema"]
    drafts += [f"http://json-schema.org/{draft}/schema#" for draft in ("draft-07", "draft-04")]
    schema = {
        "type": "object",
        "description": "A JSON Schema; its references stay inside it. Without `$schema` it is of 2020-12.",
        "properties": {"$schema": {"enum": drafts}},
        "propertyNames": {"maxLength": 128},
    }
    return {"requestBody": {"required": True, "content": {name: {"schema": schema} for name in (JSON, SCHEMA_JSON)}}}


def request_body(model: type[BaseModel] | None, *media_types: str) -> dict[str, Any]:
    """The body of a route: a model's, or (None) a JSON document; as `application/json` unless told otherwise."""
    if model is not None:
        content = {"application/json": {"schema": _inlined(model)}}
    elif not media_types:
        content = {"application/json": {"schema": DOCUMENT}}
    else:
        patch: dict[str, Any] = {"type": "array", "items": _OPERATION, "maxItems": 1_000}
        content = {name: {"schema": patch if name == JSON_PATCH else _MERGE_PATCH} for name in media_types}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(model: type[BaseModel]) -> dict[str, Any]:
    # One level of definitions at most: what is referred to is put in its place.
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str) and reference.startswith("#/$defs/"):
                return resolve(definitions[reference.removeprefix("#/$defs/")])
            return {
                key: _with_documents(resolve(item)) if key == "properties" else resolve(item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [resolve(item) for item in value]
        return value

    resolved: dict[str, Any] = resolve(schema)
    return resolved


def _with_documents(properties: dict[str, Any]) -> dict[str, Any]:
    found = dict(properties)
    for name in _DOCUMENTS & found.keys():
        is_optional = "anyOf" in found[name]
        found[name] = {"anyOf": [DOCUMENT, {"type": "null"}]} if is_optional else DOCUMENT
    return found
