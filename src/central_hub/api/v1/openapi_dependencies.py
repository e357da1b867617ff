"""What the routes about dependencies and the dashboards answer, as OpenAPI."""

from typing import Any, Final

from central_hub.api.v1.openapi import Responses, object_schema, ok
from central_hub.monitoring.dependencies import NodeKind
from central_hub.monitoring.infrastructure import Need, Section
from central_hub.monitoring.rules import Severity
from central_hub_client.wire import HealthState

_TEXT: Final = {"type": "string"}
_OPTIONAL: Final = {"type": ["string", "null"]}
_COUNT: Final = {"type": "integer", "minimum": 0}
_STATE: Final = {"enum": [str(state) for state in HealthState]}
_KNOWN_STATE: Final = {
    "enum": [*(str(state) for state in HealthState), None],
    "description": "Null where nobody knows: it is not probed, or has no instance.",
}
_NEED: Final = {"enum": [str(need) for need in Need]}
_NODE: Final[dict[str, Any]] = {"kind": {"enum": [str(kind) for kind in NodeKind]}, "name": _TEXT}
_WAVES: Final = {"type": "array", "items": {"type": "array", "items": object_schema("kind name", _NODE)}}
_NOT_COVERED: Final = _COUNT | {"description": "Services of `infrastructure.yaml` that the token does not cover."}
_STATES: Final = object_schema(" ".join(HealthState), dict.fromkeys(HealthState, _COUNT))
_WHOLE: Final[dict[str, Any]] = {"state": _STATE, "reason": _TEXT}


def _all(properties: dict[str, Any]) -> dict[str, Any]:
    return object_schema(" ".join(properties), properties)


def _list(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": _all(properties)}


_ABOUT: Final[dict[str, Any]] = {
    "component": _TEXT,
    "state": _KNOWN_STATE,
    "reason": _OPTIONAL,
    "not_covered": _NOT_COVERED,
}
_DEPENDENT: Final[dict[str, Any]] = {
    **_NODE,
    "need": _NEED,
    "path": {"type": "array", "items": _TEXT, "description": "All names on the way, ending with the component."},
    "state": _KNOWN_STATE,
}
_UNWELL: Final[dict[str, Any]] = {**_NODE, "environment": _OPTIONAL, "state": _STATE}
_CAUSES: Final = _list({**_UNWELL, "reason": _OPTIONAL, "explains": _list(_UNWELL)})
_COMPONENTS: Final[dict[str, Any]] = {"total": _COUNT, "states": _STATES, "not_probed": _COUNT}
_SERVICES: Final[dict[str, Any]] = {"total": _COUNT, "states": _STATES}
_SERVICE: Final[dict[str, Any]] = {"service": _TEXT, "environment": _TEXT, "state": _STATE, "reason": _TEXT}

_BY_SEVERITY: Final = object_schema(" ".join(Severity), dict.fromkeys(Severity, _COUNT))
_ALERTS: Final = object_schema("firing pending", {"firing": _BY_SEVERITY, "pending": _BY_SEVERITY}) | {
    "description": "How many are open, by state and severity, whatever the token covers."
}

DEPENDENTS: Final[Responses] = {
    200: ok(
        "Whoever depends on the component, the nearest first.",
        _all({**_ABOUT, "dependents": _list({**_DEPENDENT, "direct": {"type": "boolean"}})}),
    )
}

IMPACT: Final[Responses] = {
    200: ok(
        "What it means that the component is down.",
        _all(
            {
                **_ABOUT,
                "hits": _list({**_DEPENDENT, "effect": {"enum": ["unhealthy", "degraded"]}, "reason": _TEXT}),
                "restart": _WAVES,
                "recommendations": {"type": "array", "items": _TEXT},
            }
        ),
    )
}

DASHBOARD_HEALTH: Final[Responses] = {
    200: ok(
        "How everything is.",
        _all(
            {
                **_WHOLE,
                "hub": {"type": "object", "description": "As `GET /health` tells it."},
                "infrastructure": _all(
                    {**_COMPONENTS, "amiss": _list({"name": _TEXT, "state": _STATE, "reason": _OPTIONAL})}
                ),
                "services": _all({**_SERVICES, "amiss": _list(_SERVICE)}),
                "alerts": _ALERTS,
                "causes": _CAUSES,
            }
        ),
    )
}

DASHBOARD_SUMMARY: Final[Responses] = {
    200: ok(
        "How everything is, in numbers.",
        _all(
            {
                **_WHOLE,
                "hub": _STATE,
                "infrastructure": _all(_COMPONENTS),
                "services": _all(_SERVICES),
                "instances": _all({"total": _COUNT, "states": _STATES}),
                "alerts": _ALERTS,
            }
        ),
    )
}

DASHBOARD_DEPENDENCIES: Final[Responses] = {
    200: ok(
        "Who depends on whom.",
        _all(
            {
                "nodes": _list(
                    {
                        **_NODE,
                        "section": {"enum": [*(str(section) for section in Section), None]},
                        "type": _OPTIONAL,
                        "state": _KNOWN_STATE,
                        "reason": _OPTIONAL,
                    }
                ),
                "edges": _list({"kind": _NODE["kind"], "dependent": _TEXT, "component": _TEXT, "need": _NEED}),
                "start_order": _WAVES,
                "causes": _CAUSES,
                "not_covered": _NOT_COVERED,
            }
        ),
    )
}
