"""What a write would do, shown before it is done, and what it did."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from central_hub.cli import change_list
from central_hub.cli.key_paths import dotted_pointer
from central_hub.cli.output import Output

Answer = Mapping[str, Any]

NOT_ANNOUNCED: Final = "not announced yet: the bus is down, services get it when they ask"


def show_proposal(output: Output, answer: Answer) -> None:
    """The changes that a dry run found, and whom they would hit. Machines get it with the outcome."""
    if output.as_json or not answer["changes"]:
        return
    output.text(f"{name_of(answer)}:")
    change_list.show(output, answer["changes"])
    for line in effect_of(answer):
        output.text(f"  {line}")
    for warning in answer["warnings"]:
        output.warn(warned(warning))


def show_outcome(output: Output, answer: Answer) -> None:
    """What the hub did, in one line, and whether its subscribers have been told."""
    if output.as_json:
        output.json(answer)
        return
    for warning in answer["warnings"]:
        output.warn(warned(warning))
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
    announced = "announced" if answer["announced"] else NOT_ANNOUNCED
    place = f"revision {answer['epoch']}.{answer['revision']}, version {answer['version']}"
    return f"{name_of(answer)}: {answer['status']}, {place}, {announced}"


def warned(warning: Mapping[str, Any]) -> str:
    """`/batch must be 100 or less, for build 1`, and whose it is where that is not what is written."""
    where = f"{name_of(warning)}: " if "service" in warning else ""
    return f"{where}{warning['pointer'] or 'the document'} {warning['message']}"


def name_of(answer: Answer) -> str:
    return f"{answer['service']} in environment {answer['environment']}"


def effect_of(answer: Answer) -> Iterator[str]:
    """Whom a change would hit, as lines for people."""
    effect = answer.get("effect")
    if effect is None:  # an older hub does not say
        return
    configs = effect["configs"]
    reached = [f"{name_of(config)} ({_counted(config['instances'], 'instance')})" for config in configs]
    if effect["further_configs"]:
        reached.append(f"{effect['further_configs']} more")
    yield f"reaches {_counted(effect['instances'], 'instance')}: {', '.join(reached) or 'no configuration'}"
    for config in configs:
        if config["unread"]:
            keys = ", ".join(map(dotted_pointer, config["unread"]))
            yield f"no instance of {name_of(config)} reads {keys}"
        for shadowed in config["shadowed"]:
            where = f"{shadowed['instances']} of {_counted(config['instances'], 'instance')} of {name_of(config)}"
            yield f"{dotted_pointer(shadowed['path'])} is hidden by settings of their own at {where}"
    for retyped in effect["shape"]["retyped"]:
        yield f"{dotted_pointer(retyped['path'])} would be {retyped['new']} and was {retyped['old']}"
    size = effect["size"]
    yield ", ".join(f"{name} {size[name]['before']} → {size[name]['after']}" for name in ("bytes", "keys"))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
