"""What the routes of alerts answer, as OpenAPI."""

from typing import Any, Final

from central_hub.api.v1.openapi import Responses, object_schema, ok
from central_hub.monitoring.condition import ConditionKind
from central_hub.monitoring.rules import Severity
from central_hub.storage.alert_values import AlertState
from central_hub.storage.notification_values import NotificationState

_TEXT: Final = {"type": "string"}
_OPTIONAL: Final = {"type": ["string", "null"]}
_TIME: Final = {"type": "string", "format": "date-time"}
_OPTIONAL_TIME: Final = {"type": ["string", "null"], "format": "date-time"}
_NEXT: Final = {"type": ["string", "null"], "description": "For `after`, where there are more."}

_AFFECTED: Final = object_schema(
    "kind subject environment", {"kind": _TEXT, "subject": _TEXT, "environment": _OPTIONAL}
)
_ACKNOWLEDGED: Final = {
    "anyOf": [object_schema("by at comment", {"by": _TEXT, "at": _TIME, "comment": _OPTIONAL}), {"type": "null"}]
}
_ALERT_FIELDS: Final[dict[str, Any]] = {
    "id": _TEXT,
    "fingerprint": {**_TEXT, "description": "The same for whatever the same rule says of the same subject."},
    "state": {"enum": [str(state) for state in AlertState]},
    "rule": _TEXT,
    "kind": {"enum": [str(kind) for kind in ConditionKind]},
    "subject": {**_TEXT, "description": "A component, a service, a replica of the hub, or `central-hub`."},
    "environment": _OPTIONAL,
    "severity": {"enum": [str(severity) for severity in Severity]},
    "summary": _TEXT,
    "reason": _TEXT,
    "labels": {"type": "object", "additionalProperties": _TEXT},
    "notify": {"type": "array", "items": _TEXT, "description": "Channels."},
    "since": {**_TIME, "description": "When its condition began."},
    "fired_at": _OPTIONAL_TIME,
    "resolved_at": _OPTIONAL_TIME,
    "notified_at": {**_OPTIONAL_TIME, "description": "When it was last handed to its channels."},
    "is_told": {"type": "boolean", "description": "Whether it was since it fired."},
    "caused_by": {"type": "array", "items": _TEXT, "description": "Components whose alerts speak for this one."},
    "affected": {"type": "array", "items": _AFFECTED, "description": "Who is hit by it, as far as covered."},
    "acknowledged": _ACKNOWLEDGED,
}
_ALERT: Final = object_schema(" ".join(_ALERT_FIELDS), _ALERT_FIELDS)
_SILENCE_FIELDS: Final[dict[str, Any]] = {
    "id": _TEXT,
    "rule": _OPTIONAL,
    "subject": _OPTIONAL,
    "environment": _OPTIONAL,
    "reason": _TEXT,
    "created_at": _TIME,
    "created_by": _TEXT,
    "until": _TIME,
}
_SILENCE: Final = object_schema(" ".join(_SILENCE_FIELDS), _SILENCE_FIELDS)

ALERTS: Final[Responses] = {
    200: ok(
        "Alerts, the latest to begin first.",
        object_schema("alerts next", {"alerts": {"type": "array", "items": _ALERT}, "next": _NEXT}),
    )
}
ALERT: Final[Responses] = {200: ok("The alert.", _ALERT)}
SILENCE: Final[Responses] = {200: ok("The silence.", _SILENCE)}
SILENCES: Final[Responses] = {
    200: ok(
        "Silences that have not ended, the first to end first.",
        object_schema("silences", {"silences": {"type": "array", "items": _SILENCE}}),
    )
}
TRIED: Final[Responses] = {
    200: ok(
        "What came of it.",
        object_schema(
            "id delivered reason",
            {
                "id": _TEXT,
                "delivered": {"type": "boolean"},
                "reason": {**_OPTIONAL, "description": "Why it was not."},
            },
        ),
    )
}

_NOTIFICATION_FIELDS: Final[dict[str, Any]] = {
    "id": {**_TEXT, "description": "The same at every attempt; receivers know it as `webhook-id`."},
    "channel": _TEXT,
    "state": {"enum": [str(state) for state in NotificationState]},
    "attempts": {"type": "integer"},
    "error": {**_OPTIONAL, "description": "Why the last attempt failed."},
    "created_at": _TIME,
    "due_at": {**_TIME, "description": "When it is tried next, or was."},
    "ended_at": {**_OPTIONAL_TIME, "description": "When it was delivered or given up."},
    "alerts": {
        "type": "array",
        "items": object_schema(
            "id rule severity subject environment",
            {
                "id": _TEXT,
                "rule": _TEXT,
                "severity": {"enum": [str(severity) for severity in Severity]},
                "subject": _TEXT,
                "environment": _OPTIONAL,
            },
        ),
        "description": "What it tells of; empty where another version of the hub has composed it.",
    },
}
_NOTIFICATION: Final = object_schema(" ".join(_NOTIFICATION_FIELDS), _NOTIFICATION_FIELDS)
NOTIFICATIONS: Final[Responses] = {
    200: ok(
        "Notifications in that state, the newest first.",
        object_schema("notifications", {"notifications": {"type": "array", "items": _NOTIFICATION}}),
    )
}
REDELIVERED: Final[Responses] = {202: ok("It is due again.", _NOTIFICATION)}
