"""Configuration as a Pydantic model or a dataclass. Loads Pydantic: imported only where a model is given."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Generic
from weakref import WeakKeyDictionary

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema, to_json

from central_hub_client.binding import Problem, Refused, S
from central_hub_client.declared import OTHER_NAMES, Shape

logger = logging.getLogger("central_hub_client")

_MISSING_KINDS = frozenset({"missing", "missing_argument", "missing_keyword_only_argument"})
_WRITTEN_BY_THE_MODEL = frozenset({"value_error", "assertion_error"})


class ModelBinding(Generic[S]):
    """Instances of `model`, validated as JSON is: what a strict model takes from JSON, it takes from here.

    Readers share one instance. Declare the model `frozen=True`, so that none of them can alter it.
    """

    reads = None

    def __init__(self, model: type[S]) -> None:
        self._model = model

    @cached_property
    def _adapter(self) -> TypeAdapter[S]:
        return TypeAdapter(self._model)

    @cached_property
    def shape(self) -> Shape | None:
        schema = self._schema(_DeclaredKeys)
        return None if schema is None else Shape(schema)

    @cached_property
    def json_schema(self) -> Mapping[str, Any] | None:
        """What the hub is told. Where a secret is declared, no default is: it could hold one."""
        has_secret = self.shape is not None and self.shape.has_any_secret
        return self._schema(_WithoutDefaults if has_secret else _TolerantSchema)

    def bind(self, values: dict[str, Any]) -> S:
        try:
            return self._adapter.validate_json(to_json(values))
        except ValidationError as error:
            raise Refused([self._problem(dict(finding)) for finding in _findings(error)]) from None

    def child(self, value: Any, key: str) -> Any:
        if isinstance(value, RootModel):
            return self.child(value.root, key)
        if isinstance(value, Mapping):
            return value[key]
        for field in fields_of(type(value)):
            if key in field.keys or key == field.attribute:
                return getattr(value, field.attribute)
        extra = getattr(value, "model_extra", None) or {}
        return extra[key]

    def tree(self, value: Any) -> Any:
        if isinstance(value, RootModel):
            return self.tree(value.root)
        if isinstance(value, Mapping):
            return {key: self.tree(item) for key, item in value.items()}
        if isinstance(value, BaseModel) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
            extra = getattr(value, "model_extra", None) or {}
            own = {field.keys[0]: self.tree(getattr(value, field.attribute)) for field in fields_of(type(value))}
            return own | {key: self.tree(item) for key, item in extra.items()}
        return value

    def _schema(self, generator: type[GenerateJsonSchema]) -> Mapping[str, Any] | None:
        try:
            return self._adapter.json_schema(schema_generator=generator)
        except Exception as error:  # noqa: BLE001 - types may bring code of their own to describe themselves
            logger.error("the model has no schema, unknown keys reach it: error=%s", type(error).__name__)
            return None

    def _problem(self, finding: dict[str, Any]) -> Problem:
        path = tuple(map(str, finding["loc"]))
        message = finding["msg"]
        may_quote = finding["type"] in _WRITTEN_BY_THE_MODEL
        shape = self.shape
        if shape is not None and shape.has_any_secret and (may_quote or shape.has_secret(path)):
            message = f"refused by the model ({finding['type']}); a secret is among what it checks"
        return Problem(path, message, finding["type"] in _MISSING_KINDS)


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A field of a class: its attribute, and the keys under which documents may set it, the usual one first."""

    attribute: str
    keys: tuple[str, ...]


_fields: WeakKeyDictionary[type[Any], tuple[Field, ...]] = WeakKeyDictionary()


def fields_of(model: type[Any]) -> tuple[Field, ...]:
    """The fields of a model or a dataclass; none for any other class."""
    found = _fields.get(model)
    if found is None:
        found = _fields[model] = tuple(_read_fields(model))
    return found


def _read_fields(model: type[Any]) -> Iterator[Field]:
    if issubclass(model, BaseModel):
        yield from (Field(name, _keys(model, name)) for name in model.model_fields)
    elif dataclasses.is_dataclass(model):
        yield from (Field(field.name, (field.name,)) for field in dataclasses.fields(model))


def _keys(model: type[BaseModel], name: str) -> tuple[str, ...]:
    alias = model.model_fields[name].validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    keys = [choice.path[0] if isinstance(choice, AliasPath) else choice for choice in choices]
    config = model.model_config
    by_name = config.get("validate_by_name") or config.get("populate_by_name")
    spelled = [key for key in keys if isinstance(key, str)]
    return tuple(dict.fromkeys([*spelled, name] if by_name or not spelled else spelled))


def _findings(error: ValidationError) -> Any:
    # Without the input: nobody knows what somebody pasted into the wrong field.
    return error.errors(include_input=False, include_url=False, include_context=False)


class _TolerantSchema(GenerateJsonSchema):
    """A type that JSON Schema has no words for takes anything."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as declared above

    def handle_invalid_for_json_schema(self, schema: core_schema.CoreSchema, error_info: str) -> JsonSchemaValue:
        return {}

    # The hub holds changes against what is told here: what it does not say, the hub lets pass and the model refuses.

    def get_decimal_pattern(self, schema: core_schema.DecimalSchema) -> str | None:
        return self.build_decimal_pattern(schema)

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        result = super().dict_schema(schema)
        if "patternProperties" in result:
            result.setdefault("additionalProperties", False)
        if schema.get("keys_schema", {}).get("type") == "int":
            result["propertyNames"] = {"pattern": r"^[-+]?[0-9]+$"}
        return result


class _WithoutDefaults(_TolerantSchema):
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


class _DeclaredKeys(_TolerantSchema):
    """With every spelling of a key that a model takes, not the first alone."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        result = super().model_schema(schema)
        model = schema["cls"]
        if "properties" in result and issubclass(model, BaseModel):
            properties = result["properties"]
            for field in fields_of(model):
                known: str | None = next((key for key in field.keys if key in properties), None)
                for key in field.keys:
                    if known is None:
                        properties[key] = {}
                    elif key != known:
                        result.setdefault(OTHER_NAMES, {})[key] = known
        return result
