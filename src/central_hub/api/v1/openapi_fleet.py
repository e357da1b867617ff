"""What the routes of the fleet answer, as OpenAPI."""

from typing import Any, Final

from central_hub.api.v1.openapi import Responses, object_schema, ok
from central_hub.coordination.check_latencies import WINDOWS
from central_hub.coordination.convergence import Standing
from central_hub_client.routing.policy import Fallback, Policy
from central_hub_client.wire import HealthState

_TEXT: Final = {"type": "string"}
_OPTIONAL: Final = {"type": ["string", "null"]}
_COUNT: Final = {"type": "integer", "minimum": 0}
_OPTIONAL_COUNT: Final = {"type": ["integer", "null"]}
_TIME: Final = {"type": "string", "format": "date-time"}
_TEXTS: Final = {"type": "array", "items": _TEXT}

_CHECK: Final = {
    "anyOf": [
        object_schema(
            "state reason at latency_ms",
            {
                "state": {
                    "enum": ["healthy", "degraded", "unhealthy", None],
                    "description": "`degraded`: it failed, not yet three times in a row. Null: nothing was measured.",
                },
                "reason": _OPTIONAL | {"description": "What the last check failed with."},
                "at": _TIME,
                "latency_ms": {"type": ["number", "null"], "description": "Null without an answer."},
            },
        ),
        {"type": "null"},
    ],
    "description": "What its health endpoint answered the hub in the last minute.",
}

_INSTANCE_FIELDS: Final[dict[str, Any]] = {
    "service": _TEXT,
    "environment": _TEXT,
    "instance_id": _TEXT,
    "generation": _COUNT,
    "state": {"enum": [str(state) for state in HealthState]},
    "kept": {
        "type": "boolean",
        "description": "Its lease ran out together with too many others': it is listed as it was last known.",
    },
    "host": _OPTIONAL,
    "port": _OPTIONAL_COUNT,
    "protocol": _OPTIONAL,
    "health_endpoint": _OPTIONAL,
    "version": _OPTIONAL,
    "build": _OPTIONAL,
    "capabilities": _TEXTS,
    "labels": {"type": "object", "additionalProperties": _TEXT},
    "metadata": {"type": "object"},
    "weight": _COUNT,
    "zone": _OPTIONAL,
    "lease_seconds": _COUNT,
    "lease_ends": _TIME,
    "registered_at": _TIME,
    "last_seen": _TIME,
    "drain": {
        "anyOf": [
            object_schema("by at reason", {"by": _TEXT, "at": _TIME, "reason": _OPTIONAL}),
            {"type": "null"},
        ],
        "description": "Who took it out of routing, and when: the name of his token.",
    },
    "check": _CHECK,
}
_INSTANCE: Final = object_schema(" ".join(_INSTANCE_FIELDS), _INSTANCE_FIELDS)
_SCHEMA_NEEDED: Final = {"type": "boolean", "description": "Only the schema's hash was told, and is not known: PUT it."}

REGISTERED: Final[Responses] = {
    200: ok(
        "The new incarnation.",
        object_schema(
            "instance_id generation incarnation_secret lease_seconds schema_needed",
            {
                "instance_id": _TEXT,
                "generation": _COUNT,
                "incarnation_secret": _TEXT,
                "lease_seconds": _COUNT,
                "schema_needed": _SCHEMA_NEEDED,
            },
        ),
    )
}

RENEWED: Final[Responses] = {
    200: ok(
        "The lease was renewed.",
        object_schema(
            "lease_seconds drain",
            {
                "lease_seconds": _COUNT,
                "drain": {"type": "boolean", "description": "An operator drains this instance: nobody is sent to it."},
            },
        ),
    )
}

DESCRIBED: Final[Responses] = {
    200: ok(
        "The instance as it is now.",
        object_schema(" ".join(_INSTANCE_FIELDS), {**_INSTANCE_FIELDS, "schema_needed": _SCHEMA_NEEDED}),
    )
}

INSTANCES: Final[Responses] = {
    200: ok(
        "Instances by service, environment and name.",
        object_schema(
            "instances next kept",
            {
                "instances": {"type": "array", "items": _INSTANCE},
                "next": {"type": ["string", "null"], "description": "`after` of the next page."},
                "kept": {
                    "type": "array",
                    "items": object_schema(
                        "service environment instances",
                        {"service": _TEXT, "environment": _TEXT, "instances": _COUNT},
                    ),
                    "description": "Where too many fell silent at once, and how many are listed as they were.",
                },
            },
        ),
    )
}

