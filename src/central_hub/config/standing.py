"""What a build that runs a config, or may run it, makes of a change, and how its author is told. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from central_hub.config.consumers import Reason, declared_by_nobody, may_alter
from central_hub.config.snapshot import Key
from central_hub.errors import ContractViolation, Finding, Warned
from central_hub.storage.config_values import DocumentChange
from central_hub.storage.consumer_schemas import ConsumerSchema
from central_hub.validation.consumer_checker import Verdict
from central_hub.validation.violations import MAX_VIOLATIONS, Violation
from central_hub_client.wire import ErrorCode

_MAX_INSTANCES: Final = 20
_WORDS: Final = 3
_SILENT: Final = "has not answered in time"


@dataclass(frozen=True, slots=True)
class Standing:
    """One consumer, and what it makes of a config. `proposed` is None where no other one is spoken of."""

    consumer: ConsumerSchema
    reason: Reason
    instances: tuple[str, ...]
    present: Verdict | None
    proposed: Verdict | None

    @property
    def place(self) -> Key:
        """Whose config it is."""
        return self.consumer.service, self.consumer.environment

    @property
    def is_broken(self) -> bool:
        """Whether it refuses what it is running on: then it has no say."""
        return self.present is None or not self.present.accepts

    @property
    def objections(self) -> tuple[Violation, ...]:
        """What it refuses of the proposed config, where it has a say.

        One that makes something of the present and cannot come to an end with what is proposed has not accepted it.
        """
        if self.is_broken or self.proposed is None:
            return ()
        if self.proposed.unusable is not None:
            return (Violation("", "", self.proposed.unusable),)
        return self.proposed.violations

    @property
    def name(self) -> str:
        """`build 1.4 (2 instances: a, b)`."""
        build = f"build {self.consumer.build}" if self.consumer.build else "a build without a name"
        match len(self.instances):
            case 0:
                return f"{build} (no instance now)"
            case 1:
                return f"{build} (1 instance: {self.instances[0]})"
            case count:
                more = ", …" if count > _WORDS else ""
                return f"{build} ({count} instances: {', '.join(self.instances[:_WORDS])}{more})"


def findings_of(standing: Standing) -> list[Finding]:
    """What a consumer objects to, each with who it is."""
    return [
        Finding(
            violation.pointer,
            ErrorCode.CONTRACT_VIOLATION,
            f"{violation.message}, for {standing.name}",
            keyword=violation.keyword or None,
            service=standing.consumer.service,
            environment=standing.consumer.environment,
            build=standing.consumer.build,
            instances=standing.instances[:_MAX_INSTANCES],
        )
        for violation in standing.objections
    ]


def refusal(objecting: Sequence[Standing]) -> ContractViolation:
    """The error that tells of everybody who objects, and what to do about it."""
    findings = [finding for standing in objecting for finding in findings_of(standing)]
    shown = "; ".join(finding.sentence for finding in findings[:_WORDS])
    return ContractViolation(
        f"what runs would refuse the change: {shown}. Change it, retire the build (`central-hub contracts retire`), or"
        ' override with allow: ["contract"] and a token that has the verb force',
        errors=findings[:MAX_VIOLATIONS],
    )


def warnings(standings: Sequence[Standing], objecting: Sequence[Standing]) -> Iterable[Finding]:
    """Whose objections are overridden, and who is not heard."""
    for standing in objecting:
        for finding in findings_of(standing)[:_WORDS]:
            yield replace(finding, code=Warned.OVERRIDDEN_CONTRACT, message=f"{finding.message}; it was overridden")
    for standing in standings:
        if standing.is_broken:
            verdict = standing.present
            why = _SILENT
            if verdict is not None:
                why = verdict.unusable or "refuses the present config"
            yield _unheard(standing, why)
        elif standing.proposed is None:
            yield _unheard(standing, _SILENT)


def _unheard(standing: Standing, why: str) -> Finding:
    consumer = standing.consumer
    return Finding(
        "",
        Warned.UNHEARD_CONSUMER,
        f"is not held against {standing.name}: its schema {why}",
        service=consumer.service,
        environment=consumer.environment,
        build=consumer.build,
        instances=standing.instances[:_MAX_INSTANCES],
    )


def undeclared_keys(change: DocumentChange, standings: Sequence[Standing]) -> Iterable[Finding]:
    """The keys that a change sets and no build declares."""
    changed = [str(item["path"]) for item in change.changes if item["op"] != "remove"]
    told = [
        standing.proposed.unknown
        for standing in standings
        if standing.proposed and not standing.is_broken and may_alter(change, standing.place)
    ]
    for key in declared_by_nobody(told, changed)[:MAX_VIOLATIONS]:
        yield Finding(key, Warned.UNDECLARED_KEY, f"is declared by no build of {change.service}")
