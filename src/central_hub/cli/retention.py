"""Contents removed from the whole history by a policy, after the log was verified."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.audit.chain import Anchor, Verifier
from central_hub.cli.redaction import check_owner, whoever_runs_this
from central_hub.cli.session import Failed
from central_hub.connections.database import Database
from central_hub.storage import audit_records, configs, retention
from central_hub.storage.retention import Amount, Policy
from central_hub_client.wire import Bookmark

_PAGE_ENTRIES: Final = 500
_PAGE_BYTES: Final = 16 * 1024 * 1024
_AT_ONCE: Final = 5_000


class Retention:
    """The removal of what a policy does not keep. Every method raises StoreUnavailable."""

    def __init__(self, owner_url: str, policy: Policy) -> None:
        self.policy = policy
        self._database = Database(owner_url, pool_size=1)

    async def find(self) -> Amount:
        """How much there is to remove. Raises Failed for a role that cannot remove it."""
        async with self._database.reading() as connection:
            await check_owner(connection, self._database.role)
            return await retention.find(connection, self.policy)

    async def verified_head(self, known: Iterable[Anchor]) -> Bookmark:
        """Where the log ends. Raises Failed where it does not verify, or does not have what is known of it."""
        verifier = Verifier(known)
        async with self._database.reading() as connection:
            head = await configs.head(connection)
            after = (0, 0)
            while records := await audit_records.audit_records(
                connection, after=after, limit=_PAGE_ENTRIES, max_bytes=_PAGE_BYTES
            ):
                for record in records:
                    verifier.take(record)
                after = (records[-1].entry.revision, records[-1].entry.ordinal)
            differing = await audit_records.documents_that_differ_from_the_log(connection)
        verifier.finish(recorded_head=head.audit_head, recorded=head.position)
        flaws = [f"revision {flaw.revision} {flaw.sentence}" for flaw in verifier.flaws]
        flaws += [
            f"{service} in environment {environment} is not what its last entry says"
            for service, environment in differing
        ]
        if flaws:
            raise Failed(
                "the audit log does not verify, and nothing is removed from it: what is there is evidence",
                details=tuple(flaws),
                flaws=flaws,
            )
        return Bookmark(head.hub_id, head.epoch, head.revision, head.audit_head)

    async def carry_out(self, at: datetime) -> int:
        """Remove it, oldest first, so much at a time that nobody waits; returns how many contents those were."""
        by = whoever_runs_this(self._database.role)
        reason = f"retention: replaced before {self.policy.since:%Y-%m-%d}, not among the latest {self.policy.keep}"

        async def remove_some(connection: AsyncConnection) -> int:
            return await retention.remove(connection, self.policy, limit=_AT_ONCE, by=by, at=at, reason=reason)

        removed = 0
        while some := await self._database.transaction(remove_some):
            removed += some
        return removed

    async def close(self) -> None:
        await self._database.close()