INSTANCES_WATCH: Final[Responses] = {
    200: {
        "description": "`event: instances` with all instances of a service, `event: instance` with one that changed,"
        " `event: gone` with one that is listed no more, and `event: bookmark` after them and at least every two"
        " seconds.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}

ROUTED: Final[Responses] = {
    200: ok(
        "The instance to call.",
        object_schema(
            "instance policy fallbacks",
            {
                "instance": _INSTANCE,
                "policy": {"enum": [str(policy) for policy in Policy]},
                "fallbacks": {
                    "type": "array",
                    "items": {"enum": [str(fallback) for fallback in Fallback]},
                    "description": "In what it falls short of what was asked for.",
                },
            },
        ),
    )
}

_STATE: Final = {"enum": [str(state) for state in HealthState]}
_LATENCY_MS: Final = {"type": ["number", "null"]}
_PERCENTILES: Final = object_schema(
    "samples p50_ms p95_ms p99_ms",
    {"samples": _COUNT, "p50_ms": _LATENCY_MS, "p95_ms": _LATENCY_MS, "p99_ms": _LATENCY_MS},
)
_WINDOWS: Final = [f"{minutes}m" for minutes in WINDOWS]
_SUMMARY_FIELDS: Final[dict[str, Any]] = {
    "environment": _TEXT,
    "state": _STATE,
    "reason": _TEXT,
    "counts": object_schema(" ".join(HealthState), dict.fromkeys(HealthState, _COUNT)),
    "latency": object_schema(" ".join(_WINDOWS), dict.fromkeys(_WINDOWS, _PERCENTILES)),
    "callable": _COUNT | {"description": "How many of the instances calls may be routed to."},
    "dependencies": {
        "type": "array",
        "items": object_schema(
            "name need state reason",
            {
                "name": _TEXT,
                "need": {"enum": ["required", "optional"]},
                "state": {"enum": [*HealthState, None], "description": "Null where it is not probed."},
                "reason": _OPTIONAL | {"description": "Down to what is to blame."},
            },
        ),
    },
}
_NEXT: Final = {"type": ["string", "null"], "description": "`after` of the next page."}

SERVICES_HEALTH: Final[Responses] = {
    200: ok(
        "Services by name and environment.",
        object_schema(
            "services next",
            {
                "services": {
                    "type": "array",
                    "items": object_schema(
                        " ".join(["service", *_SUMMARY_FIELDS]), {"service": _TEXT, **_SUMMARY_FIELDS}
                    ),
                },
                "next": _NEXT,
            },
        ),
    )
}

SERVICE_HEALTH: Final[Responses] = {
    200: ok(
        "The service by environment, and its instances by environment and name.",
        object_schema(
            "service environments instances next",
            {
                "service": _TEXT,
                "environments": {
                    "type": "array",
                    "items": object_schema(" ".join(_SUMMARY_FIELDS), _SUMMARY_FIELDS),
                },
                "instances": {
                    "type": "array",
                    "items": object_schema(
                        "environment instance_id state reason last_seen check",
                        {
                            "environment": _TEXT,
                            "instance_id": _TEXT,
                            "state": _STATE,
                            "reason": _OPTIONAL | {"description": "Null where it is healthy and called."},
                            "last_seen": _TIME,
                            "check": _CHECK,
                        },
                    ),
                },
                "next": _NEXT,
            },
        ),
    )
}

_STANDINGS: Final = [str(standing) for standing in Standing]

STATUS: Final[Responses] = {
    200: ok(
        "How far a revision has got.",
        object_schema(
            "service environment epoch revision instances states converged",
            {
                "service": _TEXT,
                "environment": _TEXT,
                "epoch": _OPTIONAL_COUNT,
                "revision": _OPTIONAL_COUNT,
                "states": object_schema(" ".join(_STANDINGS), dict.fromkeys(_STANDINGS, _COUNT)),
                "converged": {"type": "boolean", "description": "Whether every instance listed has applied it."},
                "instances": {
                    "type": "array",
                    "items": object_schema(
                        "instance_id applied_revision state schema unknown_keys shadowed_keys defaulted_keys"
                        " unread_keys local_keys last_seen",
                        {
                            "instance_id": _TEXT,
                            "generation": _COUNT,
                            "version": _OPTIONAL,
                            "build": _OPTIONAL,
                            "applied_epoch": _OPTIONAL_COUNT,
                            "applied_revision": _OPTIONAL_COUNT,
                            "rejected_revision": _OPTIONAL_COUNT,
                            "state": {"enum": _STANDINGS},
                            "error": {"type": "string", "description": "Why it refused, or what hides it."},
                            "schema": {"type": ["string", "null"], "description": "The hash of its settings model."},
                            "unknown_keys": _TEXTS | {"description": "Without what `_global` alone sets."},
                            "shadowed_keys": _TEXTS,
                            "defaulted_keys": _TEXTS,
                            "unread_keys": _TEXTS | {"description": "Without what `_global` alone sets."},
                            "local_keys": _TEXTS,
                            "last_seen": _TIME,
                        },
                    ),
                },
            },
        ),
    )
}

CONTRACTS: Final[Responses] = {
    200: ok(
        "The settings models that are known of a service, those that count first.",
        object_schema(
            "service environment contracts",
            {
                "service": _TEXT,
                "environment": _TEXT,
                "contracts": {
                    "type": "array",
                    "items": object_schema(
                        "build schema first_seen last_seen instances counts because unusable errors undeclared_keys",
                        {
                            "build": _TEXT,
                            "schema": _TEXT,
                            "first_seen": _TIME,
                            "last_seen": _TIME,
                            "instances": _TEXTS,
                            "counts": {"type": "boolean", "description": "Whether a change it refuses is refused."},
                            "because": {"enum": "running pinned seen unpinned forgotten retired".split()},
                            "unusable": _OPTIONAL,
                            "errors": {
                                "type": "array",
                                "items": object_schema(
                                    "pointer keyword message", {"pointer": _TEXT, "keyword": _TEXT, "message": _TEXT}
                                ),
                                "description": "What it refuses of the present config: then it has no say.",
                            },
                            "undeclared_keys": _TEXTS,
                        },
                    ),
                },
            },
        ),
    )
}
