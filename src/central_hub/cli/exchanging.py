"""`export`, `apply`: documents as files, one for each: `<service>.json`, `<service>@<environment>.json`."""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from central_hub.cli import change_list
from central_hub.cli.options import CHANGING, READING, Allow, Reason, Yes, parse_service
from central_hub.cli.outcome import name_of, sentence, show_proposal
from central_hub.cli.session import ExitCode, Failed, Session, command
from central_hub_client import strict_json
from central_hub_client.errors import NotFound
from central_hub_client.wire import DEFAULT_ENVIRONMENT, is_document_name, is_environment_name

SUFFIXES: Final = (".json", ".yaml", ".yml", ".toml")

Services = Annotated[
    list[str] | None,
    typer.Argument(
        parser=parse_service, metavar="[SERVICE...]", help="Which services; all of them (as admin) if none."
    ),
]
Directory = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where to write the files.")]
Source = Annotated[Path, typer.Option("--file", "-f", metavar="FILE|DIR", help="A file, or a directory of files.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and show the changes, store nothing.")]


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """A file and the document that it holds."""

    path: Path
    service: str
    environment: str
    config: dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, READING)(export)
    command(app, CHANGING)(apply)


def export(session: Session, services: Services = None, output: Directory = Path()) -> None:
    """Write documents into files, one for each, as `apply` reads them.

    Without a service, every document is written: that needs a token that may read the audit log.
    """
    names = _all_documents(session)
    wanted = sorted(key for key in names if not services or key[0] in services)
    if services and (missing := set(services) - {service for service, _ in wanted}):
        raise Failed(f"there is no document of {', '.join(sorted(missing))}")
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for service, environment in wanted:
        found = session.hub.get(f"/config/{service}", environment=environment, own=True).value
        path = output / file_name(service, environment)
        path.write_text(json.dumps(found["config"], indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(str(path))
    if session.output.as_json:
        session.output.json({"files": written})
    else:
        session.output.text(f"{len(written)} documents written to {output}")


def apply(
    session: Session,
    file: Source,
    reason: Reason = None,
    allow: Allow = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Make documents what the files say: all changes are shown first, then stored one document after another.

    Files are JSON, YAML or TOML. What is like that already is left alone, so that it can be repeated. Documents
    without a file are left alone too. A file whose document somebody changes meanwhile is refused.
    """
    files = list(read_files(file))
    plans = [(document, *_propose(session, document, reason, allow)) for document in files]
    changing = [plan for plan in plans if plan[2]["changes"]]
    for _, _, proposal in changing:
        show_proposal(session.output, proposal)
    if not session.output.as_json and len(changing) < len(plans):
        session.output.note(f"{len(plans) - len(changing)} of {len(plans)} documents are like that already")
    outcomes = [proposal for _, _, proposal in plans]
    if changing and not dry_run:
        gone = [key for _, _, proposal in changing for key in change_list.removed(proposal["changes"])]
        question = f"Remove {', '.join(gone)} and store" if gone else "Store"
        session.confirm(f"{question} {len(changing)} documents?", yes=yes)
        outcomes = []
        for document, etag, _ in changing:
            path = f"/config/{document.service}"
            query: dict[str, Any] = {"environment": document.environment, "reason": reason, "allow": allow}
            done = session.hub.write("PUT", path, document.config, if_match=etag, **query).value
            outcomes.append(done)
            if not session.output.as_json:
                session.output.text(sentence(done))
    if session.output.as_json:
        session.output.json({"documents": outcomes})


def read_files(source: Path) -> Iterator[DocumentFile]:
    """The documents of a file or a directory, in the order of their names. Raises Failed."""
    if source.is_dir():
        paths = sorted(path for path in source.iterdir() if path.suffix in SUFFIXES)
    elif source.is_file():
        paths = [source]
    else:
        raise Failed(f"there is no file or directory {source}", code=ExitCode.USAGE)
    if not paths:
        raise Failed(f"{source} holds no documents ({', '.join(SUFFIXES)})", code=ExitCode.USAGE)
    seen: dict[tuple[str, str], Path] = {}
    for path in paths:
        service, _, environment = path.stem.partition("@")
        environment = environment or DEFAULT_ENVIRONMENT
        if not is_document_name(service) or not is_environment_name(environment):
            raise Failed(f"{path}: name it <service>.json or <service>@<environment>.json", code=ExitCode.USAGE)
        if (other := seen.setdefault((service, environment), path)) is not path:
            raise Failed(f"{path} and {other} are the same document", code=ExitCode.USAGE)
        config = _read(path)
        if not isinstance(config, dict):
            raise Failed(f"{path}: a document is an object", code=ExitCode.USAGE)
        yield DocumentFile(path, service, environment, config)


def file_name(service: str, environment: str) -> str:
    """The file of a document."""
    return f"{service}.json" if environment == DEFAULT_ENVIRONMENT else f"{service}@{environment}.json"


def _propose(
    session: Session, document: DocumentFile, reason: str | None, allow: list[str] | None
) -> tuple[str | None, dict[str, Any]]:
    path = f"/config/{document.service}"
    try:
        etag: str | None = session.hub.get(path, environment=document.environment, own=True).etag
    except NotFound:
        etag = None
    query: dict[str, Any] = {"environment": document.environment, "reason": reason, "allow": allow}
    proposal: dict[str, Any] = session.hub.write(
        "PUT", path, document.config, if_match=etag, dry_run=True, **query
    ).value
    if proposal["service"] != document.service:
        raise Failed(f"the hub answered for {name_of(proposal)} instead of {document.path}")
    return etag, proposal


def _all_documents(session: Session) -> set[tuple[str, str]]:
    """Every document that there is now: the audit log tells of each one's beginning and end."""
    live: set[tuple[str, str]] = set()
    after: str | None = None
    while True:
        page = session.hub.get("/audit", after=after, limit=1000).value
        for entry in page["entries"]:
            key = entry["service"], entry["environment"]
            if entry["action"] == "deleted":
                live.discard(key)
            else:
                live.add(key)
        after = page["next"]
        if after is None:
            return live


def _read(path: Path) -> Any:
    content = path.read_bytes()
    try:
        if path.suffix == ".toml":
            value: Any = tomllib.loads(content.decode())
        elif path.suffix == ".json":
            return strict_json.parse(content)
        else:
            value = _yaml(content.decode())
        # Whatever it was written in, it must be what JSON can say.
        return strict_json.parse(json.dumps(value, allow_nan=False).encode())
    except (ValueError, TypeError) as error:
        raise Failed(f"{path}: {error}", code=ExitCode.USAGE) from error


def _yaml(text: str) -> Any:
    import yaml

    # Aliases can make a small file enormous, and tags can mean anything: neither has a place in a configuration.
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken | yaml.TagToken):
                line, column = token.start_mark.line + 1, token.start_mark.column + 1
                raise ValueError(f"line {line}, column {column}: anchors, aliases and tags are not allowed")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
