"""What a write would do, shown before it is done, and what it did."""

from collections.abc import Mapping
from typing import Any

from central_hub.cli import change_list
from central_hub.cli.output import Output

Answer = Mapping[str, Any]


def show_proposal(output: Output, answer: Answer) -> None:
    """The changes that a dry run found. Machines get them with the outcome."""
    if output.as_json or not answer["changes"]:
        return
    output.text(f"{name_of(answer)}:")
    change_list.show(output, answer["changes"])


def show_outcome(output: Output, answer: Answer) -> None:
    """What the hub did, in one line, and whether its subscribers have been told."""
    if output.as_json:
        output.json(answer)
        return
    for warning in answer["warnings"]:
        output.note(f"warning: {warning['pointer'] or 'the document'} {warning['message']}")
    output.text(sentence(answer), "bold" if answer["status"] not in ("unchanged", "valid") else "")


def sentence(answer: Answer) -> str:
    """`polygon-historical-downloader in environment default: updated, revision 1.42, version 1.0.4, announced`."""
    match answer["status"]:
        case "unchanged":
            return f"{name_of(answer)}: unchanged, it is like that already"
        case "valid" if not answer["changes"]:
            return f"{name_of(answer)}: nothing would change"
        case "valid":
            return f"{name_of(answer)}: would be accepted; nothing was stored"
    announced = (
        "announced" if answer["announced"] else "not announced yet: the bus is down, services get it when they ask"
    )
    place = f"revision {answer['epoch']}.{answer['revision']}, version {answer['version']}"
    return f"{name_of(answer)}: {answer['status']}, {place}, {announced}"


def name_of(answer: Answer) -> str:
    return f"{answer['service']} in environment {answer['environment']}"
