"""`edit`: a document in an editor, shown as a diff before it is stored."""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import typer

from central_hub.cli import change_list
from central_hub.cli.legible import json_text
from central_hub.cli.options import CHANGING, Allow, Environment, Reason, Service, Yes
from central_hub.cli.outcome import show_outcome, show_proposal
from central_hub.cli.replacing import Current, Replacement, current
from central_hub.cli.session import ExitCode, Failed, Session, command, findings
from central_hub.config import diff
from central_hub_client import strict_json
from central_hub_client.errors import CentralHubError, Conflict, InvalidConfig, InvalidRequest, UpdateRefused
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
    somebody else changed meanwhile is never overwritten, and what you wrote is kept in a file.
    """
    seen = current(session.hub, service, environment)
    with _Draft(service, seen) as draft:
        while True:
            text = draft.edit()
            try:
                wanted = _parse(text)
                replacement = Replacement(service, environment, wanted, seen.revision, reason, allow)
                proposed = replacement.propose(session.hub)
                break
            except Conflict as error:
                raise _moved_on(session, seen, service, environment, error) from error
            except (strict_json.MalformedJson, strict_json.LimitExceeded) as error:
                sentence, details = f"that is no document: {error}", []
            except (InvalidConfig, InvalidRequest, UpdateRefused) as error:
                sentence, details = error.detail, findings(error)
            # The same text again: an editor that does not wait, or a person who gives up.
            if draft.is_unchanged:
                raise Failed(sentence, details=tuple(details))
            session.output.problem(sentence, details)
            if sys.stdin.isatty():
                session.confirm("Edit again?", yes=False)
        show_proposal(session.output, proposed)
        if proposed["changes"]:
            gone = change_list.removed(proposed["changes"])
            question = f"Remove {', '.join(gone)} and store this?" if gone else "Store this?"
            session.confirm(question, yes=yes)
            try:
                proposed = replacement.store(session.hub)
            except Conflict as error:
                raise _moved_on(session, seen, service, environment, error) from error
        draft.is_needed = False
    show_outcome(session.output, proposed)


class _Draft:
    """The file that is edited. It stays where it is if what was written into it could not be stored."""

    def __init__(self, service: str, seen: Current) -> None:
        self._original = self._text = json_text(seen.config or {}, indent=2) + "\n"
        self.is_needed = True
        self.is_unchanged = False
        """Whether the last edit left the text as it was."""
        # For its owner alone, as everything that `tempfile` makes.
        with tempfile.NamedTemporaryFile(
            "w+", prefix=f"{service}-", suffix=".json", encoding="utf-8", delete=False
        ) as file:
            file.write(self._text)
        self._path = Path(file.name)

    def __enter__(self) -> "_Draft":
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if not self.is_needed or self._text == self._original:
            self._path.unlink(missing_ok=True)
        elif isinstance(error, Failed):
            error.details = (*error.details, f"what you wrote is kept in {self._path}")
        elif isinstance(error, CentralHubError):
            error.detail += f"; what you wrote is kept in {self._path}"

    def edit(self) -> str:
        """Let the person edit the file, and return what it says then. Raises Failed."""
        # Loading the hub's settings takes longer than asking the hub: only where they are needed.
        from central_hub.settings import editor_command

        chosen = editor_command()
        if chosen is None and not sys.stdin.isatty():
            raise Failed("there is no terminal for an editor: use `set` or `apply`, or set EDITOR", code=ExitCode.USAGE)
        editor = chosen or "vi"
        try:
            program = shlex.split(editor)
            subprocess.run([*program, str(self._path)], check=True)
            text = self._path.read_text(encoding="utf-8")
        except (OSError, ValueError, IndexError, subprocess.CalledProcessError) as error:
            raise Failed(
                f"the editor {editor!r} failed: set VISUAL or EDITOR to one that is there and waits until the"
                " file is closed",
                code=ExitCode.USAGE,
            ) from error
        if not text.strip():
            raise Failed("nothing was changed: the file was left empty")
        self._text, self.is_unchanged = text, text == self._text
        return text


def _parse(text: str) -> dict[str, object]:
    value = strict_json.parse(text.encode())
    if not isinstance(value, dict):
        raise strict_json.MalformedJson("a document is a JSON object: {…}")
    return value


def _moved_on(session: Session, seen: Current, service: str, environment: str, error: CentralHubError) -> Failed:
    now = current(session.hub, service, environment)
    return Failed(
        f"{error.detail}. Edit again to begin from what is there now; meanwhile this was changed:",
        details=tuple(change_list.line(change) for change in diff.changes(seen.config or {}, now.config or {})),
    )
