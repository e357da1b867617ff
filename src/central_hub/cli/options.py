"""Arguments and options that several commands take, checked before anything is asked."""

from typing import Annotated

import typer

from central_hub_client.wire import Position, is_document_name, is_environment_name

RUNNING = "Run a hub"
READING = "Look"
CHANGING = "Change"
GUARDING = "Guard"


def parse_service(name: str) -> str:
    if not is_document_name(name):
        raise typer.BadParameter(
            f"{name!r} cannot name a service: 1 to 100 characters a-z, 0-9 and -, no reserved word; _global is the"
            " document under every service"
        )
    return name


def parse_environment(name: str) -> str:
    if not is_environment_name(name):
        raise typer.BadParameter(f"{name!r} cannot name an environment: 1 to 40 characters a-z, 0-9 and -")
    return name


def parse_revision(text: str) -> str:
    try:
        Position.parse(text, current_epoch=1)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}") from error
    return text


def parse_moment(text: str) -> str:
    """A revision or a time; which times there are is for the hub to say."""
    return text if "-" in text or ":" in text else parse_revision(text)


Service = Annotated[
    str,
    typer.Argument(parser=parse_service, metavar="SERVICE", help="Which service; `_global` lies under all of them."),
]
Environment = Annotated[
    str,
    typer.Option(
        "--environment",
        "-e",
        parser=parse_environment,
        envvar="CENTRAL_HUB_ENVIRONMENT",
        metavar="NAME",
        help="Which environment.",
    ),
]
Reason = Annotated[
    str | None, typer.Option("--reason", "-m", metavar="TEXT", help="Why; kept in the history.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="GUARD",
        help="Pass a guard deliberately: removals, delta, type_reuse, contract, secret:/pointer. Repeatable.",
        show_default=False,
    ),
]
