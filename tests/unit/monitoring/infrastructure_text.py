"""The example at the root of the repository, and what it needs around it."""

from central_hub.monitoring.condition import ConditionKind
from central_hub.monitoring.infrastructure import Infrastructure
from central_hub.monitoring.infrastructure_yaml import WrongInfrastructure, read_infrastructure
from central_hub.monitoring.rules import Rule, Severity
from tests.architecture.source_tree import ROOT

EXAMPLE = (ROOT / "infrastructure.yaml").read_bytes()
SECRET = "hunter2-and-a-half"
_VARIABLES = "POSTGRES_PASSWORD CLICKHOUSE_PASSWORD DRAGONFLY_PASSWORD ALERT_WEBHOOK_SECRET ALERT_CHAT_URL"
ENVIRONMENT = dict.fromkeys(_VARIABLES.split(), SECRET)
DEFAULTS = {
    name: Rule(name, kind, Severity.CRITICAL, "{subject} is {state}", for_seconds=30, notify=("log", "nats"))
    for name, kind in {
        "infrastructure-down": ConditionKind.INFRASTRUCTURE,
        "config-not-converged": ConditionKind.CONFIG_NOT_CONVERGED,
    }.items()
}


def read(text: str, **environment: str) -> Infrastructure:
    """What a text says, with `version: 1` in front of it and the rules that the example changes as built in."""
    return read_infrastructure(f"version: 1\n{text}".encode(), environment, DEFAULTS)


def flaws(text: str, **environment: str) -> list[str]:
    """All that is wrong with it; the first line of the text is line 2."""
    try:
        read(text, **environment)
    except WrongInfrastructure as error:
        return str(error).splitlines()
    return []
