"""Hold what changes lead to against the schemas of everybody whom they reach."""

import asyncio
import math
import time
from collections.abc import Collection, Container
from typing import Final

from central_hub.config.reach import Check, Inputs, View, checks_of
from central_hub.errors import Finding, LimitExceeded, SchemaViolation, SecretRejected
from central_hub.storage.config_values import Document, DocumentChange, Kind, to_text
from central_hub.validation.checker import SchemaChecker
from central_hub.validation.violations import MAX_VIOLATIONS, Violation
from central_hub_client.wire import ErrorCode

_AT_ONCE: Final = 16
_KEPT_TEXTS: Final = 256
_SECRET: Final = "x-secret"  # noqa: S105 - the keyword


class OutOfTime(Exception):
    """The deadline came before everything was checked. What was checked until then was right."""


class Conformance:
    """Knows whether changes leave every config they reach as the schemas want it."""

    def __init__(self, checker: SchemaChecker) -> None:
        self._checker = checker
        self._texts: dict[str, bytes] = {}

    async def require(
        self,
        view: View,
        changes: Collection[DocumentChange],
        *,
        known: Container[Inputs] | None = None,
        deadline: float = math.inf,
    ) -> frozenset[Inputs]:
        """Raise SchemaViolation or SecretRejected with all that is wrong anywhere; LimitExceeded, InvalidRequest.

        Returns what was found right, which the next time is `known` and not looked at again. After `deadline`, on the
        monotonic clock, nothing more is begun: OutOfTime.
        """
        checks = checks_of(view, changes)
        waiting = [check for check in checks if known is None or check.inputs not in known]
        if known is None:
            for schema in (change.config for change in changes if change.kind is Kind.SCHEMA):
                if schema is not None:
                    await self._checker.compile(to_text(schema).encode())
        findings: list[Finding] = []
        while waiting and len(findings) < MAX_VIOLATIONS:
            if time.monotonic() > deadline:
                raise OutOfTime
            some, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            for found in await asyncio.gather(*map(self._findings, some)):
                findings += found
        if findings:
            raise _refusal(changes, findings[:MAX_VIOLATIONS])
        return frozenset(check.inputs for check in checks)

    async def _findings(self, check: Check) -> list[Finding]:
        return [_finding(check, violation) for violation in await self._violations(check)]

    async def _violations(self, check: Check) -> list[Violation]:
        try:
            return await self._checker.check(self._text(check.schema), check.config, inherited=check.inherited)
        except LimitExceeded as error:
            finding = Finding(
                "", ErrorCode.LIMIT_EXCEEDED, error.detail, service=check.service, environment=check.environment
            )
            raise LimitExceeded(
                f"{check.service} in environment {check.environment}: {error.detail}", errors=[finding]
            ) from error

    def _text(self, schema: Document) -> bytes:
        # A change of `_global` asks for every schema there is: they are not spelled out for each change again.
        text = self._texts.get(schema.version)
        if text is None:
            if len(self._texts) >= _KEPT_TEXTS:
                self._texts.clear()
            text = self._texts[schema.version] = to_text(schema.config).encode()
        return text


def _finding(check: Check, violation: Violation) -> Finding:
    is_secret = violation.keyword == _SECRET
    return Finding(
        violation.pointer,
        ErrorCode.SECRET_REJECTED if is_secret else ErrorCode.SCHEMA_VIOLATION,
        violation.message,
        keyword=violation.keyword,
        service=check.service,
        environment=check.environment,
    )


def _refusal(changes: Collection[DocumentChange], findings: list[Finding]) -> SchemaViolation | SecretRejected:
    secrets = [finding for finding in findings if finding.keyword == _SECRET]
    shown = "; ".join(finding.sentence for finding in (secrets or findings)[:3])
    if secrets:
        return SecretRejected(f"a schema marks these as secrets: {shown}; nothing was kept", errors=secrets)
    if all(change.kind is Kind.SCHEMA for change in changes):
        return SchemaViolation(
            f"the schema refuses a config that there is: {shown}; change that first", errors=findings
        )
    return SchemaViolation(f"the change would break a schema: {shown}", errors=findings)
