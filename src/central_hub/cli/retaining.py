"""`audit trim`: keep contents of the history as long as a policy says, and not longer."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from central_hub.cli.anchor_files import AnchorsKept
from central_hub.cli.options import Yes
from central_hub.cli.redacting import owner_url
from central_hub.cli.running import read_settings
from central_hub.cli.session import ExitCode, Failed, Session

if TYPE_CHECKING:
    from central_hub.cli.retention import Retention

ANCHORS_FILE: Final = "audit.anchors"

OlderThan = Annotated[
    int,
    typer.Option(
        "--older-than", min=1, max=36_500, metavar="DAYS", help="Contents that were replaced longer ago than this."
    ),
]
Keep = Annotated[
    int, typer.Option("--keep", min=2, metavar="N", help="So many contents of each document stay in any case.")
]
AnchorsTo = Annotated[
    Path | None,
    typer.Option(
        "--anchors",
        metavar="FILE",
        help="Which anchors the log must have first, and where the new one is added; by default audit.anchors in the"
        " data directory.",
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.", show_default=False)]


def trim(
    session: Session,
    older_than: OlderThan,
    keep: Keep = 10,
    anchors_to: AnchorsTo = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Remove contents from the history that nothing refers to any more, for good. The chain still verifies.

    What was in force at any time since stays, and what an instance still runs on; and so does who changed which key,
    when and why. Verifies the log first, and writes down its head as an anchor, signed with the hub's key: what is
    removed can be compared with its hash no more.

    Runs as the owner of the tables (CENTRAL_HUB_MIGRATION_DATABASE_URL, or the data directory of a running local hub):
    the hub itself cannot. Backups keep what they hold.
    """
    # Loading the database's library takes longer than asking a hub: only where it is needed.
    from central_hub.cli.retention import Retention
    from central_hub.storage.retention import Policy

    settings = read_settings(session)
    if not settings.signing_key_path.exists():
        raise Failed(
            f"there is no key of a hub in {settings.signing_key_path}, to sign the anchor with: name the data directory"
            " of a hub with --data-dir, or its key with CENTRAL_HUB_SIGNING_KEY_FILE",
            code=ExitCode.USAGE,
        )
    at = datetime.now(UTC)
    retention = Retention(owner_url(session), Policy(at - timedelta(days=older_than), keep))
    anchors = AnchorsKept(anchors_to or settings.data_dir / ANCHORS_FILE, settings.signing_key_path)
    asyncio.run(_trim(session, retention, anchors, at, dry_run=dry_run, yes=yes))


async def _trim(
    session: Session, retention: "Retention", anchors: AnchorsKept, at: datetime, *, dry_run: bool, yes: bool
) -> None:
    try:
        amount = await retention.find()
        sentence = (
            f"{amount.contents} contents ({amount.bytes:,} bytes) that were replaced before"
            f" {retention.policy.since:%Y-%m-%d}"
        )
        if dry_run or not amount.contents:
            would_remove = {"contents": amount.contents, "bytes": amount.bytes}
            _tell(session, {"removed": 0, "would_remove": would_remove}, f"nothing is removed; there are {sentence}")
            return
        head = await retention.verified_head(anchors.read())
        session.confirm(f"Remove {sentence}, for good?", yes=yes)
        # Before anything is gone: an anchor without a removal does no harm.
        anchors.add(head)
        removed = await retention.carry_out(at)
    finally:
        await retention.close()
    anchor = f"{head.position}:{head.audit_head}"
    _tell(
        session,
        {"removed": removed, "anchor": anchor, "anchors": str(anchors.path)},
        f"{removed} contents are gone\nanchor {anchor}, in {anchors.path}",
    )


def _tell(session: Session, facts: dict[str, Any], sentence: str) -> None:
    if session.output.as_json:
        session.output.json(facts)
    else:
        session.output.text(sentence)
