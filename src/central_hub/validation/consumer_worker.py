"""The process that holds documents against the schemas of settings models, as the services themselves would.

A service drops the keys that its model does not declare before it validates, and takes some from places of its own. So
does this. What it is asked is told in `worker`; here the schemas are many:

    request    a JSON list of schemas, as text; then {"document": …, "supplied": [[pointer, …], …]}
    answer     {"verdicts": [{"violations": […], "unknown": [pointer, …]} or {"unusable": {…}}]}
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Final

from central_hub.validation.compiled import Compiled
from central_hub.validation.pointers import pointer, steps
from central_hub.validation.references import is_reference
from central_hub.validation.schema import Unusable
from central_hub.validation.violations import violations
from central_hub.validation.worker import Worker, limited_cpu, serve, unusable
from central_hub_client.declared import Shape

_MAX_UNKNOWN: Final = 1_000
_ODD: Final = (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError)
"""What becomes of reading, as a settings model's, a schema that is none."""


class _Fitting(Shape):
    """What a model declares. A reference to a secret fits wherever it stands."""

    def _fit_object(
        self, values: Mapping[str, Any], path: tuple[str, ...], unknown: list[tuple[str, ...]]
    ) -> dict[str, Any]:
        return dict(values) if is_reference(values) else super()._fit_object(values, path, unknown)


class ConsumerWorker:
    """Answers requests; the schemas that it was asked about last are ready."""

    def __init__(self) -> None:
        self._worker = Worker()

    def answer(self, schemas: bytes, request: Any) -> dict[str, Any]:
        """What is said to a request."""
        asked = zip(json.loads(schemas), request["supplied"], strict=True)
        return {"verdicts": [self._verdict(schema, request["document"], supplied) for schema, supplied in asked]}

    def _verdict(self, schema: str, document: dict[str, Any], supplied: list[str]) -> dict[str, Any]:
        compiled = self._worker.compile(schema.encode())
        if isinstance(compiled, Unusable):
            return unusable(compiled)
        with limited_cpu():
            return _held_against(compiled, schema, document, supplied)


@lru_cache(maxsize=256)
def _shape(schema: str) -> Shape:
    return _Fitting(json.loads(schema))


def _held_against(compiled: Compiled, schema: str, document: dict[str, Any], supplied: list[str]) -> dict[str, Any]:
    try:
        fitted, unknown = _shape(schema).fit(document)
        if (supplemented := _with_groups(document, supplied)) is not document:
            # The service finds these objects in any case: with what it supplies, and without all the rest.
            fitted, _ = _shape(schema).fit(supplemented)
        is_valid = compiled.validator.is_valid(fitted)
    except _ODD:
        return unusable(Unusable("", "does not describe a settings model"))
    found = [] if is_valid else violations(compiled.validator.iter_errors(fitted), fitted, supplied)
    return {
        "violations": [asdict(violation) for violation in found],
        "unknown": [pointer(path) for path in unknown[:_MAX_UNKNOWN]],
    }


def _with_groups(document: dict[str, Any], supplied: list[str]) -> dict[str, Any]:
    """The document with the objects in which keys are supplied, empty where it has none; itself, if it has them all."""
    for key in supplied:
        document = _with_group(document, steps(key)[:-1])
    return document


def _with_group(value: dict[str, Any], path: list[str]) -> dict[str, Any]:
    if not path or is_reference(value):
        return value
    name, *further = path
    below = value.get(name, {})
    with_group = _with_group(below, further) if isinstance(below, dict) else below
    return value if name in value and with_group is below else {**value, name: with_group}


if __name__ == "__main__":
    serve(ConsumerWorker().answer)
