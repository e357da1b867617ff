"""`edit`: a document in an editor, shown as a diff before it is stored."""

import json
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import typer

from central_hub.cli import change_list
from central_hub.cli.options import CHANGING, Allow, Environment, Reason, Service, Yes
from central_hub.cli.outcome import show_outcome, show_proposal
from central_hub.cli.session import ExitCode, Failed, Session, command
from central_hub.settings import editor_command
from central_hub_client import strict_json
from central_hub_client.errors import CentralHubError, Conflict, NotFound
from central_hub_client.wire import DEFAULT_ENVIRONMENT


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, CHANGING)(edit)


def edit(
    session: Session,
    service: Service,
    environment: Environment = DEFAULT_ENVIRONMENT,
    reason: Reason = None,
    allow: Allow = None,
    yes: Yes = False,
) -> None:
    """Edit a service's document in your editor ($VISUAL or $EDITOR).

    The changes are shown before they are stored. What the hub refuses is opened again with what you wrote; what
    somebody else changed meanwhile is never overwritten.
    """
    hub, path = session.hub, f"/config/{service}"
    try:
        current = hub.get(path, environment=environment, own=True)
        config, etag = current.value["config"], current.etag
    except NotFound:
        config, etag = {}, None
    query: dict[str, Any] = {"environment": environment, "reason": reason, "allow": allow}
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    while True:
        before, text = text, _in_editor(text)
        if not text.strip():
            raise Failed("nothing was changed: the file was left empty")
        try:
            wanted = strict_json.parse(text.encode())
            proposed = hub.write("PUT", path, wanted, if_match=etag, dry_run=True, **query)
            break
        except (ValueError, CentralHubError) as error:
            if isinstance(error, Conflict):
                raise _moved_on(session, service, environment, error) from error
            # The same text again: an editor that did not wait, or a person who gave up.
            if text == before:
                raise
            _explain(session, error)
            session.confirm("Edit again?", yes=False)
    show_proposal(session.output, proposed.value)
    if not proposed.value["changes"]:
        show_outcome(session.output, proposed.value)
        return
    if gone := change_list.removed(proposed.value["changes"]):
        session.confirm(f"Remove {', '.join(gone)} from {service} in environment {environment}?", yes=yes)
    else:
        session.confirm("Store this?", yes=yes)
    try:
        done = hub.write("PUT", path, wanted, if_match=etag, **query)
    except Conflict as error:
        raise _moved_on(session, service, environment, error) from error
    show_outcome(session.output, done.value)


def _in_editor(text: str) -> str:
    editor = shlex.split(editor_command())
    with tempfile.NamedTemporaryFile("w+", suffix=".json", encoding="utf-8", delete=False) as file:
        file.write(text)
    path = Path(file.name)
    try:
        subprocess.run([*editor, str(path)], check=True)
        return path.read_text(encoding="utf-8")
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(
            f"the editor {editor[0]!r} failed: set EDITOR to one that is there", code=ExitCode.USAGE
        ) from error
    finally:
        path.unlink(missing_ok=True)


def _explain(session: Session, error: Exception) -> None:
    if isinstance(error, CentralHubError):
        session.output.problem(error.detail, [f"{finding.pointer}: {finding.message}" for finding in error.errors])
    else:
        session.output.problem(f"that is not a sound document: {error}")


def _moved_on(session: Session, service: str, environment: str, error: CentralHubError) -> Failed:
    newest = session.hub.get(f"/config/history/{service}", environment=environment, limit=1).value["history"][0]
    return Failed(
        f"{error.detail}. Your text was not stored; edit again to begin from what is there now",
        details=tuple(change_list.line(change) for change in newest["changes"]),
    )
