"""One run of a command: the options that every command takes, the hub it speaks to, and the code it ends with."""

import functools
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from central_hub.cli.audit_pages import WrongExport
from central_hub.cli.document_files import WrongFile
from central_hub.cli.finding import Hub, find_hub
from central_hub.cli.hub_client import HubClient, is_unreachable
from central_hub.cli.key_paths import WrongKey, dotted_pointer
from central_hub.cli.output import Output
from central_hub.errors import HubError, StartupRefused, StoreUnavailable
from central_hub_client.errors import CentralHubError, Finding, InvalidSettings


class ExitCode(IntEnum):
    """What a command ends with."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3


class Failed(Exception):
    """The command ends here. The message says why and what to do; `details` are lines beneath it."""

    def __init__(
        self, sentence: str, *, code: ExitCode = ExitCode.REFUSED, details: tuple[str, ...] = (), **fields: Any
    ) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code
        self.details = details
        self.fields = fields


@dataclass(frozen=True, slots=True)
class Common:
    """The options that may stand before or after the command's name."""

    as_json: bool = False
    url: str | None = None
    token_file: Path | None = None
    data_dir: Path | None = None

    def over(self, other: "Common") -> "Common":
        """These options, and `other` where they say nothing."""
        return Common(
            self.as_json or other.as_json,
            self.url or other.url,
            self.token_file or other.token_file,
            self.data_dir or other.data_dir,
        )


class Session:
    """What a command works with. The hub is looked for when it is first needed."""

    def __init__(self, common: Common) -> None:
        self.common = common
        self.output = Output(as_json=common.as_json)
        self._client: HubClient | None = None

    @property
    def data_dir(self) -> Path | None:
        """The data directory that was named; None for the default one."""
        return self.common.data_dir

    @functools.cached_property
    def place(self) -> Hub:
        """Where the hub is. Raises InvalidSettings."""
        return find_hub(url=self.common.url, token_file=self.common.token_file, data_dir=self.common.data_dir)

    @property
    def hub(self) -> HubClient:
        if self._client is None:
            self._client = HubClient(self.place)
        return self._client

    def confirm(self, question: str, *, yes: bool) -> None:
        """Go on only if the person agrees. Raises Failed where there is nobody to ask, or the answer is no."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise Failed(f"{question} Nobody can be asked here: say --yes if it is meant", code=ExitCode.USAGE)
        if not typer.confirm(question, err=True):
            raise Failed("nothing was changed")

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.", show_default=False)]
Url = Annotated[str | None, typer.Option("--url", help="Where the hub is.", metavar="URL")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="A file that holds the token.", metavar="FILE")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The data directory of the hub.", metavar="DIR")]

_LOCAL = ("as_json", "data_dir")
_SHARED = {
    name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    for name, annotation, default in (
        ("as_json", Json, False),
        ("url", Url, None),
        ("token_file", TokenFile, None),
        ("data_dir", DataDir, None),
    )
}
_CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)

Command = Callable[..., None]


def command(
    app: typer.Typer, panel: str, name: str | None = None, *, is_local: bool = False
) -> Callable[[Command], Command]:
    """Register a function that takes a session first as a command.

    It gets the options that all commands share (a local one asks no hub, and needs none to be named), and its errors
    become sentences and exit codes.
    """

    def register(function: Command) -> Command:
        shared = [parameter for name, parameter in _SHARED.items() if name in _LOCAL or not is_local]
        app.command(name, rich_help_panel=panel, help=_help(function))(_as_command(function, shared))
        return function

    return register


def group(app: typer.Typer, panel: str, name: str, sentence: str, *, cls: type[TyperGroup] = TyperGroup) -> typer.Typer:
    """Add a command that has commands of its own; what all commands share may stand behind its name as well."""
    found = typer.Typer(no_args_is_help=True, help=sentence, cls=cls)

    @found.callback()
    def options(
        context: typer.Context,
        as_json: Json = False,
        url: Url = None,
        token_file: TokenFile = None,
        data_dir: DataDir = None,
    ) -> None:
        context.obj = Common(as_json, url, token_file, data_dir).over(_common(context))

    app.add_typer(found, name=name, rich_help_panel=panel)
    return found


def _common(context: typer.Context) -> Common:
    return context.obj if isinstance(context.obj, Common) else Common()


def _as_command(function: Command, shared: list[inspect.Parameter]) -> Command:
    _, *own = inspect.signature(function).parameters.values()

    def run(context: typer.Context, **arguments: Any) -> None:
        common = Common(**{parameter.name: arguments.pop(parameter.name) for parameter in shared})
        session = Session(common.over(_common(context)))
        code = _run(session, lambda: function(session, **_sound(arguments)))
        if code is not ExitCode.DONE:
            raise typer.Exit(code)

    parameters = [_CONTEXT, *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own), *shared]
    run.__name__ = function.__name__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _sound(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, if they are text: whatever bytes a shell hands over reach us, and no request could carry them."""
    for name, value in arguments.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not _is_unicode(text):
                raise Failed(f"{name.replace('_', ' ')} is not valid Unicode", code=ExitCode.USAGE)
    return arguments


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_ALLOWED: Final = re.compile(r'allow: \["([a-z_]+)"\]')
"""How the interface says what is an option here."""


def findings(error: CentralHubError) -> list[str]:
    """What the hub found wrong, place by place, as lines for people; not what its sentence says already."""
    return [_line(finding) for finding in error.errors if not _is_said(finding, error.detail)]


def _is_said(finding: Finding, sentence: str) -> bool:
    return any(f"{place} {finding.message}" in sentence for place in (f"{finding.pointer}:", finding.pointer or "it"))


def _line(finding: Finding) -> str:
    place = dotted_pointer(finding.pointer)
    if not finding.service:
        return f"{place}: {finding.message}"
    return f"{finding.service} in environment {finding.environment}: {place or 'it'} {finding.message}"


def _help(function: Command) -> str:
    """The docstring, its paragraphs as one line each: the terminal decides where to break them."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _run(session: Session, work: Callable[[], None]) -> ExitCode:
    problem = session.output.problem
    try:
        work()
    except Failed as error:
        problem(error.sentence, error.details, error.fields)
        return error.code
    except InvalidSettings as error:
        problem(error.detail)
        return ExitCode.USAGE
    except CentralHubError as error:
        pointers = [{name: said for name, said in asdict(item).items() if said} for item in error.errors]
        fields = {"code": error.code, "status": error.status, "errors": pointers, **error.extra}
        problem(_ALLOWED.sub(r"--allow \1", error.detail), findings(error), fields)
        return ExitCode.UNREACHABLE if is_unreachable(error) else ExitCode.REFUSED
    except (WrongKey, WrongFile, WrongExport, StartupRefused) as error:
        sentence, *details = str(error).splitlines()
        problem(sentence, details)
        return ExitCode.USAGE
    except HubError as error:
        problem(error.detail)
        return ExitCode.UNREACHABLE if isinstance(error, StoreUnavailable) else ExitCode.REFUSED
    except OSError as error:
        if error.filename is None:
            raise
        problem(f"{error.filename}: {error.strerror}")
        return ExitCode.USAGE
    finally:
        session.close()
    return ExitCode.DONE
