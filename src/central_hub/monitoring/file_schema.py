"""The JSON Schema of infrastructure.yaml as people write it, for editors and pipelines. Pure.

The models describe a document whose variables are filled in; in the file one may stand wherever a value does.
"""

from typing import Any, Final

from central_hub.monitoring.file_format import File
from central_hub.monitoring.variables import NAME
from central_hub_client.declared import SECRET
from central_hub_client.references import KEY

_VARIABLE: Final = {"type": "string", "pattern": r"\$\{"}
_REFERENCE: Final = {
    "description": "A reference to a credential, which is resolved at the moment of use.",
    "anyOf": [
        {"type": "string", "pattern": rf"^\$\{{{NAME}\}}$"},
        {
            "type": "object",
            "properties": {KEY: {"type": "string", "pattern": rf"^(env://{NAME}|file:///\S+)$"}},
            "required": [KEY],
            "additionalProperties": False,
        },
    ],
}
_KEPT: Final = ("description", "title", "default")
_ALSO_A_VARIABLE: Final = frozenset({"integer", "number", "boolean"})


def file_schema() -> dict[str, Any]:
    """The whole, in the dialect 2020-12."""
    schema: dict[str, Any] = _as_written(File.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "infrastructure.yaml"}


def _as_written(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_as_written(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get(SECRET) is True:
        return {**_REFERENCE, **{key: schema[key] for key in _KEPT if key in schema}}
    # Under `properties`, `type` is a name and what is said of it no text.
    if isinstance(kind := schema.get("type"), str) and kind in _ALSO_A_VARIABLE and "const" not in schema:
        said = {key: value for key, value in schema.items() if key in _KEPT}
        rule = {key: value for key, value in schema.items() if key not in _KEPT}
        return {**said, "anyOf": [rule, _VARIABLE]}
    return {key: _as_written(value) for key, value in schema.items()}
