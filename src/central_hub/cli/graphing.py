"""`graph`: who depends on whom, and what is to blame, as a tree or a diagram."""

import shutil
import sys
from typing import Annotated

import typer

from central_hub.cli.dependency_tree import ASCII, LINES, DependencyTree, Strokes
from central_hub.cli.mermaid import flowchart
from central_hub.cli.options import READING
from central_hub.cli.session import ExitCode, Failed, Session, command
from central_hub.cli.states import style_of

Of = Annotated[
    str | None,
    typer.Option("--of", metavar="NAME", help="One component or service alone.", show_default=False),
]
Reverse = Annotated[
    bool, typer.Option("--reverse", help="Under each what it depends on, instead of who depends on it.")
]
Mermaid = Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart, for a page or a ticket.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, READING)(graph)


def graph(session: Session, of: Of = None, reverse: Reverse = False, mermaid: Mermaid = False) -> None:
    """Show the infrastructure as a tree: what is to blame first, and under each component whoever depends on it.

    Of a service, on which nothing depends, --of shows what it depends on.
    """
    as_json = session.output.as_json
    if (mermaid or as_json) and (of is not None or reverse or (mermaid and as_json)):
        raise Failed(
            "--mermaid and --json print everything: neither goes with --of, --reverse or the other", code=ExitCode.USAGE
        )
    picture = session.hub.get("/dashboard/dependencies").value
    tree = DependencyTree(picture)
    tops = None if of is None else tree.named(of)
    if tops == []:
        raise Failed(f"there is neither a component nor a service {of} among the dependencies")
    if as_json:
        session.output.json(picture)
    elif mermaid:
        for line in flowchart(picture):
            session.output.text(line)
    elif not picture["nodes"]:
        session.output.note("the hub knows of no infrastructure: CENTRAL_HUB_INFRASTRUCTURE_FILE names its file")
    else:
        needs = reverse or (tops is not None and all(kind == "service" for kind, _ in tops))
        _show(session, tree, needs=needs, of=tops)


def _show(session: Session, tree: DependencyTree, *, needs: bool, of: list[tuple[str, str]] | None) -> None:
    strokes = _strokes()
    # In a pipe nothing is cut: whoever reads it has room.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in tree.lines(needs=needs, of=of, strokes=strokes):
        shown = line.stem + line.text if width is None else line.cut(width, strokes)
        session.output.text(shown, "" if line.state is None else style_of(line.state))


def _strokes() -> Strokes:
    try:
        "".join((LINES.branch, LINES.last, LINES.down, LINES.cut)).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return ASCII
    return LINES
