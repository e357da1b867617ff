"""What the routes of the infrastructure answer, as OpenAPI."""

from typing import Any, Final

from central_hub.api.v1.openapi import Responses, object_schema, ok
from central_hub.monitoring.infrastructure import Need, Section
from central_hub_client.wire import HealthState

_TEXT: Final = {"type": "string"}
_OPTIONAL: Final = {"type": ["string", "null"]}
_TIME: Final = {"type": "string", "format": "date-time"}
_OPTIONAL_TIME: Final = {"type": ["string", "null"], "format": "date-time"}
_STATES: Final = [str(state) for state in HealthState if state is not HealthState.DRAINING]
_STALE: Final = {
    "X-Hub-Stale": {
        "schema": {"const": "true"},
        "description": "PostgreSQL is not reached: what other replicas probe is told as it was then.",
    }
}

_COMPONENT_FIELDS: Final[dict[str, Any]] = {
    "name": _TEXT,
    "section": {"enum": [str(section) for section in Section]},
    "type": _TEXT,
    "description": _TEXT,
    "labels": {"type": "object", "additionalProperties": _TEXT},
    "state": {"enum": [*_STATES, None], "description": "Null where it is not probed."},
    "since": _OPTIONAL_TIME,
    "reason": _OPTIONAL,
    "latency_ms": {"type": ["number", "null"], "description": "Of the last answer; null without one."},
    "probed_at": {
        **_OPTIONAL_TIME,
        "description": "Of the last result that is known here. Of what another replica probes, results that say"
        " nothing new are known every 30 s.",
    },
    "maintenance": {
        "anyOf": [
            object_schema("from until reason", {"from": _TIME, "until": _TIME, "reason": _TEXT}),
            {"type": "null"},
        ]
    },
}

INFRASTRUCTURE: Final[Responses] = {
    200: ok(
        "The components, in the order of their names.",
        object_schema(
            "components error",
            {
                "components": {"type": "array", "items": object_schema(" ".join(_COMPONENT_FIELDS), _COMPONENT_FIELDS)},
                "error": {
                    **_OPTIONAL,
                    "description": "Why the file as it is now does not count; the components are those before.",
                },
            },
        ),
        _STALE,
    )
}

_PROBE: Final = object_schema(
    "kind interval_seconds timeout_seconds failures successes options",
    {
        "kind": _TEXT,
        "interval_seconds": {"type": "number"},
        "timeout_seconds": {"type": "number"},
        "failures": {"type": "integer", "description": "In a row, until it is unhealthy."},
        "successes": {"type": "integer", "description": "In a row, until it is well again."},
        "options": {"type": "object"},
    },
)

COMPONENT: Final[Responses] = {
    200: ok(
        "The component.",
        object_schema(
            " ".join(_COMPONENT_FIELDS) + " connection probe depends_on transitions",
            _COMPONENT_FIELDS
            | {
                "connection": {
                    "type": "object",
                    "description": "Its shape: for a credential there is the reference, never the value.",
                },
                "probe": {"anyOf": [_PROBE, {"type": "null"}]},
                "depends_on": {
                    "type": "object",
                    "additionalProperties": {"enum": [str(need) for need in Need]},
                },
                "transitions": {
                    "type": "array",
                    "description": "Newest first. While PostgreSQL is not reached, those that this replica saw since.",
                    "items": object_schema(
                        "at from to reason",
                        {"at": _TIME, "from": {"enum": _STATES}, "to": {"enum": _STATES}, "reason": _OPTIONAL},
                    ),
                },
            },
        ),
        _STALE,
    )
}

CHECKED: Final[Responses] = {
    200: ok(
        "The component after this result, and the result.",
        object_schema(
            " ".join(_COMPONENT_FIELDS) + " result",
            _COMPONENT_FIELDS
            | {
                "result": object_schema(
                    "ok reason latency_ms",
                    {
                        "ok": {"type": ["boolean", "null"], "description": "Null where nothing could be measured."},
                        "reason": _OPTIONAL,
                        "latency_ms": {"type": ["number", "null"]},
                    },
                )
            },
        ),
        _STALE,
    )
}
